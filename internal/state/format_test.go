package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"

	"tlsgate/internal/engine"
	"tlsgate/tlsrules/certs"
	"tlsgate/tlsrules/tlswire"
)

func der(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("../../tlsrules/certs/testdata/" + name + ".der")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sample is a state in which everything occurs.
func sample(t testing.TB) *State {
	t.Helper()
	leaf, ca := certs.Parse(der(t, "ec_p256")), certs.Parse(der(t, "ca"))
	raw := certs.ParsePublicKey(der(t, "ec_p256"))
	kinds := func(name string) engine.SessionKind {
		k, ok := engine.ParseSessionKind(name)
		if !ok {
			t.Fatalf("no kind %s", name)
		}
		return k
	}
	v4, v6 := netip.MustParseAddrPort("192.0.2.1:443"), netip.MustParseAddrPort("[2001:db8::1]:8443")
	return &State{
		Written: 1_700_000_000_000_000_000,
		Pins: []Pin{
			{Rule: "one", Group: [][]byte{[]byte("192.0.2.1"), {0xff, 0}, {}}, Holder: Holder{Kind: Connection, Ends: [2]netip.AddrPort{v4, v6}}, Since: 1, Used: 2},
			{Rule: "one", Holder: Holder{Kind: Session, ID: bytes.Repeat([]byte{7}, 16)}, ByHand: true},
			{Rule: "\u00e9 <&>", Holder: Holder{Kind: ClientRandom, ID: make([]byte, 32)}},
			{Rule: "one", Holder: Holder{Kind: SessionID, ID: []byte{1}}},
		},
		Gates: []Gate{{Rule: "late", Planned: 5, Opens: 4}, {Rule: "closed"}},
		Sessions: []engine.KnownSession{
			{Server: v4, By: kinds("ticket"), Key: tlswire.SessionKey{1}, Origin: [16]byte{2}, Suite: 0xc02f, Version: 0x303, DHBits: 2048,
				Chain: []*certs.Certificate{leaf, ca, leaf}, Began: engine.Began{Time: 3, Rule: "r"}, Used: 9},
			{Server: v6, By: kinds("session_id"), Key: tlswire.SessionKey{2}, Chain: []*certs.Certificate{leaf, ca, leaf}, Used: 8},
			{Server: v6, By: kinds("session_id"), Key: tlswire.SessionKey{3}, Chain: []*certs.Certificate{raw}, Used: 8},
			{Server: v6, By: kinds("client"), Key: tlswire.SessionKey{4}, Used: 7},
			{Server: v6, By: kinds("ticket"), Key: tlswire.SessionKey{5}, Chain: []*certs.Certificate{certs.Parse(nil)}, Used: 7},
		},
	}
}

func encoded(t testing.TB, s *State) []byte {
	t.Helper()
	var b bytes.Buffer
	if left, err := encode(&b, s, maxFile); err != nil || left != 0 {
		t.Fatalf("%d left out, %v", left, err)
	}
	return b.Bytes()
}

// TestRoundTrip: what is written is read, each certificate stands there once, and
// chains that were one are one.
func TestRoundTrip(t *testing.T) {
	for _, s := range []*State{{}, sample(t)} {
		b := encoded(t, s)
		got, err := decode(bytes.NewReader(b))
		if err != nil || !reflect.DeepEqual(got, s) {
			t.Errorf("%v: got %+v, want %+v", err, got, s)
		}
		for line := range strings.Lines(string(b)) {
			if strings.Contains(line, `"der"`) && strings.Count(string(b), line) != 1 {
				t.Errorf("more than once: %s", line)
			}
		}
	}
	got, err := decode(bytes.NewReader(encoded(t, sample(t))))
	if err != nil || &got.Sessions[0].Chain[0] != &got.Sessions[1].Chain[0] {
		t.Errorf("one chain has become two: %v", err)
	}
	if raw := got.Sessions[2].Chain[0]; !raw.RawPublicKey || got.Sessions[0].Chain[0].RawPublicKey {
		t.Errorf("a raw public key is %+v", raw)
	}
}

// TestCut: no part of a file is one, and none that has another byte anywhere is
// read as if nothing had happened.
func TestCut(t *testing.T) {
	whole := encoded(t, sample(t))
	bad := func(what string, b []byte) {
		t.Helper()
		var br *broken
		if s, err := decode(bytes.NewReader(b)); !errors.As(err, &br) {
			t.Errorf("%s: %v, %+v", what, err, s)
		}
	}
	for n := range whole {
		bad(fmt.Sprintf("the first %d bytes", n), whole[:n])
	}
	for n := range whole {
		b := bytes.Clone(whole)
		b[n] ^= 0x10
		bad(fmt.Sprintf("byte %d of %q changed", n, whole[max(0, n-10):n+1]), b)
	}
	bad("twice", append(bytes.Clone(whole), whole...))
	bad("a line more", append(bytes.Clone(whole), '\n'))
}

// signed makes a file of lines, with the end that they need.
func signed(lines ...string) []byte {
	b := []byte(strings.Join(lines, "\n") + "\n")
	sum := sha256.Sum256(b)
	return append(b, fmt.Sprintf(`{"end":{"lines":%d,"sha256":"%x"}}`+"\n", bytes.Count(b, []byte{'\n'}), sum)...)
}

const head = `{"tlsgate_state":{"version":1,"written":5}}`

// TestRefused: lines that nobody of ours has written, under a sum that is right.
func TestRefused(t *testing.T) {
	key := strings.Repeat("00", 16)
	sess := func(change ...string) string {
		s := `{"session":{"server":"192.0.2.1:443","by":"ticket","key":"` + key + `","origin":"` + key + `","suite":1,"version":771,"began":1,"used":2}}`
		return strings.NewReplacer(change...).Replace(s)
	}
	pin := func(change ...string) string {
		s := `{"pin":{"rule":"a","holder":{"kind":"session","id":"` + key + `"},"since":1,"used":2}}`
		return strings.NewReplacer(change...).Replace(s)
	}
	if _, err := decode(bytes.NewReader(signed(head, sess(), pin(), `{"gate":{"rule":"a"}}`))); err != nil {
		t.Fatalf("not broken: %v", err)
	}
	d := der(t, "ec_p256")
	for _, tt := range []struct{ line, says string }{
		{"", "EOF"},
		{"{}", "not one entry"},
		{"null", "not one entry"},
		{"[]", "cannot unmarshal"},
		{sess() + "{}", "more than one object"},
		{`{"gate":{"rule":"a"},"pin":` + pin(`{"pin":`, "") + "", "not one entry"},
		{head, "not one entry"},
		{`{"colour":1}`, "unknown field"},
		{sess(`"suite":1`, `"suite":1,"colour":1`), "unknown field"},
		{sess(`"suite":1`, `"suite":65536`), "cannot unmarshal"},
		{sess(`"suite":1`, `"suite":-1`), "cannot unmarshal"},
		{sess("192.0.2.1:443", ""), "without a server"},
		{sess("192.0.2.1:443", "192.0.2.1"), "not an ip:port"},
		{sess("192.0.2.1:443", "[fe80::1%25eth0]:443"), "without a server"},
		{sess("ticket", "colour"), "which is nothing"},
		{sess(`"key":"00`, `"key":"`), "a key"},
		{sess(`"key":"0`, `"key":"g`), "invalid byte"},
		{sess(`"used":2`, `"used":-2`), "its times"},
		{sess(`"used":2`, `"used":9223372036854775808`), "cannot unmarshal"},
		{sess(`"used":2`, `"used":2,"chain":["`+key+key+`"]`), "not there"},
		{sess(`"used":2`, `"used":2,"chain":["`+key+`"]`), "not there"},
		{sess(`"used":2`, `"used":2,"raw_public_key":true`), "raw public key"},
		{sess(`"used":2`, `"used":2,"chain":[`+strings.Repeat(`"",`, 16)+`""]`), "17 certificates"},
		{sess(`"used":2`, `"used":2,"rule":"a\nb"`), "no rule has this name"},
		{sess(`"used":2`, `"used":2,"rule":"`+strings.Repeat("a", 257)+`"`), "no rule has this name"},
		{sess(`"used":2`, `"used":2,"rule":"`+strings.Repeat("a", maxLine)+`"`), "longer than any"},
		{`{"certificate":{"sha256":"` + key + key + `","der":"MAA="}}`, "not the one it is named"},
		{fmt.Sprintf(`{"certificate":{"sha256":"%x","der":"%s"}}`, sha256.Sum256(d), "MAA="), "not the one it is named"},
		{`{"gate":{"opens":1}}`, "without a rule"},
		{`{"gate":{"rule":"a","opens":-1}}`, "its times"},
		{`{"gate":{"rule":"a","planned":-1}}`, "its times"},
		{pin(`"rule":"a"`, `"rule":""`), "without a rule"},
		{pin(`"used":2`, `"used":0`), "its times"},
		{pin(`"kind":"session"`, `"kind":"colour"`), "which is nothing"},
		{pin(`"kind":"session"`, `"kind":"client_random"`), "16 bytes"},
		{pin(`"id":"`+key+`"`, `"id":""`), "0 bytes"},
		{pin(`"kind":"session"`, `"kind":"connection"`), "without ends"},
		{pin(`"since"`, `"group":["`+strings.Repeat("AAAA", 400)+`"],"since"`), "1200 bytes"},
		{pin(`"since"`, `"group":[`+strings.Repeat(`"",`, 32)+`""],"since"`), "33 values"},
	} {
		var b *broken
		_, err := decode(bytes.NewReader(signed(head, tt.line)))
		if !errors.As(err, &b) || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%.200s: %v, want %q", tt.line, err, tt.says)
		}
	}
	for file, says := range map[string]string{
		"":                                       "cut short",
		"\n":                                     "not a state file",
		`{"tlsgate_state":{"version":0}}` + "\n": "not a state file",
		string(signed(`{"tlsgate_state":{"version":2,"written":"now"}}`)):            "not a state file",
		string(signed(`{"tlsgate_state":{"version":2,"written":1,"x":[]}}`, "late")): "of version 2, and this program reads version 1",
		head + "\n": "cut short, behind line 1",
		head:        "cut short",
		head + "\n" + `{"end":{"lines":1,"sha256":""}}` + "\n": "not as it was written",
	} {
		if _, err := decode(strings.NewReader(file)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", file, err, says)
		}
	}
}

// TestRoom: what finds no room is left out, the oldest sessions first, and what
// could not be read again is too. The rest is a file.
func TestRoom(t *testing.T) {
	s := sample(t)
	s.Gates = append(s.Gates, Gate{}, Gate{Rule: "a\x00"})
	s.Pins = append(s.Pins, Pin{Rule: "a"})
	s.Sessions[1].Server = netip.AddrPort{}
	long := certs.Parse(make([]byte, certs.MaxDER+1))
	s.Sessions[0].Chain = []*certs.Certificate{certs.Parse(make([]byte, certs.MaxDER))}
	s.Sessions[3].Chain = []*certs.Certificate{long}
	var b bytes.Buffer
	left, err := encode(&b, s, maxFile)
	got, derr := decode(&b)
	if left != 4 || err != nil || derr != nil || len(got.Pins) != 4 || len(got.Gates) != 2 || len(got.Sessions) != 3 {
		t.Errorf("%d left out, %v, %v: %+v", left, err, derr, got)
	}
	s = sample(t)
	whole := int64(len(encoded(t, s)))
	for room := whole + 2*endLine; room > 2*endLine; room -= 50 {
		b.Reset()
		left, err := encode(&b, s, room)
		if err != nil || int64(b.Len()) > room {
			t.Fatalf("%d bytes in room for %d: %v", b.Len(), room, err)
		}
		got, err := decode(&b)
		if err != nil {
			t.Fatalf("room for %d: %v", room, err)
		}
		if pins := len(got.Pins) + len(got.Gates); pins+left != 6 || len(got.Sessions) == 5 && room < whole {
			t.Errorf("room for %d of %d bytes: %d pins and gates, %d left out, %d sessions", room, whole, pins, left, len(got.Sessions))
		}
		for i := range got.Sessions {
			if !reflect.DeepEqual(got.Sessions[i], s.Sessions[i]) {
				t.Errorf("room for %d: session %d is %+v", room, i, got.Sessions[i])
			}
		}
	}
}

// failing takes n bytes.
type failing struct{ n int }

func (f *failing) Write(p []byte) (int, error) {
	if f.n -= len(p); f.n < 0 {
		return 0, errors.New("full")
	}
	return len(p), nil
}

func TestEncodeFails(t *testing.T) {
	s := many(5000)
	for _, n := range []int{0, 1 << 16, 1 << 17} {
		if _, err := encode(&failing{n}, s, maxFile); err == nil {
			t.Errorf("a writer that takes %d bytes: no error", n)
		}
	}
}

// many is a state of n sessions, of which each ten share a chain.
func many(n int) *State {
	r := rand.New(rand.NewPCG(1, 2))
	ticket, _ := engine.ParseSessionKind("ticket")
	s := &State{}
	var chain []*certs.Certificate
	for i := range n {
		if i%10 == 0 {
			chain = nil
			for range 2 {
				b := make([]byte, 1000)
				for j := range b {
					b[j] = byte(r.Uint32())
				}
				chain = append(chain, &certs.Certificate{Length: len(b), SHA256: sha256.Sum256(b), DER: b})
			}
		}
		k := engine.KnownSession{
			Server: netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(i / 10 >> 8), byte(i / 10)}), 443), By: ticket,
			Suite: 0xc02f, Version: 0x303, Chain: chain, Began: engine.Began{Time: 1_700_000_000_000_000_000, Rule: "partner"}, Used: 1_700_000_000_000_000_000,
		}
		for j := range k.Key {
			k.Key[j], k.Origin[j] = byte(r.Uint32()), byte(r.Uint32())
		}
		s.Sessions = append(s.Sessions, k)
	}
	return s
}

func FuzzDecode(f *testing.F) {
	whole := encoded(f, sample(f))
	f.Add(whole, false)
	lines := strings.Split(strings.TrimSpace(string(whole)), "\n")
	f.Add([]byte(strings.Join(lines[:len(lines)-1], "\n")), true)
	for _, l := range lines[1 : len(lines)-1] {
		f.Add([]byte(head+"\n"+l), true)
	}
	f.Fuzz(func(t *testing.T, b []byte, sign bool) {
		if sign {
			b = signed(strings.Split(string(b), "\n")...)
		}
		s, err := decode(bytes.NewReader(b))
		if err != nil {
			return
		}
		once := encoded(t, s)
		again, err := decode(bytes.NewReader(once))
		if err != nil || !bytes.Equal(encoded(t, again), once) {
			t.Errorf("%v: %+v, again %+v", err, s, again)
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	s := many(65536)
	b.ReportAllocs()
	for b.Loop() {
		var out bytes.Buffer
		if left, err := encode(&out, s, maxFile); left != 0 || err != nil {
			b.Fatal(left, err)
		}
		b.SetBytes(int64(out.Len()))
	}
}

func BenchmarkDecode(b *testing.B) {
	file := encoded(b, many(65536))
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decode(bytes.NewReader(file)); err != nil {
			b.Fatal(err)
		}
	}
}

func TestHex(t *testing.T) {
	var h Hex
	if err := h.UnmarshalText([]byte("0aFF")); err != nil || hex.EncodeToString(h) != "0aff" {
		t.Errorf("%x, %v", h, err)
	}
	if err := h.UnmarshalText([]byte("0")); err == nil {
		t.Error("half a byte")
	}
}
