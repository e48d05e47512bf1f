package engine

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"tlsgate/tlsrules/certs"
	"tlsgate/tlsrules/tlswire"
)

// heavy is a conversation whose server sends a chain of 170 kB, in which each
// certificate has a mark that may be changed: nobody here checks a signature.
func heavy(t testing.TB, mark []byte) []turn {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	filling := append(bytes.Clone(mark), make([]byte, 13_900)...)
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "heavy.example"}, DNSNames: []string{"heavy.example"},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 1}, Value: filling}}}
	leaf := issue(template, key, nil)
	for range 11 {
		leaf.Certificate = append(leaf.Certificate, issue(template, key, nil).Certificate...)
	}
	client, server := configs(leaf, tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)
	client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	return recordTLS(t, client, server)
}

// another gives the certificates of a conversation other contents.
func another(turns []turn, mark []byte, n int) []turn {
	mine := make([]turn, len(turns))
	other := binary.BigEndian.AppendUint64(bytes.Clone(mark[:len(mark)-8]), uint64(n))
	for i := range turns {
		mine[i] = turns[i]
		mine[i].bytes = bytes.ReplaceAll(turns[i].bytes, mark, other)
	}
	return mine
}

// TestCertificateFlood: a server that has another long chain for each connection fills
// neither connections that are read on, nor sessions, with more than there is room for.
// Who sends a chain of the usual length, or one that is known, is served meanwhile, and
// everybody is when the flood is over.
func TestCertificateFlood(t *testing.T) {
	mark := []byte("here is what is other in each of them")
	turns := heavy(t, mark)
	const buffered = 8 << 20
	for _, sessions := range []bool{false, true} {
		cfg := config()
		cfg.Limits.Buffered = buffered
		p := only("handshake", "change_cipher_spec", "application_data", "alert")
		if sessions { // what is known of connections that are over
			cfg.Sessions, p = NewSessions(4096, [16]byte{}), policy(acceptAll)
		}
		l := newLab(t, cfg, p)
		honest := l.link4()
		usual := ordinary(t)
		honest.play(usual, strategies["mss"])
		most := 0
		for n := range 120 {
			k := l.link("198.51.100.7", fmt.Sprintf("203.0.113.%d", 1+n%250), 1, 2) // a ticket is known by its server
			k.play(another(turns, mark, n), strategies["mss"])
			if k.ends[0].got, k.ends[1].got = nil, nil; n%10 == 0 {
				runtime.GC()
				time.Sleep(time.Millisecond) // cleanups have a goroutine of their own
			}
			most = max(most, l.e.certs.Beyond())
		}
		l.e.Tick(l.now)
		s := l.e.Stats()
		t.Logf("sessions %v: at most %d kB of certificates; %d connections, %d sessions, %d refused, %d hits", sessions, most>>10, s.Connections, s.Sessions, s.Refused, s.Hit.Buffered)
		// Of what nobody has any more some is not found yet.
		if bound := buffered/2 + 4<<20; most > bound {
			t.Errorf("sessions %v: %d bytes of certificates, at most %d may be", sessions, most, bound)
		}
		if s.Hit.Buffered == 0 || s.Refused == 0 {
			t.Errorf("sessions %v: not counted", sessions)
		}
		if !sessions && honest.closed() {
			t.Error("who was served before is not any more")
		}
		before := l.e.counts.Refused
		if l.link4().play(usual, strategies["mss"]); l.e.counts.Refused != before {
			t.Errorf("sessions %v: a chain of the usual length finds no room", sessions)
		}
		for _, k := range l.links {
			if !k.closed() {
				k.close()
			}
		}
	}
}

// ordinary is a conversation with a server whose chain is as long as most.
func ordinary(t testing.TB) []turn {
	t.Helper()
	client, server := configs(shop(), tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)
	return recordTLS(t, client, server)
}

// TestShed: sessions are forgotten, the ones used longest ago first, until what their
// certificates take is little enough; a chain that several have counts once.
func TestShed(t *testing.T) {
	s := NewSessions(64, [16]byte{})
	chainOf := func(n int) []*certs.Certificate {
		return []*certs.Certificate{certs.Parse(bytes.Repeat([]byte{byte(n)}, 10_000))}
	}
	shared := chainOf(0)
	for n := range 20 {
		x := &session{key: serverOf(netip.MustParseAddrPort("192.0.2.1:443"), byTicket, tlswire.SessionKeyOf([]byte{byte(n)}))}
		switch {
		case n >= 10: // 100 kB and more
			x.chain = chainOf(n)
		case n > 0:
			x.chain = shared
		}
		s.keep(x, int64(n))
	}
	was := s.Len()
	if shed := s.Shed(1 << 20); shed != 0 || s.Len() != was {
		t.Fatalf("%d forgotten, and there was room", shed)
	}
	shed := s.Shed(60_000)
	if shed < 4 || s.Len() != was-shed || s.forgotten() < uint64(shed) {
		t.Errorf("%d forgotten, %d of %d are left", shed, s.Len(), was)
	}
	for n, want := range map[int]bool{0: true, 19: true, 18: true, 11: false, 10: false} {
		if x := s.find(serverOf(netip.MustParseAddrPort("192.0.2.1:443"), byTicket, tlswire.SessionKeyOf([]byte{byte(n)})), 100); (x != nil) != want {
			t.Errorf("session %d is there: %v", n, x != nil)
		}
	}
	var none *Sessions
	none.Shed(0)
}
