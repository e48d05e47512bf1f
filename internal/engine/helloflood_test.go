package engine

import (
	"crypto/tls"
	"fmt"
	"runtime"
	"testing"
)

// wordy is a conversation whose client offers 60 kB of protocols, in which there is a
// mark that may be changed.
func wordy(t testing.TB, mark []byte) []turn {
	t.Helper()
	client, server := configs(shop(), tls.VersionTLS13, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)
	client.NextProtos = []string{string(mark)}
	for n := range 240 {
		client.NextProtos = append(client.NextProtos, fmt.Sprintf("%0250d", n))
	}
	server.NextProtos = []string{string(mark)}
	return recordTLS(t, client, server)
}

// TestHelloFlood: hellos as long as may be, each another, take no memory that stays
// once a connection is decided, and no more than limits.buffered for those that are
// read on. Who says less is served meanwhile, and all of it is given back.
func TestHelloFlood(t *testing.T) {
	mark := []byte("here is what is other in each of them")
	turns := wordy(t, mark)
	heap := func() int {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	const connections, buffered = 300, 8 << 20
	for _, inspected := range []bool{false, true} {
		cfg := config()
		cfg.Limits.Stories, cfg.Limits.Buffered = -1, buffered
		p := policy(acceptAll)
		if inspected {
			p = only("handshake", "change_cipher_spec", "application_data", "alert")
		}
		l := newLab(t, cfg, p)
		for n := range connections {
			k := l.link4()
			k.play(another(turns, mark, n), strategies["mss"])
			k.ends[0].got, k.ends[1].got = nil, nil
		}
		honest := l.link4()
		honest.play(recording(t, "tls13"), strategies["mss"])
		l.e.Tick(l.now)
		s := l.e.Stats()
		with, e := heap(), l.e
		l.e = nil
		e.mail = mailbox{}
		runtime.KeepAlive(e)
		e = nil
		all := with - heap()
		t.Logf("inspected %v: %d kB for %d connections, %d bytes each; %d refused", inspected, all>>10, connections, all/connections, s.Refused)
		most := connections * 4096
		if inspected {
			most += buffered * 5 / 4
		}
		if all > most {
			t.Errorf("inspected %v: %d bytes, at most %d may be", inspected, all, most)
		}
		if honest.closed() {
			t.Error("one that says as much as most is refused")
		}
		if refused := s.Hit.Buffered > 0 && s.Refused > 0; refused != inspected {
			t.Errorf("inspected %v: refused %v", inspected, refused)
		}
	}
}

// TestTold: what is taken for a hello is given back when its connection ends, or is
// left, and once for a hello that is asked for again.
func TestTold(t *testing.T) {
	turns := wordy(t, []byte("mark"))
	cfg := config()
	l := newLab(t, cfg, only("handshake", "change_cipher_spec", "application_data", "alert"))
	for range 3 {
		k := l.link4()
		k.play(turns, strategies["mss"])
		if used := l.e.budget.Used(); used < 50_000 || used > 200_000 || len(l.e.told) != 1 {
			t.Fatalf("%d bytes taken, for %d", used, len(l.e.told))
		}
		k.rst(original)
		l.now += 200 * second
		l.e.Tick(l.now)
		if used := l.e.budget.Used(); used != 0 || len(l.e.told) != 0 {
			t.Fatalf("%d bytes are left, for %d", used, len(l.e.told))
		}
	}
}

// TestLongNames: what was too long to be remembered lets an earlier decision stand, as
// anything does that is not known any more.
func TestLongNames(t *testing.T) {
	for _, key := range [][2]string{{"alpn", "none"}, {"sni", "none"}} {
		l := newLab(t, config(), policy(acceptAll))
		k := l.link4()
		k.play(wordy(t, []byte("mark")), strategies["mss"])
		l.adopt(requires(key[0], key[1]))
		if a := l.around(); a != (Adopted{Judged: 1, Stood: 1, Done: true}) || k.closed() {
			t.Errorf("%s: %+v, closed %v", key[0], a, k.closed())
		}
	}
}

// TestStoryFlood: stories of refused connections take what they are said to, however much
// their hellos said, and tell what is remembered of any connection.
func TestStoryFlood(t *testing.T) {
	mark := []byte("here is what is other in each of them")
	turns := wordy(t, mark)[:1]
	const n = 500
	cfg := config()
	cfg.Limits.Stories = 4096
	l := newLab(t, cfg, named("other.example"))
	heap := func() int {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	for i := range n {
		k := l.link4()
		k.play(another(turns, mark, i), strategies["mss"])
		k.ends[0].got, k.ends[1].got = nil, nil
		k.close()
	}
	l.e.Tick(l.now)
	s := l.e.Stats()
	l.sink.drop, l.sink.flow, l.sink.tls = nil, nil, nil
	l.links = nil
	with, e := heap(), l.e
	l.e = nil
	e.mail = mailbox{}
	runtime.KeepAlive(e)
	e = nil
	all := with - heap()
	t.Logf("%d bytes each; %d refused", all/n, s.Refused)
	if all > n*2*2560 || s.Refused != n {
		t.Errorf("%d bytes for %d stories, and %d are refused", all, n, s.Refused)
	}
}
