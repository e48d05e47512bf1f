package tlswire

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// crypto/tls agrees on what is a hello, and a used ClientHello reads like a new
// one.
func FuzzParseClientHello(f *testing.F) {
	for _, msg := range hellos(f) {
		f.Add(msg)
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		var fresh, used ClientHello
		ParseClientHello(clientHello(nil, ext{extensionSessionTicket, []byte("old")}, identities(2, []byte("a"), []byte("b"))), &used)
		ParseClientHello(chromeHello(), &used)
		a, b := ParseClientHello(msg, &fresh), ParseClientHello(msg, &used)
		if a != b || int(a.Offset) > len(msg) {
			t.Fatalf("%v, %v of %d bytes", a, b, len(msg))
		}
		if a.OK() {
			ja3, ja4 := obvious(msg)
			if got := string(fresh.AppendJA3(nil)); got != ja3 {
				t.Fatalf("got %s, want %s", got, ja3)
			}
			if got := string(fresh.AppendJA4(nil)); got != ja4 {
				t.Fatalf("got %s, want %s", got, ja4)
			}
			ticket, _ := fresh.Ticket()
			if again, _ := used.Ticket(); again != ticket || !slices.Equal(fresh.Identities(), used.Identities()) {
				t.Fatalf("%v, %v", fresh.Identities(), used.Identities())
			}
		}
		if a.OK() && (fresh.JA3() != used.JA3() || fresh.JA4() != used.JA4()) {
			t.Fatalf("%s, %s", fresh.AppendJA4(nil), used.AppendJA4(nil))
		}
		if a.OK() && !cmp.Equal(fresh, used, compareFacts, ignoreMemory) {
			t.Fatal(cmp.Diff(fresh, used, compareFacts, ignoreMemory))
		}
		if _, fault := messageBody(msg, TypeClientHello); fault.OK() && len(msg) <= messageHeaderLen+defaultHello {
			if got := sameAsOracle(t, records(VersionTLS10, msg, maxPlaintext)); got != a.OK() {
				t.Fatalf("accepted by Consume: %v, ParseClientHello: %v", got, a)
			}
		}
	})
}

var ignoreMemory = cmp.FilterPath(func(p cmp.Path) bool {
	last := p.Last().String()
	return last == ".words" || last == ".octets" || last == ".seldom"
}, cmp.Ignore())

func FuzzParseServerHello(f *testing.F) {
	f.Add(serverHello(VersionTLS12, 0xc02f, ext{extensionALPN, []byte("\x00\x03\x02h2")}))
	f.Add(serverHello(VersionTLS12, 0x1301, ext{extensionSupportedVersions, []byte{3, 4}}, ext{extensionKeyShare, []byte{0, 29, 0, 1, 9}}))
	f.Add(retryRequest(0x1301))
	f.Fuzz(func(t *testing.T, msg []byte) {
		var fresh, used ServerHello
		ParseServerHello(serverHello(VersionTLS12, 0xc02f, ext{extensionALPN, []byte("\x00\x03\x02h2")}), &used)
		a, b := ParseServerHello(msg, &fresh), ParseServerHello(msg, &used)
		if a != b || int(a.Offset) > len(msg) {
			t.Fatalf("%v, %v of %d bytes", a, b, len(msg))
		}
		if a.OK() && (fresh.CipherSuite != used.CipherSuite || string(fresh.ALPN) != string(used.ALPN) || !cmp.Equal(len(fresh.Extensions), len(used.Extensions))) {
			t.Fatalf("%+v\n%+v", fresh, used)
		}
	})
}

// Any bytes, however cut, tell the same, and never break the contract of
// Consume.
func FuzzConsume(f *testing.F) {
	early := records(VersionTLS10, clientHello([]uint16{0x1301}, ext{extensionEarlyData, nil}), 1000)
	f.Add(cat(hello, spec), cat(hello13, spec, data(900)), cat(spec, data(53), data(19)), uint64(1))
	f.Add(cat(early, data(90)), cat(records(VersionTLS12, retryRequest(0x1301), 9), hello13), cat(hello, data(21), data(53)), uint64(2))
	f.Add(hello, cat(hello12, records(VersionTLS12, message(TypeServerKeyExchange, []byte{3, 0, 29, 32}), 2), spec), cat(spec, record(22, VersionTLS12, make([]byte, 40))), uint64(3))
	f.Add(sslv2Hello(VersionTLS12), hello12, record(21, VersionTLS12, []byte{2, 40}), uint64(4))
	f.Add(cat(hello, beat(1, 0x4000, 3)), cat(hello12, beat(2, 9, 28), spec), cat(spec, repeat(3, record(22, VersionTLS12, make([]byte, 40))), beat(1, 0, 30)), uint64(6))
	f.Add([]byte("GET / HTTP/1.1"), []byte("SSH-2.0-x"), hello, uint64(5))
	f.Fuzz(func(t *testing.T, client, server, more []byte, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 0))
		flights := []flight{{Client, client}, {Server, server}, {Client, more}}
		var a, b Conn
		want, got := tell(t, &a, flights, whole), tell(t, &b, flights, func(n int) int { return 1 + r.IntN(9) })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("(-whole +cut):\n%s", diff)
		}
		if diff := cmp.Diff(factsOf(&a), factsOf(&b), compareFacts, ignoreMemory); diff != "" {
			t.Fatalf("(-whole +cut):\n%s", diff)
		}
		b.Reset()
		if diff := cmp.Diff(want, tell(t, &b, flights, oneByte)); diff != "" {
			t.Fatalf("after Reset (-whole +bytes):\n%s", diff)
		}
	})
}
