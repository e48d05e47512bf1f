package engine

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tlsgate/nfq"
	"tlsgate/nfq/nfqtest"
	"tlsgate/tlsrules"
)

// running is an engine that runs on a queue in memory.
type running struct {
	*Engine
	q   *nfqtest.Queue
	end func()
}

func run(t testing.TB, cfg Config, p *tlsrules.Policy) *running {
	t.Helper()
	r := &running{Engine: New(cfg, p), q: &nfqtest.Queue{}}
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := r.Run(r.q, Clock()); err != nil {
			t.Error(err)
		}
	})
	r.end = func() { r.q.Close(); wait.Wait() }
	t.Cleanup(r.end)
	return r
}

// push queues packets and waits for their verdicts.
func (r *running) push(t testing.TB, packets [][]byte, port uint16) {
	t.Helper()
	for _, b := range packets {
		setPort(b, port)
		r.q.Push(nfq.Packet{Payload: b, InDev: inside(b), OutDev: 3 - inside(b)})
	}
	for n, until := 0, time.Now().Add(10*time.Second); n < len(packets); n += len(r.q.Verdicts()) {
		if time.Now().After(until) {
			t.Fatalf("%d verdicts for %d packets", n, len(packets))
		}
		time.Sleep(100 * time.Microsecond)
	}
}

// list asks for all pieces of the table.
func (r *running) list(t testing.TB, f *Filter) (list []Seen) {
	t.Helper()
	for place := 0; place >= 0; {
		var err error
		if list, place, err = r.List(t.Context(), place, f, list); err != nil {
			t.Fatal(err)
		}
	}
	return list
}

func TestList(t *testing.T) {
	cfg := config()
	cfg.FirstID, cfg.StepID = 3, 4
	r := run(t, cfg, partner())
	tls13 := script(t, policy(acceptAll), recording(t, "tls13"), strategies["mss"])
	rsa := script(t, policy(acceptAll), recording(t, "tls12 rsa"), strategies["mss"]) // refused
	const many = 300
	for i := range uint16(many) {
		r.push(t, tls13[:3], 20000+i)
	}
	r.push(t, tls13, 1000)
	r.push(t, rsa, 1001)
	all := r.list(t, &Filter{})
	ids := map[uint64]bool{}
	for _, s := range all {
		ids[s.ID] = true
		if s.ID%4 != 3 {
			t.Errorf("id %d: want one of 3, 7, 11", s.ID)
		}
	}
	if len(all) != many+2 || len(ids) != many+2 {
		t.Errorf("%d connections, %d ids, want %d", len(all), len(ids), many+2)
	}

	client := all[0].Original.Addr()
	for name, tt := range map[string]struct {
		f    Filter
		want int
	}{
		"source":             {Filter{Source: netip.PrefixFrom(client, 24)}, many + 2},
		"source, another":    {Filter{Source: netip.MustParsePrefix("8.8.8.0/24")}, 0},
		"destination, IPv6":  {Filter{Destination: netip.MustParsePrefix("::/0")}, 0},
		"port":               {Filter{Port: 443}, many + 2},
		"port, another":      {Filter{Port: 80}, 0},
		"id":                 {Filter{ID: all[5].ID}, 1},
		"name":               {Filter{ServerName: "api.bank.example"}, 2},
		"name, pattern":      {Filter{ServerName: "*.bank.example"}, 2},
		"name, itself":       {Filter{ServerName: "*.api.bank.example"}, 0},
		"rule":               {Filter{Rule: "partner"}, many + 2},
		"rule, unknown":      {Filter{Rule: "x"}, 0},
		"accepted":           {Filter{Verdict: "accept"}, many + 1},
		"refused":            {Filter{Verdict: "reset"}, 1},
		"undecided":          {Filter{Verdict: "undecided"}, 0},
		"state":              {Filter{State: "ESTABLISHED"}, many},
		"phase":              {Filter{Phase: "start"}, 0}, // of TLS
		"version":            {Filter{Version: 0x0304}, 1},
		"cipher":             {Filter{Cipher: 0x1301, HasCipher: true}, 1},
		"cipher 0":           {Filter{HasCipher: true}, 0},
		"since the epoch":    {Filter{StartedBefore: 1}, 0},
		"since now":          {Filter{StartedBefore: time.Now().UnixNano()}, many + 2},
		"all must fit":       {Filter{Port: 443, Verdict: "accept", Rule: "x"}, 0},
		"all of them do fit": {Filter{Port: 443, Verdict: "accept", ServerName: "api.bank.example"}, 1},
	} {
		if got := len(r.list(t, &tt.f)); got != tt.want {
			t.Errorf("%s: %d connections, want %d", name, got, tt.want)
		}
	}

	// What was read and given back is remembered as far as it is told.
	s := r.list(t, &Filter{Version: 0x0304})[0]
	if want := (Said{ServerName: "api.bank.example", ALPN: s.Said.ALPN, Version: 0x0304, Cipher: 0x1301}); s.Said != want || !s.Offloaded || !s.SawTLS {
		t.Errorf("%+v", s)
	}
	found, ok, err := r.Find(t.Context(), s.Reply, s.Original)
	if diff := cmp.Diff(found, s, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); err != nil || !ok || diff != "" {
		t.Errorf("found %v, %v: %s", ok, err, diff)
	}
	if _, ok, err := r.Find(t.Context(), s.Reply, netip.AddrPort{}); ok || err != nil {
		t.Errorf("a connection with nobody: %v, %v", ok, err)
	}
}

// TestAskStopped: who asks an engine that does not answer, or not any more, is told.
func TestAskStopped(t *testing.T) {
	e := New(config(), partner())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	for range waitingQuestions + 3 { // more than the mailbox holds
		if err := e.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("an engine that does not run answered: %v", err)
		}
	}
	r := run(t, config(), partner())
	var asking sync.WaitGroup
	for range 50 {
		asking.Go(func() {
			for {
				if err := r.Ping(context.Background()); errors.Is(err, ErrStopped) {
					return
				} else if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	time.Sleep(50 * time.Millisecond)
	r.end()
	asking.Wait()
	if _, err := r.Kill(context.Background(), 1, netip.AddrPort{}, netip.AddrPort{}); !errors.Is(err, ErrStopped) {
		t.Errorf("killed by an engine that has stopped: %v", err)
	}
}

// TestAskPanic: a question that uncovers a bug costs its asker an answer, and
// nobody else anything.
func TestAskPanic(t *testing.T) {
	r := run(t, config(), partner())
	if err := r.ask(t.Context(), func() { panic("a bug") }); err == nil {
		t.Error("no error")
	}
	if err := r.Ping(t.Context()); err != nil || r.Bug() == "" {
		t.Errorf("%v, bug %q", err, r.Bug())
	}
}

// TestAnswersSoon: a question is answered within about a tick when nothing is
// queued, and the pieces that follow at once.
func TestAnswersSoon(t *testing.T) {
	r := run(t, config(), partner())
	start := time.Now()
	r.Ping(t.Context())
	if took := time.Since(start); took > 500*time.Millisecond {
		t.Errorf("the first answer took %s", took)
	}
	start = time.Now()
	for range 20 {
		r.Ping(t.Context())
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("20 more took %s", took)
	}
}
