package nfq

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// waits is the kernel's end of a queue: packets by number, and what became of each.
type waits struct {
	ids  []uint32
	said map[uint32]string
	sent int // messages
}

// judge does what the kernel does with the verdicts in b.
func (w *waits) judge(t testing.TB, b []byte) {
	for len(b) > 0 {
		m, rest, ok := cutMessage(b)
		if !ok {
			t.Fatalf("%x is no message", b)
		}
		kind, body := m.kind, m.body[sizeNetfilter:]
		v, id := binary.BigEndian.Uint32(body[4:]), binary.BigEndian.Uint32(body[8:])
		says := fmt.Sprintf("%d %x", v, body[12:])
		left := w.ids[:0:0]
		for _, waiting := range w.ids {
			if waiting == id || kind == msgVerdictBatch && int32(waiting-id) <= 0 {
				w.said[waiting] += says
				continue
			}
			left = append(left, waiting)
		}
		w.ids, b = left, rest
		w.sent++
	}
}

// TestInOrder: what the kernel makes of verdicts is what was said of each packet, in
// whichever way they follow one another, numbers are left out or begin anew.
func TestInOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	packets, messages := 0, 0
	for range 300 {
		q, kernel := newPair(t)
		q.inOrder = true
		w, want := &waits{said: map[uint32]string{}}, map[uint32]string{}
		id := -uint32(r.IntN(100))
		read := func() {
			if err := q.flush(); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 1<<16)
			for {
				n, err := unix.Read(kernel, b)
				if n <= 0 || err != nil {
					return
				}
				w.judge(t, b[:n])
			}
		}
		v, mark := Repeat, uint32(1)
		for range 200 {
			if id++; r.IntN(20) == 0 {
				id += uint32(r.IntN(3)) // the socket had no room for them
			}
			if r.IntN(8) == 0 {
				v, mark = Verdict(r.IntN(5)), uint32(r.IntN(3))
			}
			var payload []byte
			if r.IntN(15) == 0 {
				payload = make([]byte, 1+r.IntN(20))
			}
			w.ids = append(w.ids, id)
			want[id] = fmt.Sprintf("%d %x", v, appendVerdict(nil, 0, id, v, mark, payload)[sizeNetlink+sizeNetfilter+12:])
			if v != Accept && v != Repeat {
				want[id] = fmt.Sprintf("%d %x", Drop, appendVerdict(nil, 0, id, v, mark, payload)[sizeNetlink+sizeNetfilter+12:])
			}
			if q.verdict(id, v, mark, payload); r.IntN(30) == 0 {
				read()
			}
			packets++
		}
		read()
		messages += w.sent
		if len(w.ids) > 0 || fmt.Sprint(w.said) != fmt.Sprint(want) || int(q.counters.verdicts.Load()) != len(want) {
			t.Fatalf("%d still wait, %d verdicts\n%v, want\n%v", len(w.ids), q.counters.verdicts.Load(), w.said, want)
		}
	}
	if messages > packets/2 {
		t.Errorf("%d messages for %d packets", messages, packets)
	}
}

// TestInOrderUnread: a packet whose message made no sense waits for ever, as one that is
// not answered does, and no verdict of others is one for it.
func TestInOrderUnread(t *testing.T) {
	for _, tt := range []struct {
		name    string
		before  func(q *batchQueue, kernel int)
		answers [2]uint32
		waits   uint32
	}{
		{"nonsense", func(q *batchQueue, kernel int) {
			unix.Write(kernel, []byte("nonsense"))
			q.recv(make([]Packet, 1), time.Millisecond)
		}, [2]uint32{2, 3}, 1},
		{"cut", func(q *batchQueue, _ int) { q.counters.truncated.Add(1) }, [2]uint32{2, 3}, 1},
		{"left out", func(*batchQueue, int) {}, [2]uint32{1, 3}, 2},
		{"not in order", func(*batchQueue, int) {}, [2]uint32{3, 1}, 2},
	} {
		q, kernel := newPair(t)
		q.inOrder = true
		tt.before(q, kernel)
		w := &waits{ids: []uint32{1, 2, 3}, said: map[uint32]string{}}
		for _, id := range tt.answers {
			q.verdict(id, Accept, 5, nil)
		}
		q.flush()
		b := make([]byte, 1<<10)
		n, _ := unix.Read(kernel, b)
		if w.judge(t, b[:n]); len(w.ids) != 1 || w.ids[0] != tt.waits || w.sent != 2 {
			t.Errorf("%s: %v wait, %v", tt.name, w.ids, w.said)
		}
	}
}

// TestInOrderRefused: the kernel refuses one message, and all packets it was for count.
func TestInOrderRefused(t *testing.T) {
	q, kernel := newPair(t)
	q.inOrder = true
	for id := range uint32(3) {
		q.verdict(id, Accept, 5, nil)
	}
	q.flush()
	b := make([]byte, 1<<10)
	n, _ := unix.Read(kernel, b)
	unix.Write(kernel, datagram(unix.NLMSG_ERROR, append([]byte{0xfe, 0xff, 0xff, 0xff}, b[:min(n, sizeNetlink)]...)))
	q.recv(make([]Packet, 1), time.Millisecond)
	if n := q.counters.verdictErrors[unix.ENOENT].Load(); n != 3 {
		t.Errorf("%d refused, want 3", n)
	}
}
