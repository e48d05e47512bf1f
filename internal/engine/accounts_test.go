package engine

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"unsafe"

	"tlsgate/conntrack"
	"tlsgate/nfq"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/tlswire"
)

// mixed has something to say of most connections.
func mixed() *tlsrules.Policy {
	return policy(acceptAll,
		tlsrules.Rule{Name: "from", Match: []tlsrules.Condition{condition("source", "192.0.2.99")}, Action: tlsrules.Reset, HasAction: true},
		tlsrules.Rule{Name: "partner", Require: []tlsrules.Condition{condition("cipher", partnerSuites...)}, Otherwise: tlsrules.Reset},
		tlsrules.Rule{Name: "fresh", Match: []tlsrules.Condition{condition("version", "1.3")},
			Require: []tlsrules.Condition{condition("content_type", "handshake", "change_cipher_spec", "application_data")}, Otherwise: tlsrules.Reset},
		tlsrules.Rule{Name: "group", Match: []tlsrules.Condition{condition("group", "secp256r1")}, Action: tlsrules.Reset, HasAction: true, Observe: true},
		tlsrules.Rule{Name: "texts", Match: []tlsrules.Condition{condition("contains", "amazinggrace", "hex:00 00 00 00 00 00 00 00 0a")}, Action: tlsrules.Reset, HasAction: true, Observe: true},
	)
}

// told is what the events say of a connection, times and numbers left out.
type told struct {
	Decision tlsrules.Decision
	Detail   string
	Packet   uint64
	SawTLS   bool
	Records  [2]tlswire.RecordCounts
	Phase    tlswire.Phase
	Code     string
	Alerts   int
}

func tell(r Report) told {
	return told{r.Decision, r.Detail, r.Packet, r.SawTLS, r.Records, r.Phase, r.Diagnosis.Code, len(r.Alerts)}
}

// TestAccounts: connections of all kinds, at the same time, in one engine, are
// told as each alone in a fresh one; all that they held is given back; events
// come as often as they should.
func TestAccounts(t *testing.T) {
	plain := []turn{{original, []byte("GET / HTTP/1.0\r\n\r\n")}, {reply, []byte("HTTP/1.0 200 OK\r\n\r\n")}}
	conversation := func(kind string) []turn {
		if kind == "http" {
			return plain
		}
		return recording(t, kind)
	}
	alone := map[string]told{}
	all := append([]string{"http"}, kinds...)
	for _, kind := range all {
		l := newLab(t, config(), mixed())
		k := l.link4()
		k.play(conversation(kind), strategies["mss"])
		l.e.Close(l.now)
		alone[kind] = tell(l.sink.flow[0])
	}
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 2))
		l := newLab(t, config(), mixed())
		kindOf := map[uint16]string{}
		var going []func() bool
		speakTLS := 0
		for i := range 80 {
			kind := all[r.IntN(len(all))]
			k := l.link4()
			if i%2 == 0 {
				k = l.link6()
			}
			kindOf[k.ends[0].addr.Port()] = kind
			turns, open := conversation(kind), false
			if kind != "http" {
				speakTLS++
			}
			going = append(going, func() bool {
				if !open {
					open = true
					return k.open()
				}
				if len(turns) == 0 || k.closed() {
					return false
				}
				k.talk(turns[:1], strategies["mss"])
				turns = turns[1:]
				return true
			})
		}
		for len(going) > 0 {
			i := r.IntN(len(going))
			if !going[i]() {
				going = append(going[:i], going[i+1:]...)
			}
		}
		l.e.Close(l.now)
		checkAccounts(t, l)
		if len(l.sink.flow) != 80 || len(l.sink.tls) != speakTLS {
			t.Errorf("%d flow and %d tls events of 80 connections, %d of them TLS", len(l.sink.flow), len(l.sink.tls), speakTLS)
		}
		for _, f := range l.sink.flow {
			if kind := kindOf[f.Original.Port()]; tell(f) != alone[kind] {
				t.Errorf("%s: got %+v, alone %+v", kind, tell(f), alone[kind])
			}
		}
	}
}

// checkAccounts looks at an engine whose connections have all ended.
func checkAccounts(t testing.TB, l *lab) {
	t.Helper()
	if used := l.e.budget.Used(); used != 0 {
		t.Errorf("%d bytes held by nobody", used)
	}
	if l.e.table.Len() != 0 || l.e.waiting != (waiting{}) {
		t.Errorf("%d connections left, waiting %v", l.e.table.Len(), l.e.waiting)
	}
	if len(l.e.held) != 0 || l.e.counts.Holding != 0 || l.e.sending != (behind{}) {
		t.Errorf("%d have a hold, %d wait, sending %v", len(l.e.held), l.e.counts.Holding, l.e.sending)
	}
	for _, ins := range l.e.spare {
		if d := ins.tls; d.HasClientHello || d.HasServerHello || d.Protocol != 0 || d.Phase != 0 || len(d.ClientHello.CipherSuites) != 0 || d.Held() != 0 {
			t.Errorf("a decoder that is given back knows something: %+v", d)
		}
		if ins.judgement != (tlsrules.Judgement{}) || ins.decision != (tlsrules.Decision{}) {
			t.Errorf("a judgement that is given back knows something")
		}
	}
	seen := map[uint64][3]int{}
	count := func(list []Report, which int) {
		for _, r := range list {
			n := seen[r.ID]
			if which != 1 || !r.Decision.Observed && !r.Held {
				n[which]++
			}
			seen[r.ID] = n
		}
	}
	count(l.sink.tls, 0)
	count(l.sink.drop, 1)
	count(l.sink.flow, 2)
	for id, n := range seen {
		if n[0] > 1 || n[1] > 1 || n[2] != 1 {
			t.Errorf("connection %d: %d tls, %d drop, %d flow events", id, n[0], n[1], n[2])
		}
	}
	for _, f := range l.sink.flow {
		if seen[f.ID][0] == 1 && !(f.SawTLS && f.Phase >= tlswire.PhaseClientHello) {
			t.Errorf("connection %d: came to %s, and a tls event", f.ID, f.Phase)
		}
	}
}

// script is a conversation as packets, with nothing left to the kernel.
func script(t testing.TB, p *tlsrules.Policy, turns []turn, strategy func(int) []piece) [][]byte {
	cfg := config()
	cfg.Offload = false
	l := newLab(t, cfg, p)
	var packets [][]byte
	l.alter = func(q *nfq.Packet) { packets = append(packets, append([]byte(nil), q.Payload...)) }
	k := l.link4()
	k.play(turns, strategy)
	k.close()
	if len(l.sink.drop) != 0 {
		t.Fatalf("the script is refused: %s", l.sink.drop[0].Detail)
	}
	return packets
}

// setPort changes the client's port of a script's packet.
func setPort(b []byte, port uint16) {
	at := 20
	if b[12] == 203 {
		at = 22
	}
	b[at], b[at+1] = byte(port>>8), byte(port)
}

// TestNoAllocs: a warm engine allocates nothing for a packet.
func TestNoAllocs(t *testing.T) {
	p := policy(acceptAll, tlsrules.Rule{
		Name: "all", Require: []tlsrules.Condition{
			condition("cipher", append([]string{"ECDHE-RSA-AES128-SHA", "AES128-SHA"}, partnerSuites...)...),
			condition("content_type", "handshake", "change_cipher_spec", "application_data", "alert"),
		}, Otherwise: tlsrules.Reset,
	})
	var scripts [][][]byte
	for _, kind := range kinds {
		for _, name := range []string{"mss", "reversed", "one byte"} {
			scripts = append(scripts, script(t, p, recording(t, kind), strategies[name]))
		}
	}
	for _, q := range preludes {
		if q.tunnel.Host == "" && q.proxied == "" { // whose names and words are copied
			scripts = append(scripts, script(t, p, joined(slices.Concat(q.said, recording(t, "tls13"))), strategies["one byte"]))
		}
	}
	e := New(config(), p)
	now, port, dropped := 1_700_000_000*second, uint16(1000), 0
	run := func() {
		for _, s := range scripts {
			port++
			for _, b := range s {
				setPort(b, port)
				now += 1000
				if e.Packet(&nfq.Packet{Payload: b, InDev: inside(b), OutDev: 3 - inside(b)}, now).Verdict == nfq.Drop {
					dropped++
				}
			}
		}
		now += 300 * second
		e.Tick(now)
	}
	for range 20 {
		run()
	}
	if n := testing.AllocsPerRun(5, run); n != 0 {
		t.Errorf("%.1f allocations in %d conversations", n, len(scripts))
	}
	if dropped != 0 {
		t.Errorf("%d packets dropped", dropped)
	}
}

// TestMemory: what one connection costs once its hello is read, judged and
// acknowledged, and the server's answer is awaited; the table's map left out, and
// its story, of which TestStoryMemory says what all together cost.
func TestMemory(t *testing.T) {
	const connections, limit = 2000, 2048
	hello := recording(t, "tls13")[0].bytes
	packets := script(t, policy(acceptAll), []turn{{original, hello}}, strategies["mss"])[:5] // up to the acknowledgement
	cfg := config()
	cfg.Limits.Stories = -1
	e := New(cfg, only("handshake", "change_cipher_spec"))
	heap := func() int {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	other := map[[6]uint64]*int{} // as large as the table's
	before := heap()
	for port := range uint16(connections) {
		for _, b := range packets {
			setPort(b, 10000+port)
			e.Packet(&nfq.Packet{Payload: b}, second)
		}
	}
	all := heap() - before
	for i := range uint64(connections) {
		other[[6]uint64{i}] = nil
	}
	each := all / connections
	without := (all - (heap() - before - all)) / connections
	t.Logf("conntrack.Conn[flow] %d, inspection %d; measured %d bytes a connection, %d without the map",
		unsafe.Sizeof(conntrack.Conn[flow]{}), unsafe.Sizeof(inspection{}), each, without)
	if e.table.Len() != connections || len(other) != connections || e.budget.Used() != 0 {
		t.Fatalf("%d connections, %d bytes remembered", e.table.Len(), e.budget.Used())
	}
	if without > limit {
		t.Errorf("%d bytes a connection, want at most %d", without, limit)
	}
}
