package tlswire

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// An offer is a ClientHello built by fingerprint tests: an extension without data of its own
// gets some that can be read.
type offer struct {
	version uint16
	suites  []uint16
	exts    []ext
}

// extensions are extensions by number, with valid data.
func extensions(ids ...uint16) []ext {
	data := map[uint16][]byte{
		extensionServerName:           serverName("a.example").data,
		extensionStatusRequest:        {1, 0, 0, 0, 0},
		extensionSupportedGroups:      {0, 2, 0, 29},
		extensionECPointFormats:       {1, 0},
		extensionSignatureAlgorithms:  {0, 2, 4, 3},
		extensionALPN:                 []byte("\x00\x0c\x02h2\x08http/1.1"),
		extensionCompressCertificate:  {2, 0, 2},
		extensionSupportedVersions:    {4, 0x1a, 0x1a, 3, 4},
		extensionPSKModes:             {1, 1},
		extensionKeyShare:             {0, 0},
		extensionCookie:               {0, 1, 7},
		extensionRenegotiationInfo:    {0},
		extensionEncryptedClientHello: {1},
	}
	var all []ext
	for _, id := range ids {
		all = append(all, ext{id, data[id]})
	}
	return all
}

// with sets the data of one extension.
func with(exts []ext, id uint16, data string) []ext {
	exts = slices.Clone(exts)
	i := slices.IndexFunc(exts, func(e ext) bool { return e.id == id })
	exts[i].data = []byte(data)
	return exts
}

func (h offer) message() []byte {
	msg := clientHello(h.suites, h.exts...)
	msg[4], msg[5] = byte(h.version>>8), byte(h.version)
	return msg
}

func (h offer) parse(t testing.TB) *ClientHello {
	t.Helper()
	var c ClientHello
	if f := ParseClientHello(h.message(), &c); !f.OK() {
		t.Fatalf("%+v: %v", h, f)
	}
	return &c
}

// chrome is the example of FoxIO's JA4.md.
var chrome = offer{
	VersionTLS12,
	[]uint16{0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035},
	with(extensions(0x1b, 0, 0x33, 0x10, 0x4469, 0x17, 0x2d, 0xd, 5, 0x23, 0x12, 0x2b, 0xff01, 0xb, 0xa, 0x15),
		extensionSignatureAlgorithms, "\x00\x10\x04\x03\x08\x04\x04\x01\x05\x03\x08\x05\x05\x01\x08\x06\x06\x01"),
}

func (h offer) with(id uint16, data string) offer {
	h.exts = with(h.exts, id, data)
	return h
}

func (h offer) without(id uint16) offer {
	h.exts = slices.DeleteFunc(slices.Clone(h.exts), func(e ext) bool { return e.id == id })
	return h
}

func TestJA3(t *testing.T) {
	tests := []struct {
		name  string
		hello offer
		text  string
		hash  string // only where it is published
	}{
		// github.com/salesforce/ja3, README.md.
		{"published", offer{VersionTLS10, []uint16{47, 53, 5, 10, 49161, 49162, 49171, 49172, 50, 56, 19, 4},
			with(extensions(0, 10, 11), 10, "\x00\x06\x00\x17\x00\x18\x00\x19")},
			"769,47-53-5-10-49161-49162-49171-49172-50-56-19-4,0-10-11,23-24-25,0", "ada70206e40642a3e4461f35503241d5"},
		{"published_no_extensions", offer{VersionTLS10, []uint16{4, 5, 10, 9, 100, 98, 3, 6, 19, 18, 99}, nil},
			"769,4-5-10-9-100-98-3-6-19-18-99,,,", "de350869b8c85de67a350c8d186f11e6"},

		{"ssl3", offer{VersionSSL30, []uint16{10}, nil}, "768,10,,,", ""},
		{"tls13_keeps_the_legacy_version", offer{VersionTLS12, []uint16{0x1301}, extensions(43)}, "771,4865,43,,", ""},
		{"no_suites", offer{VersionTLS12, nil, extensions(23)}, "771,,23,,", ""},
		{"grease", offer{VersionTLS12, []uint16{0x0a0a, 0x1301, 0xfafa}, with(extensions(0x1a1a, 10, 0xeaea), 10, "\x00\x04\x2a\x2a\x00\x1d")},
			"771,4865,10,29,", ""},
		{"grease_alone", offer{VersionTLS12, []uint16{0x3a3a}, extensions(0x1a1a)}, "771,,,,", ""},
		{"nearly_grease", offer{VersionTLS12, []uint16{0x0a1a, 0x0b0b}, nil}, "771,2586-2827,,,", ""},
		{"signalling_suites_count", offer{VersionTLS12, []uint16{0xff, 0x5600}, nil}, "771,255-22016,,,", ""},
		{"point_formats", offer{VersionTLS12, []uint16{47}, with(extensions(11), 11, "\x03\x00\x01\x02")}, "771,47,11,,0-1-2", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := tt.hello.parse(t)
			if got := string(h.AppendJA3([]byte("x"))); got != "x"+tt.text {
				t.Errorf("got text %s, want %s", got, tt.text)
			}
			if got, again := h.JA3(), h.JA3(); got != md5.Sum([]byte(tt.text)) || again != got {
				t.Errorf("got %x, then %x", got, again)
			}
			if got := h.JA3(); tt.hash != "" && hex.EncodeToString(got[:]) != tt.hash {
				t.Errorf("got %x, published is %s", got, tt.hash)
			}
		})
	}
}

func TestJA3S(t *testing.T) {
	tests := []struct {
		name string
		msg  []byte
		text string
	}{
		{"no_extensions", serverHello(VersionSSL30, 10), "768,10,"},
		{"tls12", serverHello(VersionTLS12, 0xc02f, ext{0xff01, []byte{0}}, ext{11, []byte{1, 0}}), "771,49199,65281-11"},
		{"tls13_keeps_the_legacy_version", serverHello13(0x1301), "771,4865,43"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var h ServerHello
			if f := ParseServerHello(tt.msg, &h); !f.OK() {
				t.Fatal(f)
			}
			if got := string(h.AppendJA3S(nil)); got != tt.text || h.JA3S() != md5.Sum([]byte(tt.text)) {
				t.Errorf("got %s, %x, want %s", got, h.JA3S(), tt.text)
			}
		})
	}
}

func TestJA4(t *testing.T) {
	alpn := func(names ...string) offer {
		list := ""
		for _, n := range names {
			list += string(byte(len(n))) + n
		}
		return chrome.with(extensionALPN, "\x00"+string(byte(len(list)))+list)
	}
	bare := offer{VersionTLS12, []uint16{0x2f}, nil}
	versions := func(v string) offer { return offer{VersionTLS12, []uint16{0x1301}, with(extensions(43), 43, v)} }
	of := func(version uint16) offer { return offer{version, []uint16{0x2f}, nil} }
	many := offer{version: VersionTLS12, suites: slices.Repeat([]uint16{0x2f}, 150)}
	for i := range uint16(120) {
		many.exts = append(many.exts, ext{1000 + i, nil})
	}
	const b, c = "_8daaf6152771", "_e5627efa2ab1"
	tests := []struct {
		name  string
		hello offer
		want  string // a prefix
	}{
		// github.com/FoxIO-LLC/ja4, technical_details/JA4.md.
		{"published", chrome, "t13d1516h2" + b + c},
		{"published_no_signatures", chrome.without(13), "t13d1515h2" + b + "_"},
		{"published_alpn_ab", alpn("\xab"), "t13d1516ab" + b + c},
		{"published_alpn_20", alpn("\x20"), "t13d151620" + b + c},
		{"published_alpn_abcd", alpn("\xab\xcd"), "t13d1516ad" + b + c},
		{"published_alpn_2061", alpn("\x20\x61"), "t13d151621" + b + c},
		{"published_alpn_30ab", alpn("\x30\xab"), "t13d15163b" + b + c},
		{"published_alpn_6120", alpn("\x61\x20"), "t13d151660" + b + c},
		{"published_alpn_3031abcd", alpn("\x30\x31\xab\xcd"), "t13d15163d" + b + c},
		{"published_alpn_30abcd31", alpn("\x30\xab\xcd\x31"), "t13d151601" + b + c},

		{"alpn_http11", alpn("http/1.1", "h2"), "t13d1516h1" + b + c},
		{"alpn_one_character", alpn("x"), "t13d1516xx" + b + c},
		{"alpn_upper_case", alpn("AbZ"), "t13d1516AZ" + b + c},
		{"alpn_punctuation", alpn("a-"), "t13d15166d" + b + c},
		{"alpn_grease_first", alpn("\x0a\x0a", "h2"), "t13d1516h2" + b + c},
		{"alpn_grease_alone", alpn("\xfa\xfa"), "t13d151600" + b + c},
		{"alpn_like_grease_but_longer", alpn("\x0a\x0a\x0a"), "t13d15160a" + b + c},
		{"no_alpn_same_hashes", chrome.without(16), "t13d151500" + b + c},
		{"no_name_same_hashes", chrome.without(0), "t13i1515h2" + b + c},
		{"address_for_a_name", chrome.with(0, string(serverName("192.0.2.1").data)), "t13d1516h2" + b + c},
		{"name_of_no_known_type", chrome.with(0, "\x00\x04\x07\x00\x01x"), "t13d1516h2" + b + c},
		{"order_does_not_matter", offer{VersionTLS12, reversed(chrome.suites), reversed(chrome.exts)}, "t13d1516h2" + b + c},
		{"grease_everywhere", offer{VersionTLS12, append([]uint16{0x7a7a}, chrome.suites...), append(extensions(0x1a1a), append(chrome.with(13,
			"\x00\x12\x8a\x8a\x04\x03\x08\x04\x04\x01\x05\x03\x08\x05\x05\x01\x08\x06\x06\x01").exts, ext{0x5a5a, []byte{0}})...)}, "t13d1516h2" + b + c},

		{"no_extensions", bare, "t12i010000_ba72b8082249_000000000000"},
		{"no_suites", offer{VersionTLS12, nil, nil}, "t12i000000_000000000000_000000000000"},
		{"grease_suites_alone", offer{VersionTLS12, []uint16{0x0a0a, 0x0a0a}, extensions(0x0a0a)}, "t12i000000_000000000000_000000000000"},
		{"name_and_alpn_alone", offer{VersionTLS12, nil, extensions(0, 16)}, "t12d0002h2_000000000000_000000000000"},
		{"more_than_99", many, "t12i999900_"},

		{"version_13_behind_grease", versions("\x04\x1a\x1a\x03\x04"), "t13"},
		{"highest_version_not_first", versions("\x06\x03\x02\x03\x03\x03\x01"), "t12"},
		{"version_grease_alone", versions("\x02\xfa\xfa"), "t00"},
		{"version_of_a_draft", versions("\x04\x7f\x1c\x03\x03"), "t00"},
		{"version_ssl3", of(VersionSSL30), "ts3i"},
		{"version_10", of(VersionTLS10), "t10i"},
		{"version_11", of(VersionTLS11), "t11i"},
		{"version_ssl2", of(VersionSSL20), "ts2i"},
		{"version_dtls", of(0xfefd), "td2i"},
		{"version_unknown", of(0x0305), "t00i"},
		{"version_of_the_hello_may_be_13", of(VersionTLS13), "t13i"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := tt.hello.parse(t)
			got := string(h.AppendJA4(nil))
			if !strings.HasPrefix(got, tt.want) || len(got) != ja4Len {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if again := h.JA4(); string(again[:]) != got {
				t.Errorf("got %s, then %s", got, again)
			}
		})
	}
	// JA4.md gives 6d807ffa2a79 for extensions without 000d's algorithms,
	// but with 000d in the list: an empty one, which no server takes.
	if got := hashJA4(appendHexList(nil, []uint16{5, 0xa, 0xb, 0xd, 0x12, 0x15, 0x17, 0x1b, 0x23, 0x2b, 0x2d, 0x33, 0x4469, 0xff01})); hex.EncodeToString(got[:]) != "6d807ffa2a79" {
		t.Errorf("got %x", got)
	}
}

func reversed[T any](s []T) []T {
	s = slices.Clone(s)
	slices.Reverse(s)
	return s
}

// An SSL 2.0 hello that offers TLS has fingerprints too, of what it has.
func TestFingerprintsSSLv2(t *testing.T) {
	var c Conn
	consume(&c, Client, sslv2Hello(VersionTLS10))
	if !c.HasClientHello {
		t.Fatal(c.Fault)
	}
	text := string(c.ClientHello.AppendJA3(nil))
	if !strings.HasPrefix(text, "769,") || !strings.HasSuffix(text, ",,,") {
		t.Errorf("got %s", text)
	}
	if got := string(c.ClientHello.AppendJA4(nil)); !strings.HasPrefix(got, fmt.Sprintf("t10i%02d0000_", len(c.ClientHello.CipherSuites))) {
		t.Errorf("got %s", got)
	}
}

// The answer to a HelloRetryRequest does not change a client's fingerprint, and
// a hello after that, or on another connection, has its own.
func TestFingerprintsAfterRetry(t *testing.T) {
	first := records(VersionTLS10, chrome.message(), 16384)
	second := offer{chrome.version, chrome.suites, append(extensions(extensionCookie), chrome.exts...)}
	retry := records(VersionTLS12, retryRequest(0x1301), 1000)
	var c Conn
	consume(&c, Client, first)
	want := chrome.parse(t)
	consume(&c, Server, retry)
	consume(&c, Client, records(VersionTLS12, second.message(), 16384))
	h := &c.ClientHello
	if !h.Cookie || h.JA3() != want.JA3() || h.JA4() != want.JA4() || string(h.AppendJA3(nil)) != string(want.AppendJA3(nil)) {
		t.Errorf("second hello with cookie %v: %s, %s", h.Cookie, h.AppendJA4(nil), h.AppendJA3(nil))
	}
	if c.Renegotiates() {
		t.Error("the answer to a retry is taken for a renegotiation")
	}
	consume(&c, Client, records(VersionTLS12, second.message(), 16384))
	if want := second.parse(t); h.JA3() != want.JA3() || h.JA4() != want.JA4() || !c.Renegotiates() {
		t.Errorf("a third hello, which nobody asked for: %s", h.AppendJA4(nil))
	}
	c.Reset()
	consume(&c, Client, records(VersionTLS12, second.message(), 16384))
	if want := second.parse(t); h.JA4() != want.JA4() {
		t.Errorf("after Reset: %s", h.AppendJA4(nil))
	}
}

// A slow and obvious implementation agrees on hellos drawn by lot.
func TestFingerprintsOracle(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	var h ClientHello
	for range 5000 {
		msg := randomHello(r).message()
		if f := ParseClientHello(msg, &h); !f.OK() {
			t.Fatalf("%v: %x", f, msg)
		}
		ja3, ja4 := obvious(msg)
		if got := string(h.AppendJA3(nil)); got != ja3 || h.JA3() != md5.Sum([]byte(ja3)) {
			t.Fatalf("got %s, want %s", got, ja3)
		}
		if got := string(h.AppendJA4(nil)); got != ja4 {
			t.Fatalf("got %s, want %s\n%x", got, ja4, msg)
		}
	}
}

func randomHello(r *rand.Rand) offer {
	number := func() uint16 {
		if r.IntN(3) == 0 {
			return uint16(r.IntN(16))*0x1010 + 0x0a0a
		}
		return uint16(r.Uint32())
	}
	numbers := func(n int) string {
		var b []byte
		for range n {
			v := number()
			b = append(b, byte(v>>8), byte(v))
		}
		return string(b)
	}
	h := offer{version: []uint16{0x0300, 0x0301, 0x0302, 0x0303, 0x0304, number()}[r.IntN(6)]}
	for range r.IntN(120) {
		h.suites = append(h.suites, number())
	}
	h.exts = extensions(0, 5, 10, 11, 13, 16, 23, 27, 35, 43, 44, 45, 51, 0xff01, 0xfe0d, 21, 28, 50000, 0x0a0a, 0xfafa)[:r.IntN(21)]
	r.Shuffle(len(h.exts), func(i, j int) { h.exts[i], h.exts[j] = h.exts[j], h.exts[i] })
	for i := range h.exts {
		e := &h.exts[i]
		n := 1 + r.IntN(9)
		switch e.id {
		case extensionSupportedGroups, extensionSignatureAlgorithms:
			e.data = []byte("\x00" + string(byte(2*n)) + numbers(n))
		case extensionSupportedVersions:
			e.data = []byte(string([]byte{byte(2 * n)}) + numbers(n-1) + "\x03" + string(byte(r.IntN(6))))
		case extensionECPointFormats:
			e.data = []byte(string([]byte{byte(2 * n)}) + numbers(n))
		case extensionALPN:
			p := numbers(5)[:n]
			if r.IntN(2) == 0 {
				p = "http/1.1"[:min(n, 8)]
			}
			e.data = []byte("\x00" + string([]byte{byte(len(p) + 7), byte(len(p))}) + p + "\x02\x1a\x1a\x02h3")
		}
	}
	return h
}

// obvious computes JA3's text and JA4 from the bytes of a valid hello.
func obvious(msg []byte) (ja3, ja4 string) {
	number := func(b []byte) int { return int(b[0])<<8 | int(b[1]) }
	grease := func(v int) bool { return v%256 == v/256 && v%16 == 10 }
	numbers := func(b []byte) (list []int) {
		for ; len(b) > 1; b = b[2:] {
			if v := number(b); !grease(v) {
				list = append(list, v)
			}
		}
		return list
	}
	join := func(list []int, format, sep string) string {
		var all []string
		for _, v := range list {
			all = append(all, fmt.Sprintf(format, v))
		}
		return strings.Join(all, sep)
	}
	hash := func(s string) string {
		if s == "" {
			return "000000000000"
		}
		return fmt.Sprintf("%x", sha256.Sum256([]byte(s)))[:12]
	}

	version := number(msg[4:])
	b := msg[39+int(msg[38]):]
	suites := numbers(b[2 : 2+number(b)])
	b = b[2+number(b):]
	b = b[1+int(b[0]):]
	data := map[int][]byte{}
	var ids, groups, signatures, sorted []int
	var points []string
	if len(b) > 0 {
		for b = b[2:]; len(b) > 0; b = b[4+number(b[2:]):] {
			id := number(b)
			data[id] = b[4 : 4+number(b[2:])]
			if !grease(id) {
				ids = append(ids, id)
			}
		}
	}
	if d := data[10]; d != nil {
		groups = numbers(d[2:])
	}
	if d := data[13]; d != nil {
		signatures = numbers(d[2:])
	}
	if d := data[11]; d != nil {
		for _, v := range d[1:] {
			points = append(points, fmt.Sprint(v))
		}
	}
	ja3 = fmt.Sprintf("%d,%s,%s,%s,%s", version, join(suites, "%d", "-"), join(ids, "%d", "-"), join(groups, "%d", "-"), strings.Join(points, "-"))

	name, alpn := "i", "00"
	for _, id := range ids {
		switch id {
		case 0:
			name = "d"
		case 16:
		default:
			sorted = append(sorted, id)
		}
	}
	if d := data[43]; d != nil {
		version = 0
		for _, v := range numbers(d[1:]) {
			version = max(version, v)
		}
	}
	if d := data[16]; d != nil {
		for d = d[2:]; len(d) > 0; d = d[1+d[0]:] {
			p := string(d[1 : 1+d[0]])
			if len(p) == 2 && grease(number([]byte(p))) {
				continue
			}
			const plain = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
			if !strings.Contains(plain, p[:1]) || !strings.Contains(plain, p[len(p)-1:]) {
				p = hex.EncodeToString([]byte(p))
			}
			alpn = p[:1] + p[len(p)-1:]
			break
		}
	}
	versions := map[int]string{0x0304: "13", 0x0303: "12", 0x0302: "11", 0x0301: "10", 0x0300: "s3", 2: "s2", 0xfeff: "d1", 0xfefd: "d2", 0xfefc: "d3"}
	if versions[version] == "" {
		versions[version] = "00"
	}
	slices.Sort(sorted)
	extensions := join(sorted, "%04x", ",")
	if len(signatures) > 0 {
		extensions += "_" + join(signatures, "%04x", ",")
	}
	a := fmt.Sprintf("t%s%s%02d%02d%s", versions[version], name, min(99, len(suites)), min(99, len(ids)), alpn)
	slices.Sort(suites)
	return ja3, a + "_" + hash(join(suites, "%04x", ",")) + "_" + hash(extensions)
}

// A warm hello gives its fingerprints without allocating.
func TestFingerprintsNoAllocs(t *testing.T) {
	var h ClientHello
	var s ServerHello
	msg, answer := chromeHello(), serverHello13(0x1301)
	var text []byte
	got := testing.AllocsPerRun(100, func() {
		ParseClientHello(msg, &h)
		ParseServerHello(answer, &s)
		h.JA3()
		s.JA3S()
		h.JA4()
		text = h.AppendJA3(text[:0])
		text = h.AppendJA4(text)
	})
	if got != 0 {
		t.Errorf("%v allocations", got)
	}
}

// A hello to facts with JA3 and JA4: under 5 µs is wanted.
func BenchmarkHelloFingerprints(b *testing.B) {
	msg := chromeHello()
	var h ClientHello
	b.ReportAllocs()
	for b.Loop() {
		ParseClientHello(msg, &h)
		h.JA3()
		h.JA4()
	}
}

// The same of the fattest hello there is.
func BenchmarkFatHelloFingerprints(b *testing.B) {
	msg := clientHello(make([]uint16, 32000))
	var h ClientHello
	b.ReportAllocs()
	for b.Loop() {
		ParseClientHello(msg, &h)
		h.JA3()
		h.JA4()
	}
}

// An empty list of extensions is none.
func TestFingerprintsOfEmptyExtensions(t *testing.T) {
	bare := offer{VersionTLS12, []uint16{0x2f}, nil}
	msg := append(bare.message()[messageHeaderLen:], 0, 0)
	var h ClientHello
	if f := ParseClientHello(message(TypeClientHello, msg), &h); !f.OK() {
		t.Fatal(f)
	}
	if want := bare.parse(t); h.JA3() != want.JA3() || h.JA4() != want.JA4() || string(h.AppendJA3(nil)) != "771,47,,," {
		t.Errorf("got %s, %s", h.AppendJA3(nil), h.AppendJA4(nil))
	}
}
