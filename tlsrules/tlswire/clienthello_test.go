package tlswire

import (
	"crypto/tls"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// helloFrom returns the ClientHello message of a crypto/tls client.
func helloFrom(t testing.TB, cfg *tls.Config) []byte {
	t.Helper()
	var tp tape
	client, server := tapedPipe(&tp)
	server.Conn.Close()
	tls.Client(client, cfg).Handshake()
	client.Close()
	if len(tp.flights) == 0 {
		t.Fatal("the client sent no hello")
	}
	return tp.flights[0].data[recordHeaderLen:]
}

// hellos are real and made-up ones that must be accepted.
func hellos(t testing.TB) map[string][]byte {
	return map[string][]byte{
		"chrome":       chromeHello(),
		"go":           helloFrom(t, &tls.Config{ServerName: "a.example", NextProtos: []string{"h2", "x"}}),
		"go_tls10":     helloFrom(t, &tls.Config{ServerName: "a.example", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}),
		"go_tls12":     helloFrom(t, &tls.Config{ServerName: "a.example", MaxVersion: tls.VersionTLS12}),
		"go_no_name":   helloFrom(t, &tls.Config{InsecureSkipVerify: true}),
		"no_extension": clientHello([]uint16{0x2f, cipherSuiteFallbackSCSV}),
		"many_unknown_extensions": clientHello([]uint16{0x1301}, func() (e []ext) {
			for i := range uint16(3000) {
				e = append(e, ext{100 + i*7, nil})
			}
			return e
		}()...),
	}
}

func TestParseClientHello(t *testing.T) {
	var got ClientHello
	if f := ParseClientHello(chromeHello(), &got); !f.OK() {
		t.Fatal(f)
	}
	got.words, got.octets = nil, nil
	want := ClientHello{
		LegacyVersion:       VersionTLS12,
		SessionID:           make([]byte, 32),
		CipherSuites:        []uint16{0x2a2a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x9c, 0x9d, 0x2f, 0x35},
		Compressions:        CompressionNull,
		Extensions:          []uint16{0x3a3a, 0xff01, 13, 0, 17613, 27, 16, 45, 5, 0xfe0d, 51, 10, 11, 43, 23, 18, 35, 0x4a4a},
		ServerName:          []byte("api.bank.example"),
		HasServerName:       true,
		ALPN:                ProtocolList("\x02h2\x08http/1.1"),
		SupportedVersions:   []uint16{0x1a1a, VersionTLS13, VersionTLS12},
		SupportedGroups:     []uint16{0x0a0a, 0x11ec, 29, 23, 24},
		KeyShares:           []uint16{0x0a0a, 0x11ec, 29},
		SignatureAlgorithms: []uint16{0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601},
		ECPointFormats:      []byte{0},
		PSKModes:            PSKModeDHEKE,
		HasSessionTicket:    true,
		ECH:                 ECH{Present: true, ConfigID: 7, KDF: 1, AEAD: 1, EncLength: 32, Length: 208},

		CertificateCompression: CertificateCompressionBrotli,

		RenegotiationInfo:    true,
		ExtendedMasterSecret: true,
		StatusRequest:        true,
		Length:               int32(len(chromeHello())),
	}
	if diff := cmp.Diff(want, got, compareFacts); diff != "" {
		t.Errorf("hello differs (-want +got):\n%s", diff)
	}
	if !got.ALPN.Contains("http/1.1") || got.ALPN.Contains("http") {
		t.Errorf("ALPN.Contains is wrong about %q", got.ALPN)
	}
}

func TestFallbackSCSV(t *testing.T) {
	var h ClientHello
	if f := ParseClientHello(hellos(t)["no_extension"], &h); !f.OK() || !h.FallbackSCSV() {
		t.Errorf("fallback SCSV not seen in %x (%v)", h.CipherSuites, f)
	}
}

// A hello that is not whole is neither complete nor malformed, one byte short
// or one byte long.
func TestPrefixOfHello(t *testing.T) {
	for name, msg := range hellos(t) {
		stream := record(RecordTypeHandshake, VersionTLS10, msg)
		for n := range len(stream) {
			var c Conn
			for _, e := range tell(t, &c, []flight{{Client, stream[:n]}}, whole).Events {
				if c.HasClientHello || !c.Fault.OK() || e[:len("client record")] != "client record" {
					t.Fatalf("%s: after %d of %d bytes: %v", name, n, len(stream), e)
				}
			}
		}
	}
}

// However a hello is cut into segments and records, it says the same.
func TestSplitHello(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for name, msg := range hellos(t) {
		var want ClientHello
		if f := ParseClientHello(msg, &want); !f.OK() {
			t.Fatalf("%s: %v", name, f)
		}
		for _, size := range []int{1, 2, 3, 5, 100, 1400, 16384} {
			stream := records(VersionTLS10, msg, size)
			for i, next := range []cut{whole, oneByte, func(n int) int { return r.IntN(n) }, func(int) int { return r.IntN(7) }} {
				var c Conn
				tell(t, &c, []flight{{Client, stream}}, next)
				want.Records = int32((len(msg) + size - 1) / size)
				if diff := cmp.Diff(want, c.ClientHello, compareFacts); diff != "" {
					t.Fatalf("%s, records of %d, cut %d (-want +got):\n%s", name, size, i, diff)
				}
			}
		}
	}
}

// Broken hellos, each with the place of the fault.
func TestMalformedHello(t *testing.T) {
	suites := []uint16{0x1301}
	exts := func(e ...ext) []byte { return clientHello(suites, e...) }
	plain := clientHello(suites)
	edit := func(m []byte, i int, v byte) []byte { m = slices.Clone(m); m[i] = v; return m }
	psk := ext{extensionPreSharedKey, []byte{0, 7, 0, 1, 'x', 0, 0, 0, 0, 0, 2, 1, 'y'}}
	tests := []struct {
		name string
		msg  []byte
		want FaultField
	}{
		{"session_id_length_beyond_the_message", edit(plain, 38, 255), FaultSessionID},
		{"odd_cipher_suite_list", edit(edit(plain, 72, 1), 74, 0), FaultCipherSuites},
		{"trailing_garbage_hides_a_second_hello", message(TypeClientHello, append(plain[4:], 0)), FaultExtensions},
		{"extension_longer_than_the_list", exts(ext{65000, nil}, ext{1, nil})[:85], FaultMessageLength},
		{"two_server_names_extensions_two_readers", exts(serverName("good.example"), serverName("evil.example")), FaultDuplicateExtension},
		{"duplicate_among_many_quadratic_time", clientHello(suites, append(slices.Repeat([]ext{{7, nil}}, 16000), ext{8, nil})...), FaultDuplicateExtension},
		{"duplicate_grease", exts(ext{0x1a1a, nil}, ext{0x1a1a, nil}), FaultDuplicateExtension},
		{"two_host_names_in_one_list", exts(ext{0, []byte("\x00\x0c\x00\x00\x03a.b\x00\x00\x03c.d")}), FaultServerName},
		{"empty_server_name_list", exts(ext{0, []byte{0, 0}}), FaultServerName},
		{"empty_server_name", exts(ext{0, []byte{0, 3, 0, 0, 0}}), FaultServerName},
		{"server_name_trailing_dot_evades_a_name_rule", exts(serverName("evil.example.")), FaultServerName},
		{"server_name_with_tail", exts(ext{0, append(serverName("a").data, 0)}), FaultServerName},
		{"empty_alpn_name", exts(ext{16, []byte{0, 1, 0}}), FaultALPN},
		{"empty_alpn_list", exts(ext{16, []byte{0, 0}}), FaultALPN},
		{"empty_groups", exts(ext{10, []byte{0, 0}}), FaultSupportedGroups},
		{"odd_groups", exts(ext{10, []byte{0, 3, 0, 29, 0}}), FaultSupportedGroups},
		{"empty_versions_mean_none", exts(ext{43, []byte{0}}), FaultSupportedVersions},
		{"psk_not_last_binder_covers_too_little", exts(psk, ext{1, nil}), FaultPreSharedKey},
		{"psk_without_binder", exts(ext{41, psk.data[:9]}), FaultPreSharedKey},
		{"key_share_empty_key", exts(ext{51, []byte{0, 4, 0, 29, 0, 0}}), FaultKeyShare},
		{"extended_master_secret_with_data", exts(ext{23, []byte{0}}), FaultFlagExtension},
		{"early_data_with_data", exts(ext{42, []byte{0}}), FaultFlagExtension},
		{"ech_of_unknown_form", exts(ext{extensionEncryptedClientHello, []byte{2}}), FaultECH},
		{"ech_cut", exts(ext{extensionEncryptedClientHello, []byte{0, 0, 1}}), FaultECH},
		{"another_message", edit(plain, 0, 2), FaultMessageOrder},
		{"length_beyond_the_message", edit(plain, 3, 255), FaultMessageLength},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var h ClientHello
			if got := ParseClientHello(tt.msg, &h); got.Field != tt.want || int(got.Offset) >= len(tt.msg) {
				t.Errorf("got %v at %d, want %v", got.Field, got.Offset, tt.want)
			}
		})
	}
}

// Legal, however odd.
func TestOddHello(t *testing.T) {
	var h ClientHello
	nul := "a.example\x00.evil.example"
	if f := ParseClientHello(clientHello(nil, serverName(nul)), &h); !f.OK() || string(h.ServerName) != nul {
		t.Errorf("name with NUL: got %q, %v", h.ServerName, f)
	}
	other := ext{0, []byte("\x00\x04\x07\x00\x01x")}
	if f := ParseClientHello(clientHello(nil, other), &h); !f.OK() || h.HasServerName {
		t.Errorf("name of another type: got %q, %v", h.ServerName, f)
	}
	inner := ext{extensionEncryptedClientHello, []byte{1}}
	if f := ParseClientHello(clientHello(nil, inner), &h); !f.OK() || h.ECH != (ECH{Present: true, Inner: true}) {
		t.Errorf("inner hello: got %+v, %v", h.ECH, f)
	}
	psk := ext{extensionPreSharedKey, []byte{0, 7, 0, 1, 'x', 0, 0, 0, 0, 0, 2, 1, 'y'}}
	if f := ParseClientHello(clientHello(nil, psk), &h); !f.OK() || !h.PSK {
		t.Errorf("psk: got %v, %v", h.PSK, f)
	}
	if f := ParseClientHello(clientHello(nil, ext{51, []byte{0, 0}}), &h); !f.OK() || len(h.KeyShares) != 0 {
		t.Errorf("no key shares: got %d, %v", h.KeyShares, f)
	}
}

// One fat hello does not leave its memory with a Conn.
func TestFatHelloIsNotKept(t *testing.T) {
	var c Conn
	fat := clientHello(slices.Repeat([]uint16{0x2f}, 20000))
	tell(t, &c, []flight{{Client, records(VersionTLS10, fat, 16384)}}, whole)
	if !c.HasClientHello {
		t.Fatal(c.Fault)
	}
	c.Reset()
	if got := cap(c.ClientHello.words) + c.Held(); got > maxKept {
		t.Errorf("%d kept", got)
	}
}
