package engine

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"tlsgate/nfq"
	"tlsgate/tlsrules"
)

// answers is a queue that writes down what it is told, in one diary with all that the
// engine says and does: the order is part of it.
type answers struct{ *diary }

func (q answers) Recv([]nfq.Packet, time.Duration) (int, error) { return 0, nil }
func (q answers) Flush() error                                  { return nil }

func (q answers) Verdict(id uint32, v nfq.Verdict, mark uint32, payload []byte) {
	fmt.Fprintf(&q.b, "%d: %v %#x %x\n", id, v, mark, payload)
}

// FuzzBatch bends packets as FuzzPackets does: whether they come one at a time or in
// batches changes nothing that anybody sees, nor the order of it.
func FuzzBatch(f *testing.F) {
	f.Add([]byte{0, 5, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0})
	packets := restPackets(f)
	f.Fuzz(func(t *testing.T, ops []byte) { playBatches(t, packets, ops) })
}

// playBatches returns how many packets were judged in batches in which connections
// were sought, and how many connections were.
func playBatches(t testing.TB, packets [][]byte, ops []byte) (judged, sought int) {
	cfg := config()
	cfg.Limits.Connections, cfg.Limits.Stories = 8, 16
	p := mixed()
	if len(ops) > 0 {
		cfg.Offload = ops[0]&1 == 0
		cfg.Default.Midstream = Midstream(ops[0] >> 1 % 4)
		if ops[0]&16 != 0 {
			p = policy(acceptAll)
		}
		if ops[0]&32 != 0 {
			p = policy(acceptAll, tlsrules.Rule{
				Name: "pin", Match: []tlsrules.Condition{condition("source_port", "1-2")}, Pin: &tlsrules.Pin{To: tlsrules.PinConnection}, Otherwise: tlsrules.Reset,
			})
		}
	}
	var twins [2]*diary
	for i := range twins {
		cfg.Pins = NewPins(3, [16]byte{})
		twins[i] = newDiary(cfg, p)
		if len(ops) > 0 && ops[0]&64 != 0 {
			twins[i].e.maxAwake = 0
		}
	}
	now, at, id := second, 0, uint32(0)
	for len(ops) >= 4 {
		n := min(1+int(ops[1])%(2*together), len(ops)/4)
		var batch []nfq.Packet
		for ; len(batch) < n; ops = ops[4:] {
			b := bytes.Clone(packets[(at+int(ops[0])*(int(ops[0])>>7))%len(packets)])
			setPort(b, uint16(ops[1]>>4)%5+1)
			if where := int(ops[2]); where < len(b) && ops[3] >= 224 {
				b[where] ^= 1 << (ops[3] & 7)
			}
			at++
			id++
			batch = append(batch, nfq.Packet{ID: id, Payload: b, Mark: foreign | uint32(ops[3]&3)<<22, InDev: inside(b), OutDev: 3 - inside(b)})
		}
		for i := range batch {
			q := answers{twins[0]}
			r := q.e.guarded(&batch[i], q.e.decoded(&batch[i]), now)
			q.Verdict(batch[i].ID, r.Verdict, r.Mark, r.Payload)
		}
		twins[1].e.batch(answers{twins[1]}, batch, now)
		judged += n
		for i := range twins[1].e.next.upTo {
			if twins[1].e.next.sought[i].Conn != nil {
				sought++
			}
		}
		now += int64(batch[0].Payload[len(batch[0].Payload)-1]) * second / 64
		for i := range twins {
			twins[i].e.Tick(now)
			if n%3 == 0 {
				twins[i].e.restAll()
			}
		}
		if got, want := twins[1].b.String(), twins[0].b.String(); got != want {
			t.Fatalf("in a batch:\n%s\none at a time:\n%s", got, want)
		}
		twins[0].b.Reset()
		twins[1].b.Reset()
	}
	for _, d := range twins {
		d.e.Close(now)
		fmt.Fprintf(&d.b, "%+v\n", d.e.counts)
	}
	if got, want := twins[1].b.String(), twins[0].b.String(); got != want {
		t.Fatalf("in batches:\n%s\none at a time:\n%s", got, want)
	}
	return judged, sought
}

// TestBatch plays conversations that take their course, mostly.
func TestBatch(t *testing.T) {
	packets := restPackets(t)
	r := rand.New(rand.NewPCG(6, 9))
	judged, sought := 0, 0
	for range 150 {
		ops := make([]byte, 4*400)
		for i := range ops {
			ops[i] = byte(r.Uint32())
			switch {
			case i%4 == 0 && i > 0 && r.IntN(30) != 0:
				ops[i] &= 0x7f // the next packet
			case i%4 == 1 && r.IntN(5) != 0:
				ops[i] &= 0x0f
			case i%4 == 3 && r.IntN(3) != 0:
				ops[i] &= 0x7f
			}
		}
		n, m := playBatches(t, packets, ops)
		judged, sought = judged+n, sought+m
	}
	if judged < 10000 || sought < 5000 {
		t.Errorf("only %d packets judged, %d connections sought", judged, sought)
	}
}

// TestBatchBug: a bug of ours that shows before a packet's turn costs the packets that
// were not decoded, none of which passes, and is told; the next batch is as ever.
func TestBatchBug(t *testing.T) {
	d := newDiary(config(), policy(acceptAll))
	var batch []nfq.Packet
	for i, b := range restPackets(t)[:6] {
		batch = append(batch, nfq.Packet{ID: uint32(i), Payload: b, InDev: inside(b), OutDev: 3 - inside(b)})
	}
	table := d.e.table
	d.e.table = nil
	d.e.batch(answers{d}, batch, second)
	d.e.table = table
	if said := d.b.String(); strings.Count(said, "drop") != len(batch) || strings.Count(said, "\n") != len(batch) || d.e.counts.Bugs == 0 {
		t.Errorf("%d bugs, and %q", d.e.counts.Bugs, said)
	}
	d.b.Reset()
	d.e.batch(answers{d}, batch, second)
	if said := d.b.String(); strings.Count(said, "drop") != 0 {
		t.Errorf("then %q", said)
	}
}

// BenchmarkFarMemory: the mix of handshakes, so many at a time, out of a full queue,
// where all that is not the batch's own has gone from the processor's caches before
// each: what the kernel does with 64 packets sees to that in part, and so much here.
func BenchmarkFarMemory(b *testing.B) {
	x := newHandshakes(b, 512, 0)
	batch := make([]nfq.Packet, batchSize)
	other := make([]uint64, 8<<20/8)
	var taken time.Duration
	packets := 0
	round := func() {
		x.next()
		for at := 0; at < len(x.packets); at += batchSize {
			n := min(batchSize, len(x.packets)-at)
			for i := range other {
				other[i]++
			}
			for i := range batch[:n] {
				p := &x.packets[at+i]
				batch[i] = nfq.Packet{Payload: p.raw, InDev: inside(p.raw), OutDev: 3 - inside(p.raw), Mark: foreign}
				for j := 0; j < len(p.raw); j += 64 {
					other[0] += uint64(p.raw[j])
				}
			}
			x.now += 1000 * batchSize
			start := time.Now()
			x.e.batch(dropsFail{b}, batch[:n], x.now)
			taken += time.Since(start)
		}
		packets += len(x.packets)
		x.e.Tick(x.now)
	}
	for range 5 {
		round()
	}
	taken, packets = 0, 0
	for b.Loop() {
		round()
	}
	b.ReportMetric(float64(taken.Nanoseconds())/float64(packets), "ns/packet")
}

// dropsFail is a queue whose packets are all to pass.
type dropsFail struct{ testing.TB }

func (q dropsFail) Recv([]nfq.Packet, time.Duration) (int, error) { return 0, nil }
func (q dropsFail) Flush() error                                  { return nil }

func (q dropsFail) Verdict(_ uint32, v nfq.Verdict, _ uint32, _ []byte) {
	if v == nfq.Drop {
		q.Fatal("dropped")
	}
}
