package engine

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"tlsgate/tlsrules"
	"tlsgate/tlsrules/tlswire"
)

// noted keeps of each tls event what it says of sessions.
type noted struct {
	sink
	resumed []string
}

func (n *noted) TLS(r *Report) {
	n.sink.TLS(r)
	said := fmt.Sprintf("%s, asked %s", r.Facts.Resumed, r.Facts.Resumes)
	if r.Session != nil {
		said += fmt.Sprintf(", began in %d by %q", r.Session.Connection, r.Session.Rule)
	}
	if len(r.Facts.Chain) > 0 {
		said += ", certificate"
	}
	n.resumed = append(n.resumed, said)
}

// pairOf records a full handshake and the one that resumes its session.
func pairOf(t testing.TB, version uint16) (full, again []turn) {
	client, server := configs(rsaIdentity(), version)
	client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	return recordTLS(t, client, server), recordTLS(t, client, server)
}

func sessionLab(t *testing.T, change func(*Config), p *tlsrules.Policy) (*lab, *noted) {
	n := &noted{}
	cfg := config()
	cfg.Sessions, cfg.Sink = NewSessions(64, [16]byte{}), n
	if change != nil {
		change(&cfg)
	}
	l := newLab(t, cfg, p)
	l.sink = &n.sink
	return l, n
}

// resuming requires of every connection that its session began before us or not.
func resuming(values ...string) *tlsrules.Policy {
	return policy(acceptAll, tlsrules.Rule{
		Name: "sessions", Require: []tlsrules.Condition{condition("resumed", values...)},
		Action: tlsrules.Accept, HasAction: true, Otherwise: tlsrules.Reset,
	})
}

func TestSessionsResumed(t *testing.T) {
	for _, tt := range []struct {
		name    string
		version uint16
		first   string
		again   string
	}{
		{"ticket", tls.VersionTLS12, `no, asked session_id, certificate`, `known, asked ticket, began in 1 by "sessions", certificate`},
		{"TLS 1.3", tls.VersionTLS13, `no, asked none`, `known, asked psk, began in 1 by "sessions"`},
	} {
		full, again := pairOf(t, tt.version)
		for name, strategy := range strategies {
			l, n := sessionLab(t, nil, resuming("no", "known"))
			l.link4().play(full, strategy)
			l.link4().play(again, strategy)
			if len(n.resumed) != 2 || n.resumed[0] != tt.first || n.resumed[1] != tt.again || len(n.drop) != 0 {
				t.Errorf("%s, %s: %q, %d refused", tt.name, name, n.resumed, len(n.drop))
			}
		}
	}
}

// all are the sessions that are remembered.
func (s *Sessions) all() (list []*session) {
	for i := range s.sets {
		for j := range s.sets[i] {
			if x := s.sets[i][j].Load(); x != nil {
				list = append(list, x)
			}
		}
	}
	return list
}

// TestSessionsOrigin: all that descend from one full handshake have one origin,
// whatever they are known by, and no other has it.
func TestSessionsOrigin(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		seen := map[origin]bool{}
		for n := range 2 {
			full, again := pairOf(t, version)
			l, _ := sessionLab(t, nil, policy(acceptAll))
			l.link4().play(full, strategies["mss"])
			first := l.e.cfg.Sessions.all()
			l.link4().play(again, strategies["mss"])
			both := l.e.cfg.Sessions.all()
			if len(first) == 0 || version == tls.VersionTLS12 && len(both) <= len(first) {
				t.Fatalf("%s: %d sessions, then %d", tls.VersionName(version), len(first), len(both))
			}
			for _, x := range append(first, both...) {
				if x.origin != first[0].origin || x.origin == (origin{}) {
					t.Errorf("%s: origin %x, not %x", tls.VersionName(version), x.origin, first[0].origin)
				}
			}
			if seen[first[0].origin] = true; len(seen) != n+1 {
				t.Errorf("%s: two full handshakes have one origin", tls.VersionName(version))
			}
		}
	}
	client, one, other := [32]byte{1}, [32]byte{2}, [32]byte{3}
	if originOf(&client, &one) == originOf(&client, &other) {
		t.Error("who repeats a client's random has its session")
	}
}

// TestSessionsUnknown: one that began before us, and one of another server or,
// in TLS 1.3, of another client.
func TestSessionsUnknown(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		full, again := pairOf(t, version)
		for _, tt := range []struct {
			name           string
			first          bool
			client, server string
		}{
			{"began before us", false, "192.0.2.10", "203.0.113.10"},
			{"another server behind the name", true, "192.0.2.10", "203.0.113.11"},
			{"another client", true, "192.0.2.11", "203.0.113.10"},
		} {
			l, n := sessionLab(t, nil, resuming("no", "known"))
			if tt.first {
				l.link("192.0.2.10", "203.0.113.10", 1, 2).play(full, strategies["mss"])
			}
			k := l.link(tt.client, tt.server, 3, 4)
			k.play(again, strategies["mss"])
			// A ticket is known whoever brings it; a TLS 1.3 session only by its client.
			known := tt.name == "another client" && version == tls.VersionTLS12
			if refused := len(n.drop) == 1 && n.drop[0].Decision.Reason == tlsrules.ReasonRequire(tlsrules.KeyResumed); refused == known || k.closed() == known {
				t.Errorf("%s, %s: refused %v, closed %v: %q", tls.VersionName(version), tt.name, refused, k.closed(), n.resumed)
			}
		}
	}
}

// TestSessionsOfAnother: the session id of one session next to the ticket of another. A
// server that takes the ticket echoes the id (RFC 5077, Section 3.4), whatever it is.
func TestSessionsOfAnother(t *testing.T) {
	full, _ := pairOf(t, tls.VersionTLS12)
	_, again := pairOf(t, tls.VersionTLS12)
	l, n := sessionLab(t, nil, resuming("no", "known"))
	l.link("192.0.2.10", "203.0.113.10", 1, 2).play(full, strategies["mss"])
	known := l.e.cfg.Sessions.all()[0]
	hello := again[0].bytes
	id := hello[44 : 44+hello[43]]
	l.e.cfg.Sessions.keep(&session{
		key:   serverOf(netip.MustParseAddrPort("203.0.113.10:443"), bySessionID, tlswire.SessionKeyOf(id)),
		suite: known.suite, version: known.version, began: known.began, origin: known.origin, chain: known.chain,
	}, l.now)
	k := l.link("192.0.2.10", "203.0.113.10", 3, 4)
	k.play(again, strategies["mss"])
	if len(n.drop) != 1 || n.drop[0].Decision.Reason != tlsrules.ReasonRequire(tlsrules.KeyResumed) || !k.closed() {
		t.Errorf("%d refused: %q", len(n.drop), n.resumed)
	}
}

// TestSessionsOfRefused: a refused connection begins no session.
func TestSessionsOfRefused(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		full, _ := pairOf(t, version)
		p := policy(acceptAll, tlsrules.Rule{Name: "old", Require: []tlsrules.Condition{condition("version", "1.1")}, Otherwise: tlsrules.Reset})
		l, n := sessionLab(t, nil, p)
		l.link4().play(full, strategies["mss"])
		if len(n.drop) != 1 || l.e.cfg.Sessions.Len() != 0 {
			t.Errorf("%s: %d refused, %d sessions", tls.VersionName(version), len(n.drop), l.e.cfg.Sessions.Len())
		}
	}
}

// TestGrace: for a time what began before us passes whatever the policy says,
// and is told; what begins now does not.
func TestGrace(t *testing.T) {
	full, again := pairOf(t, tls.VersionTLS12)
	p := policy(acceptAll, tlsrules.Rule{
		Name: "partner", Require: []tlsrules.Condition{condition("cipher", "AES128-SHA")},
		Action: tlsrules.Accept, HasAction: true, Otherwise: tlsrules.Reset,
	})
	l, n := sessionLab(t, func(c *Config) { c.Grace, c.Default.Midstream = time.Hour, MidstreamReset }, p)
	k := l.link4()
	k.play(again, strategies["mss"])
	if k.closed() || len(n.drop) != 1 || !n.drop[0].Decision.Observed || !n.drop[0].Graced || l.e.counts.GraceResumed != 1 || l.e.counts.Refused != 0 {
		t.Errorf("a session from before: closed %v, %d events, %+v, %+v", k.closed(), len(n.drop), l.e.counts, n.drop)
	}
	k = l.link4()
	k.play(full, strategies["mss"])
	if !k.closed() || len(n.drop) != 2 || n.drop[1].Decision.Observed {
		t.Errorf("a session that begins now: closed %v, %d events", k.closed(), len(n.drop))
	}
	k = l.link4()
	k.ends[0].got, k.ends[1].got = []byte{}, []byte{}
	if !k.data(original, 0, []byte("what began before")) || l.e.counts.GraceMidstream != 1 {
		t.Errorf("a connection from before: %+v", l.e.counts)
	}
	l.now += int64(time.Hour)
	k = l.link4()
	k.play(again, strategies["mss"])
	if !k.closed() {
		t.Errorf("the time of grace does not end")
	}
	if k = l.link4(); k.data(original, 0, []byte("what began before")) {
		t.Errorf("the time of grace does not end for connections")
	}
}

func testKey(i int) sessionKey {
	return serverOf(netip.MustParseAddrPort("192.0.2.1:443"), byTicket, tlswire.SessionKeyOf(fmt.Append(nil, i)))
}

func TestSessionsMemory(t *testing.T) {
	s := NewSessions(64, [16]byte{})
	for i := range 1000 {
		s.keep(&session{key: testKey(i), suite: uint16(i)}, int64(i))
		if x := s.find(testKey(i), int64(i)); x == nil || x.suite != uint16(i) {
			t.Fatalf("session %d is not found", i)
		}
	}
	if s.Len() > 64 {
		t.Errorf("%d sessions in a memory for 64", s.Len())
	}
	if got, want := s.forgotten(), uint64(1000-s.Len()); got != want {
		t.Errorf("%d forgotten early, want %d", got, want)
	}
	last := testKey(999)
	if s.find(last, 999+sessionLife+1) != nil {
		t.Errorf("a session is remembered for ever")
	}
	other := last
	other.port++
	if s.find(other, 999) != nil {
		t.Errorf("another server has the session")
	}
	s.keep(&session{key: last, suite: 7}, 1000)
	if x := s.find(last, 1000); x.suite != 7 {
		t.Errorf("the session is not replaced")
	}
	var none *Sessions
	none.keep(&session{}, 1)
	if none.find(last, 1) != nil || none.Len() != 0 || none.forgotten() != 0 {
		t.Errorf("nil remembers")
	}
}

// TestSessionsShared: workers that write at once lose at most a session each
// other's, and what is found is whole.
func TestSessionsShared(t *testing.T) {
	s := NewSessions(32, [16]byte{})
	var wait sync.WaitGroup
	for w := range 4 {
		wait.Go(func() {
			for i := range 5000 {
				n := (i*7 + w) % 100
				s.keep(&session{key: testKey(n), suite: uint16(n)}, int64(i))
				if x := s.find(testKey((n*3)%100), int64(i)); x != nil && int(x.suite) != (n*3)%100 {
					t.Errorf("found %d for %d", x.suite, (n*3)%100)
				}
			}
		})
	}
	wait.Wait()
	if s.Len() > 32 {
		t.Errorf("%d sessions", s.Len())
	}
}
