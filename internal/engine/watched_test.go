package engine

import (
	"testing"

	"tlsgate/nfq"
	"tlsgate/tlsrules/tlswire"
)

// outer counts the records of a conversation by what their headers say.
func outer(turns []turn) (n [2]tlswire.RecordCounts) {
	var whole [2][]byte
	for _, t := range turns {
		whole[t.dir] = append(whole[t.dir], t.bytes...)
	}
	for d, b := range whole {
		for len(b) >= 5 {
			n[d][b[0]-byte(tlswire.RecordTypeChangeCipherSpec)]++
			b = b[5+int(b[3])<<8+int(b[4]):]
		}
	}
	return n
}

// TestRecordedToTheEnd: a capture is read on when all is decided, for nothing
// leaves it to a kernel.
func TestRecordedToTheEnd(t *testing.T) {
	for _, kind := range kinds {
		turns := recording(t, kind)
		for _, mss := range []int{1, 97, 1460} {
			l := &sink{}
			cfg := config()
			cfg.Recorded, cfg.Marks, cfg.Sink = true, nfq.Marks{}, l
			e := New(cfg, policy(acceptAll))
			var b []byte
			for i, s := range story(turns, mss) {
				b = s.segment.append(b[:0])
				if e.Packet(&nfq.Packet{Payload: b}, int64(i+1)*1000).Verdict != nfq.Accept {
					t.Fatalf("%s: packet %d dropped", kind, i)
				}
			}
			e.Close(second)
			if len(l.tls) != 1 || len(l.flow) != 1 || len(l.drop) != 0 {
				t.Fatalf("%s: %d tls, %d flow, %d drop", kind, len(l.tls), len(l.flow), len(l.drop))
			}
			f := l.flow[0]
			if got, want := f.Records, outer(turns); got != want {
				t.Errorf("%s, segments of %d: records %v, want %v", kind, mss, got, want)
			}
			if f.Phase != tlswire.PhaseApplicationData || f.Diagnosis.Code != "ok" {
				t.Errorf("%s: came as far as %s, %s", kind, f.Phase, f.Diagnosis.Code)
			}
		}
	}
}

// TestRecordedServerOnly: of a capture of one direction a tls event tells what
// the server chose.
func TestRecordedServerOnly(t *testing.T) {
	for _, kind := range []string{"tls12 ecdhe", "tls13"} {
		n := &noted{}
		cfg := config()
		cfg.Recorded, cfg.Marks, cfg.Sink = true, nfq.Marks{}, n
		e := New(cfg, policy(acceptAll))
		for i, s := range story(recording(t, kind), 1460) {
			if s.dir == reply {
				e.Packet(&nfq.Packet{Payload: s.segment.append(nil)}, int64(i+1)*1000)
			}
		}
		e.Close(second)
		if len(n.tls) != 1 || len(n.drop) != 0 {
			t.Errorf("%s: %d tls events, %d refused", kind, len(n.tls), len(n.drop))
		}
	}
}
