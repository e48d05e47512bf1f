package engine

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
	"tlsgate/tlsrules"
)

// many is many clients that all say the same to one server.
type many struct {
	e       *Engine
	packets [][]byte
	now     int64
	tick    int64
	lost    int
}

// newMany has clients of an engine for so many connections say what is in a recording.
func newMany(t testing.TB, p *tlsrules.Policy, connections int, offload bool) *many {
	cfg := config()
	cfg.Offload = offload
	cfg.Limits.Connections, cfg.Limits.Stories = connections, -1
	x := &many{e: New(cfg, p), packets: script(t, policy(acceptAll), recording(t, "tls13"), strategies["mss"]), now: 1_700_000_000 * second}
	return x
}

// is makes a packet one of client n, and lets time pass.
func (x *many) is(n int, b []byte) {
	at, port := 12, 20
	if b[12] == 203 { // the server's
		at, port = 16, 22
	}
	b[at+2], b[at+3] = byte(n/50000>>8), byte(n/50000)
	b[port], b[port+1] = byte((1024+n%50000)>>8), byte(1024+n%50000)
	if x.now += 1000; x.now >= x.tick {
		x.tick = x.now + int64(100*time.Millisecond)
		x.e.Tick(x.now)
	}
}

// send sends a packet of client n, unless the kernel would let it pass by itself.
func (x *many) send(n int, b []byte) {
	x.is(n, b)
	if x.e.Packet(&nfq.Packet{Payload: b, InDev: inside(b), OutDev: 3 - inside(b), Mark: foreign}, x.now).Verdict == nfq.Drop {
		x.lost++
	}
}

// open plays a connection but for its end.
func (x *many) open(n int) {
	for _, b := range x.packets {
		if packet.Flags(b[33]).Has(packet.FIN) {
			return
		}
		x.send(n, b)
	}
}

// end plays the end.
func (x *many) end(n int) {
	ends := false
	for _, b := range x.packets {
		if ends = ends || packet.Flags(b[33]).Has(packet.FIN); ends {
			x.send(n, b)
		}
	}
}

func (x *many) ticks(d time.Duration) {
	for until := x.now + int64(d); x.now < until; {
		x.now += int64(100 * time.Millisecond)
		x.e.Tick(x.now)
	}
}

func heapInUse() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapInuse)
}

// each is what one of so many connections costs, all included.
func (x *many) each(n int, open func()) int {
	before := heapInUse()
	open()
	each := (heapInUse() - before + n/2) / n
	runtime.KeepAlive(x)
	return each
}

// TestMemoryPerConnection: a connection that is left to the kernel, or decided and
// silent, costs 160 bytes, all included, also once it is over.
func TestMemoryPerConnection(t *testing.T) {
	const n, limit = 200_000, 160
	for name, offload := range map[string]bool{"left to the kernel": true, "decided and silent": false} {
		x := newMany(t, partner(), 1<<20, offload)
		each := x.each(n, func() {
			for i := range n {
				if x.open(i); i%250 == 0 {
					x.ticks(11 * time.Second)
				}
			}
			x.ticks(15 * time.Second)
		})
		t.Logf("%s: %d bytes each, %d of %d rest", name, each, x.e.table.AtRest(), n)
		if each > limit || x.e.table.AtRest() < n-1 || x.lost > 0 {
			t.Errorf("%s: %d bytes each, want %d at most; %d of %d rest, %d packets are lost", name, each, limit, x.e.table.AtRest(), n, x.lost)
		}
		x.ticks(30 * time.Second)
		for i := range n {
			x.end(i)
		}
		x.ticks(30 * time.Second)
		if got := x.e.table.AtRest(); got < n-1 || x.lost > 0 {
			t.Errorf("%s: over, %d of %d rest, %d packets are lost", name, got, n, x.lost)
		}
		x.ticks(5 * time.Minute)
		if r := &x.e.rested; x.e.table.Len() != 0 || len(r.by) != 0 || len(r.free) != int(r.number)-1 {
			t.Errorf("%s: %d connections left, %d of what was alike", name, x.e.table.Len(), len(r.by))
		}
	}
}

// distinct has client n say other things than all others, as many as a client or its
// server can choose: randoms, session, name, suites, groups, signature schemes.
func (x *many) distinct(n int) {
	r := rand.New(rand.NewPCG(uint64(n), 1))
	random := func(b []byte) {
		for i := range b {
			b[i] = byte(r.Uint32())
		}
	}
	var session [32]byte
	random(session[:])
	for _, b := range x.packets {
		body := b[40:]
		if b[32]>>4 != 5 || len(body) < 100 || body[0] != 22 {
			continue
		}
		random(body[11:43])
		copy(body[44:76], session[:])
		if body[5] != 1 {
			continue
		}
		suites := int(body[76])<<8 | int(body[77])
		random(body[78 : 78+suites])
		for rest := body[78+suites+4:]; len(rest) > 4; {
			id, data := int(rest[0])<<8|int(rest[1]), rest[4:4+(int(rest[2])<<8|int(rest[3]))]
			switch rest = rest[4+len(data):]; id {
			case 0:
				copy(data[5:], fmt.Sprintf("%08x", n))
			case 10, 13:
				random(data[2:])
			}
		}
	}
}

// TestMemoryInspected: what a connection costs of which every record is read, while
// it is silent: if all clients say the same, and if no two do; if they come one behind the
// other, and if none has rested before the last is there.
func TestMemoryInspected(t *testing.T) {
	const n, limit = 100_000, 1000
	for _, tt := range []struct {
		name, kind     string
		distinct, once bool
	}{
		{"all alike", "tls13", false, false}, {"all distinct", "tls13", true, false},
		{"all distinct, at once", "tls13", true, true}, {"all distinct, of many words", "tls13 post-quantum", true, false},
	} {
		x := newMany(t, only("handshake", "change_cipher_spec", "application_data", "alert"), 1<<20, true)
		x.packets = script(t, policy(acceptAll), recording(t, tt.kind), strategies["gso"])
		each := x.each(n, func() {
			for i := range n {
				if tt.distinct {
					x.distinct(i)
				}
				if x.open(i); i%250 == 0 && !tt.once {
					x.ticks(11 * time.Second)
				}
			}
			x.ticks(30 * time.Second)
		})
		t.Logf("%s: %d bytes each, %d packed; conntrack.Conn[flow] %d, inspection %d", tt.name,
			each, x.e.packed.blocks.n*int(unsafe.Sizeof(block{}))/n, unsafe.Sizeof(conntrack.Conn[flow]{}), unsafe.Sizeof(inspection{}))
		if each > limit || x.e.table.AtRest() < n-1 || x.lost > 0 {
			t.Errorf("%s: %d bytes each, want %d at most; %d rest, %d packets lost", tt.name, each, limit, x.e.table.AtRest(), x.lost)
		}
		names := map[string]bool{}
		x.e.table.Walk(0, 1000, func(c *conntrack.Conn[flow]) { names[string(c.Value.ins.tls.ClientHello.ServerName)] = true })
		if distinct := len(names) > 900; distinct != tt.distinct || x.e.counts.TLSConnections != n {
			t.Errorf("%s: %d names, %d speak TLS", tt.name, len(names), x.e.counts.TLSConnections)
		}
	}
}

// TestBusyGateway is the third of the stories that this program is for: 13,000
// established connections, those of two minutes in TIME_WAIT (240,000, where the story has
// 94,000), and 2,000 new ones a second. Nothing is lost, and memory does not grow.
// TLSGATE_BUSY says for how long by the engine's clock.
func TestBusyGateway(t *testing.T) {
	const established, perSecond = 13000, 2000
	lasts, err := time.ParseDuration(os.Getenv("TLSGATE_BUSY"))
	if err != nil {
		lasts = 5 * time.Second
	}
	x := newMany(t, partner(), 262144, true)
	opened, ended := 0, 0
	step := func() { // a second
		for until := x.now + second; x.now < until; {
			for range perSecond / 10 {
				x.open(opened)
				if opened++; opened > established {
					x.end(ended)
					ended++
				}
			}
			x.now += int64(100 * time.Millisecond)
		}
	}
	for range 130 { // the first ones in TIME_WAIT expire
		step()
	}
	before, n := heapInUse(), x.e.table.Len()
	for end := x.now + int64(lasts); x.now < end; {
		step()
	}
	after := heapInUse()
	t.Logf("%s: %d connections, %d then, %d at rest; %d kB, %d kB then", lasts, n, x.e.table.Len(), x.e.table.AtRest(), before>>10, after>>10)
	if s := x.e.table.Stats(); x.lost != 0 || s.Evicted+s.EvictedHalfOpen+s.Full != 0 {
		t.Errorf("%d packets lost; %+v", x.lost, s)
	}
	if n < established+94000 || after > before+before/20 {
		t.Errorf("%d connections; %d kB, %d kB after %s", n, before>>10, after>>10, lasts)
	}
}

// BenchmarkConnections tells whether a packet takes longer where there are many
// connections. Each run opens one and has one end that was opened long ago; or, where
// nothing is left to the kernel, is a packet of the one that has been silent longest.
func BenchmarkConnections(b *testing.B) {
	for _, n := range []int{1000, 1_000_000} {
		b.Run(fmt.Sprint("come and go/", n), func(b *testing.B) {
			x := newMany(b, partner(), 4<<20, true)
			i := 0
			x.measure(b, n, func() {
				x.open(n + i)
				x.end(i)
				i++
			})
		})
		b.Run(fmt.Sprint("in turn, out of a full queue/", n), func(b *testing.B) {
			x := newMany(b, partner(), 4<<20, false)
			x.measure(b, n, x.fullQueue(x.said(), n, batchSize))
		})
		b.Run(fmt.Sprint("in turn/", n), func(b *testing.B) {
			x := newMany(b, partner(), 4<<20, false)
			last := x.said()
			i := 0
			x.measure(b, n, func() {
				x.send(i%n, last)
				i++
			})
			if awake := x.e.table.Len() - x.e.table.AtRest(); awake > awakeMost+1 {
				b.Errorf("%d are awake", awake)
			}
		})
	}
}

// fullQueue has a packet of each of n clients in turn judged, as they come out of a
// queue in which a batch of them waits: b.N times.
func (x *many) fullQueue(b []byte, n, batch int) (next func()) {
	packets := make([]nfq.Packet, batch)
	for i := range packets {
		packets[i] = nfq.Packet{Payload: bytes.Clone(b), InDev: inside(b), OutDev: 3 - inside(b), Mark: foreign}
	}
	client, at := 0, batch
	return func() {
		if at++; at < batch {
			return
		}
		for at = 0; at < batch; at++ {
			x.is(client%n, packets[at].Payload)
			client++
		}
		at = 0
		x.e.batch(x, packets, x.now)
	}
}

// many is a queue that has no packets of its own.
func (x *many) Recv([]nfq.Packet, time.Duration) (int, error) { return 0, nil }
func (x *many) Flush() error                                  { return nil }

func (x *many) Verdict(_ uint32, v nfq.Verdict, _ uint32, _ []byte) {
	if v == nfq.Drop {
		x.lost++
	}
}

// said is the last packet before the end.
func (x *many) said() []byte {
	for i, b := range x.packets {
		if packet.Flags(b[33]).Has(packet.FIN) {
			return x.packets[i-1]
		}
	}
	return nil
}

func (x *many) measure(b *testing.B, n int, run func()) {
	before := heapInUse()
	for i := range n {
		if x.open(i); i%1000 == 0 && !x.e.cfg.Offload {
			x.ticks(11 * time.Second)
		}
	}
	x.ticks(time.Minute)
	each := float64(heapInUse()-before) / float64(n)
	packets := x.e.counts.Packets
	b.ReportAllocs()
	for b.Loop() {
		run()
	}
	taken := b.Elapsed()
	var m runtime.MemStats
	began := time.Now()
	runtime.GC()
	collected := time.Since(began)
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(taken.Nanoseconds())/float64(x.e.counts.Packets-packets), "ns/packet")
	b.ReportMetric(each, "B/connection")
	b.ReportMetric(float64(m.Sys)/1e6, "MB-process")
	b.ReportMetric(float64(collected.Microseconds()), "us/GC")
	if x.lost > 0 {
		b.Fatalf("%d packets lost", x.lost)
	}
}
