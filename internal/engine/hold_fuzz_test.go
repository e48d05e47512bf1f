package engine

import (
	"bytes"
	"testing"
	"time"

	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/tlswire"
)

// may is how much two ends of a conversation have to say by now, that answer what
// they were given.
func (k *link) may(turns []turn) (upTo [2]int) {
	for _, t := range turns {
		upTo[t.dir] += len(t.bytes)
		if len(k.ends[t.dir.Other()].got) < upTo[t.dir] {
			break
		}
	}
	return upTo
}

// FuzzHold sends any parts of a conversation in any order, some lost on the way, as
// single segments and as ones that stand for several: before the gate opens nobody
// is given data, and afterwards everything comes.
func FuzzHold(f *testing.F) {
	f.Add([]byte{0, 0, 0, 255, 1, 0, 255, 0, 0, 255, 1, 0, 255})
	f.Add([]byte{1, 0, 100, 255, 0, 0, 120, 3, 0, 255, 8, 0, 255, 17, 0, 255, 64, 200, 255, 0, 0, 255})
	f.Add([]byte{2, 4, 0, 255, 1, 0, 128, 33, 100, 255, 1, 90, 255, 128, 9, 9, 0, 0, 255, 1, 0, 255, 0, 200, 255})
	var all [][]turn
	for _, kind := range []string{"tls12 ecdhe", "tls13", "tls12 resumed", "tls13 retry", "tls13 client cert", "tls13 resumed"} {
		all = append(all, recording(f, kind))
	}
	f.Fuzz(func(t *testing.T, ops []byte) {
		if len(ops) == 0 || len(ops) > 600 {
			return
		}
		turns := all[int(ops[0]>>1)%len(all)]
		sent, edge := streams(turns), edges(turns)
		cfg := config()
		cfg.Limits.Decide = 24 * time.Hour
		l := newLab(t, cfg, gated(tlsrules.Hold{}))
		k := l.link("192.0.2.10", "203.0.113.10", -uint32(ops[0])*5, -uint32(ops[0])*3)
		if ops[0]&1 != 0 {
			k = l.link("2001:db8::10", "2001:db8:1::10", 1, -uint32(ops[0]))
		}
		k.open()
		gso, silent, closing := false, time.Duration(0), false
		l.alter = func(p *nfq.Packet) { p.GSO = gso }
		for ops = ops[1:]; len(ops) >= 3; ops = ops[3:] {
			op := ops[0]
			d := original
			if op&1 != 0 {
				d = reply
			}
			n := k.may(turns)[d]
			from, to := int(ops[1])*n/255, int(ops[2])*n/255
			k.lost, gso = op&2 != 0, op&4 != 0
			k.losing = int(op >> 3 & 1)
			switch {
			case op&16 != 0:
				k.ack(d)
			case op&32 != 0:
				// Silent for two minutes after the FINs of both it would be over.
				if silent += time.Duration(ops[1]) * time.Second; closing && silent >= 2*time.Minute {
					break
				}
				l.now += int64(ops[1]) * second
				l.e.Tick(l.now)
			case op&64 != 0: // a FIN, where it belongs
				closing = true
				k.raw(k.segment(d, len(sent[d]), nil, packet.ACK|packet.FIN))
			case from < to:
				k.data(d, from, sent[d][from:to])
			}
			for d := range k.ends {
				got := k.ends[1-d].got
				if !bytes.HasPrefix(sent[d], got) || edge[d] < len(sent[d]) && len(got) >= edge[d]+tlswire.RecordHeaderLen {
					t.Fatalf("%d bytes of direction %d came, data begins at %d", len(got), d, edge[d])
				}
			}
		}
		k.lost, k.losing, gso = false, 0, false
		k.answering(turns)
		if len(l.sink.drop) > 1 || k.closed() {
			t.Fatalf("refused: %+v", l.sink.drop)
		}
		l.open("quarantine")
		k.answering(turns)
		l.now += 2 * second
		l.e.Tick(l.now)
		for d := range k.ends {
			if !bytes.Equal(k.ends[1-d].got, sent[d]) {
				t.Errorf("%d bytes of %d came in direction %d", len(k.ends[1-d].got), len(sent[d]), d)
			}
		}
		if l.e.counts.Holding != 0 || l.e.sending.first != nil {
			t.Errorf("%d still wait", l.e.counts.Holding)
		}
	})
}
