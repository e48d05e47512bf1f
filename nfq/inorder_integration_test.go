package nfq

import (
	"testing"
	"time"
)

// TestIntegrationInOrder: each packet has the verdict that was given to it, whether
// those around it had the same; and one without a verdict waits.
func TestIntegrationInOrder(t *testing.T) {
	for _, inOrder := range []bool{true, false} {
		m := newMail(t)
		q := m.open(t, Config{Number: mailQueue, InOrder: inOrder})
		m.send(64, 100)
		batch := make([]Packet, 64)
		n, err := q.Recv(batch, time.Second)
		if n != 64 || err != nil {
			t.Fatalf("Recv: %d packets, %v; want 64", n, err)
		}
		want := 0
		for i, p := range batch {
			if i == 0 && !inOrder {
				continue // it waits
			}
			v := Verdict(i / 7 % 2)
			want += int(v)
			q.Verdict(p.ID, v, uint32(i/14), nil)
			if i == 40 {
				q.Flush()
			}
		}
		if err := q.Flush(); err != nil {
			t.Fatal(err)
		}
		if n := m.received(); n != want {
			t.Errorf("in order %v: %d datagrams arrived, want %d", inOrder, n, want)
		}
		q.Recv(batch, time.Millisecond)
		waiting := uint64(1)
		if inOrder {
			waiting = 0
		}
		if s := q.Stats(); s.Verdicts != 64-waiting || s.Waiting != waiting || s.VerdictErrors != nil {
			t.Errorf("in order %v: %+v", inOrder, s)
		}
	}
}
