package engine

import (
	"crypto/tls"
	"math"
	"net/netip"
	"reflect"
	"sync"
	"testing"

	"tlsgate/tlsrules/certs"
	"tlsgate/tlsrules/tlswire"
)

// TestKnownAgain: a session that an earlier run has seen begin is known, with the
// certificate of its beginning, and of no connection of this run.
func TestKnownAgain(t *testing.T) {
	for _, tt := range []struct {
		version uint16
		again   string
	}{
		{tls.VersionTLS12, `known, asked ticket, began in 0 by "sessions", certificate`},
		{tls.VersionTLS13, `known, asked psk, began in 0 by "sessions"`},
	} {
		full, again := pairOf(t, tt.version)
		for _, ends := range [][2]string{{"192.0.2.10", "203.0.113.10"}, {"2001:db8::1", "2001:db8::2"}} {
			earlier, _ := sessionLab(t, nil, resuming("no", "known"))
			earlier.link(ends[0], ends[1], 1, 2).play(full, strategies["mss"])
			list := earlier.e.cfg.Sessions.Export(earlier.now)
			if len(list) == 0 || len(list) != earlier.e.cfg.Sessions.Len() {
				t.Fatalf("%d sessions of %d", len(list), earlier.e.cfg.Sessions.Len())
			}
			l, n := sessionLab(t, nil, resuming("no", "known"))
			l.now = earlier.now
			if taken := l.e.cfg.Sessions.Import(list, l.now); taken != len(list) {
				t.Errorf("%d of %d sessions taken", taken, len(list))
			}
			if got := l.e.cfg.Sessions.Export(l.now); !reflect.DeepEqual(got, list) {
				t.Errorf("told again: %+v, want %+v", got, list)
			}
			l.link(ends[0], ends[1], 3, 4).play(again, strategies["mss"])
			if len(n.resumed) != 1 || n.resumed[0] != tt.again || len(n.drop) != 0 {
				t.Errorf("%s: %q, %d refused", tls.VersionName(tt.version), n.resumed, len(n.drop))
			}
			for _, x := range l.e.cfg.Sessions.all() {
				if x.origin != list[0].Origin {
					t.Errorf("origin %x, not %x", x.origin, list[0].Origin)
				}
			}
		}
	}
}

// TestImport: what cannot be a session is none, and whoever has less room keeps
// those that were used last.
func TestImport(t *testing.T) {
	const now = 10 * sessionLife
	one := KnownSession{
		Server: netip.MustParseAddrPort("192.0.2.1:443"), By: byTicket, Key: tlswire.SessionKey{1},
		Used: now, Began: Began{Connection: 7, Time: now - 5, Rule: "a"},
	}
	for _, tt := range []struct {
		name   string
		change func(*KnownSession)
		used   int64 // 0: not taken
	}{
		{"just used", func(*KnownSession) {}, now},
		{"used long ago", func(k *KnownSession) { k.Used = now - sessionLife }, now - sessionLife},
		{"used too long ago", func(k *KnownSession) { k.Used = now - sessionLife - 1 }, 0},
		{"used in a time to come", func(k *KnownSession) { k.Used, k.Began.Time = now+1, now+1 }, now},
		{"used at the end of time", func(k *KnownSession) { k.Used = math.MaxInt64 }, 0},
		{"used before time", func(k *KnownSession) { k.Used = math.MinInt64 }, 0},
		{"of no server", func(k *KnownSession) { k.Server = netip.AddrPort{} }, 0},
		{"known by nothing", func(k *KnownSession) { k.By = 0 }, 0},
		{"known by something", func(k *KnownSession) { k.By = sessionKinds }, 0},
		{"a hole in the chain", func(k *KnownSession) { k.Chain = []*certs.Certificate{nil} }, 0},
	} {
		k := one
		tt.change(&k)
		s := NewSessions(8, [16]byte{})
		taken := s.Import([]KnownSession{k}, now)
		list := s.Export(now)
		if got := len(list); got != taken || (got == 1) != (tt.used != 0) {
			t.Errorf("%s: %d taken, %d there", tt.name, taken, got)
		} else if got == 1 && (list[0].Used != tt.used || list[0].Began.Connection != 0 || list[0].Began.Time > now) {
			t.Errorf("%s: %+v", tt.name, list[0])
		}
	}
	var many []KnownSession
	for i := range int64(1000) {
		k := one
		k.Key, k.Used = tlswire.SessionKey{byte(i), byte(i >> 8)}, now-(i*7)%1000
		many = append(many, k)
	}
	s := NewSessions(sessionWays, [16]byte{})
	s.Import(many, now)
	list := s.Export(now)
	for i, k := range list {
		if k.Used != now-int64(i) {
			t.Errorf("number %d was used at now-%d", i, now-k.Used)
		}
	}
	if len(list) != sessionWays || many[1].Used != now-7 {
		t.Errorf("%d sessions; in the list given: %d", len(list), many[1].Used-now)
	}
	var none *Sessions
	if none.Import(many, now) != 0 || none.Export(now) != nil {
		t.Error("nil remembers")
	}
}

// TestExportShared: what is told while others remember is whole.
func TestExportShared(t *testing.T) {
	s := NewSessions(64, [16]byte{})
	var wait sync.WaitGroup
	for w := range 2 {
		wait.Go(func() {
			for i := range 5000 {
				n := (i*7 + w) % 100
				s.keep(&session{key: testKey(n), suite: uint16(n), version: uint16(n)}, int64(i))
			}
		})
	}
	for range 50 {
		for _, k := range s.Export(1) {
			if k.Suite != k.Version || testKey(int(k.Suite)).id != k.Key {
				t.Errorf("%+v", k)
			}
		}
	}
	wait.Wait()
}

func TestSessionKinds(t *testing.T) {
	for k := range sessionKinds + 2 {
		if got, ok := ParseSessionKind(k.String()); ok != k.valid() || ok && got != k {
			t.Errorf("%d, %q: %v, %v", k, k, got, ok)
		}
	}
}

func BenchmarkExport(b *testing.B) {
	s := NewSessions(65536, [16]byte{})
	for i := range 65536 {
		s.keep(&session{key: testKey(i)}, int64(i))
	}
	for b.Loop() {
		s.Export(1)
	}
}
