package control

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tlsgate/conntrack/packet"
	"tlsgate/internal/engine"
	"tlsgate/internal/events"
	"tlsgate/nfq"
	"tlsgate/nfq/nfqtest"
	"tlsgate/tlsrules"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// daemon is a server over engines that run on queues in memory.
type daemon struct {
	t      testing.TB
	d      *Daemon
	queues []*nfqtest.Queue
	path   string
	client *Client
	server *Server
	lost   atomic.Uint64 // packets
	missed atomic.Uint64 // packets: those that the socket had no room for among them
	state  atomic.Value  // what is wrong with the state file, a string
	// onRefuse, if not nil, is what carrying a refusal gives.
	onRefuse func() error
	onReload func() error // the same of a reload
}

const patience = 300 * time.Millisecond

// start starts a daemon with n workers, of which those in dead never answer.
func start(t testing.TB, n int, dead ...int) *daemon {
	t.Helper()
	dir, err := os.MkdirTemp("", "tlsgate")
	if err != nil {
		t.Fatal(err)
	}
	f := &daemon{t: t, path: filepath.Join(dir, "s")}
	marks, err := nfq.NewMarks(0xff0000)
	if err != nil {
		t.Fatal(err)
	}
	policy := pinning(t)
	log := events.NewSilent()
	clock := engine.Clock()
	gates := engine.NewGates(policy)
	f.d = &Daemon{Gates: gates, Events: log, Clock: clock, Started: clock(), Policy: func() Policy { return Policy{"policy.toml", "abc", 0, "2026-11-26T09:00:00.000000+0000"} }}
	f.d.Pins, f.d.Rules = engine.NewPins(0, [16]byte{}), func() *tlsrules.Policy { return policy }
	f.d.Reload = func(context.Context) (*Reloaded, error) {
		if f.onReload != nil {
			return nil, f.onReload()
		}
		return &Reloaded{Changed: true, Policy: f.d.Policy(), Rules: RulesFit, Warnings: []string{}, Text: "done"}, nil
	}
	f.d.Stats = func() *events.Stats {
		s := &events.Stats{Time: clock(), Workers: n, Lost: log.Lost()}
		s.Queue.KernelDropped, s.Queue.Missed = f.lost.Load(), f.missed.Load()
		return s
	}
	f.state.Store("")
	f.d.State = func() string { return f.state.Load().(string) }
	var running sync.WaitGroup
	for i := range n {
		q := &nfqtest.Queue{}
		f.queues = append(f.queues, q)
		e := engine.New(engine.Config{
			Marks: marks, Offload: true, Sink: log, FirstID: uint64(i) + 1, StepID: uint64(n), Pins: f.d.Pins, Gates: f.d.Gates,
			Inject: q.Inject, Refuse: func([]byte, uint32) error {
				if f.onRefuse != nil {
					return f.onRefuse()
				}
				return nil
			},
		}, policy)
		f.d.Workers = append(f.d.Workers, Worker{uint16(i), e})
		if !slices.Contains(dead, i) {
			running.Go(func() {
				if err := e.Run(q, clock); err != nil {
					t.Error(err)
				}
			})
		}
	}
	l, err := Listen(f.path, "")
	if err != nil {
		t.Fatal(err)
	}
	f.server = serve(l, f.d, patience)
	f.client = Dial(f.path)
	t.Cleanup(func() {
		for _, q := range f.queues {
			q.Close()
		}
		running.Wait()
		log.Close()
		f.server.Close()
		f.client.http.CloseIdleConnections()
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("the socket is left behind")
		}
		os.RemoveAll(dir)
	})
	return f
}

// pinning is a policy that has no say in what goes to port 443.
func pinning(t testing.TB) *tlsrules.Policy {
	t.Helper()
	to := func(port string) []tlsrules.Condition {
		c, err := tlsrules.ParseCondition(tlsrules.KeyPort, []string{port})
		if err != nil {
			t.Fatal(err)
		}
		return []tlsrules.Condition{c}
	}
	p, err := tlsrules.New([]tlsrules.Rule{
		{Name: "one", Match: to("8443-8444"), Pin: &tlsrules.Pin{}, Otherwise: tlsrules.Reset},
		{Name: "each", Match: to("8444-8445"), Pin: &tlsrules.Pin{Per: []tlsrules.Key{tlsrules.KeySource, tlsrules.KeyPort}}, Otherwise: tlsrules.Reset},
		{Name: "named", Match: to("8446"), Pin: &tlsrules.Pin{Per: []tlsrules.Key{tlsrules.KeyServerName}}, Otherwise: tlsrules.Reset},
		{Name: "plain", Match: to("8447"), Action: tlsrules.Accept, HasAction: true},
		{Name: "quarantine", Match: to("9443"), Action: tlsrules.Accept, HasAction: true, Otherwise: tlsrules.Reset, Hold: &tlsrules.Hold{}},
	}, tlsrules.Defaults{Action: tlsrules.Accept, NotTLS: tlsrules.Accept})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var pinnedEnd = netip.MustParseAddrPort("203.0.113.1:8443")

var serverEnd = netip.MustParseAddrPort("203.0.113.1:443")

func client(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + n/50000)}), uint16(10000+n%50000))
}

// open opens the n-th connection through a worker.
func (f *daemon) open(worker, n int) { f.t.Helper(); f.openTo(worker, n, serverEnd) }

func (f *daemon) openTo(worker, n int, serverEnd netip.AddrPort) {
	f.t.Helper()
	c := client(n)
	send := func(from, to netip.AddrPort, flags packet.Flags, seq, ack uint32) {
		b := packet.Segment{Src: from.Addr(), SrcPort: from.Port(), Dst: to.Addr(), DstPort: to.Port(), Flags: flags}
		b.Seq = b.Seq.Add(seq)
		b.Ack = b.Ack.Add(ack)
		f.queues[worker].Push(nfq.Packet{Payload: b.Append(nil)})
	}
	send(c, serverEnd, packet.SYN, 100, 0)
	send(serverEnd, c, packet.SYN|packet.ACK, 500, 101)
	send(c, serverEnd, packet.ACK, 101, 501)
}

// settle waits until the workers have answered what is queued.
func (f *daemon) settle(packets int) {
	f.t.Helper()
	n := 0
	for until := time.Now().Add(20 * time.Second); n < packets; time.Sleep(time.Millisecond) {
		for _, q := range f.queues {
			n += len(q.Verdicts())
		}
		if time.Now().After(until) {
			f.t.Fatalf("%d of %d packets answered", n, packets)
		}
	}
}

func (f *daemon) conns(filters map[string][]string) (list []Conn, err error) {
	err = f.client.Conns(context.Background(), filters, func(line []byte) error {
		var c Conn
		if err := json.Unmarshal(line, &c); err != nil {
			return fmt.Errorf("%s: %w", line, err)
		}
		list = append(list, c)
		return nil
	})
	return list, err
}

// raw asks, whatever it is.
func (f *daemon) raw(method, path, body string) *http.Response {
	f.t.Helper()
	q, err := http.NewRequest(method, "http://tlsgate"+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	r, err := f.client.http.Do(q)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { r.Body.Close() })
	return r
}

// hold makes the n-th connection one whose data waits: an earlier run had it wait,
// as its mark says.
func (f *daemon) hold(worker, n int) {
	f.t.Helper()
	c := client(n)
	b := packet.Segment{
		Src: c.Addr(), SrcPort: c.Port(), Dst: serverEnd.Addr(), DstPort: 9443, Seq: 1000, Ack: 2000, Flags: packet.ACK, Payload: []byte("request"),
	}
	marks, _ := nfq.NewMarks(0xff0000)
	f.queues[worker].Push(nfq.Packet{Payload: b.Append(nil), Mark: marks.Held()})
	f.settle(1)
}

// offload makes the n-th connection one that is left to the kernel: an earlier
// run has accepted it, as its mark says.
func (f *daemon) offload(n int) {
	f.t.Helper()
	c := client(n)
	b := packet.Segment{
		Src: c.Addr(), SrcPort: c.Port(), Dst: serverEnd.Addr(), DstPort: serverEnd.Port(), Seq: 1000, Ack: 2000, Flags: packet.ACK,
	}
	marks, _ := nfq.NewMarks(0xff0000)
	f.queues[0].Push(nfq.Packet{Payload: b.Append(nil), Mark: marks.Accepted(0)})
	f.settle(1)
	if list, err := f.conns(map[string][]string{"source": {c.Addr().String()}, "verdict": {"accept"}}); err != nil || len(list) != 1 || !list[0].Offloaded {
		f.t.Fatalf("not left to the kernel: %+v, %v", list, err)
	}
}
