package reassembly

import (
	"bytes"
	"fmt"
	"testing"

	"tlsgate/conntrack/seqnum"
)

// model is the slow obvious stream: a byte of memory per byte, numbers that do
// not wrap. It has no bounds, so it never refuses.
type model struct {
	next, una uint64
	read      map[uint64]byte // remembered
	kept      map[uint64]byte // at next or beyond
	end       uint64          // of what was remembered
}

func newModel() *model {
	return &model{next: modelStart, una: modelStart, end: modelStart, read: map[uint64]byte{}, kept: map[uint64]byte{}}
}

// modelStart leaves room below for segments before the first byte.
const modelStart = 1 << 20

func (m *model) offer(at uint64, p []byte) (Status, []byte) {
	if len(p) == 0 {
		return Old, nil
	}
	for i, c := range p {
		k := at + uint64(i)
		if was, ok := m.read[k]; ok && k >= m.una && k < m.next && was != c {
			return Overlap, nil
		}
		if was, ok := m.kept[k]; ok && was != c {
			return Overlap, nil
		}
	}
	end := at + uint64(len(p))
	switch {
	case end <= m.next:
		return Old, nil
	case at > m.next:
		for i, c := range p {
			m.kept[at+uint64(i)] = c
		}
		return Kept, nil
	}
	taken := append([]byte(nil), p[m.next-at:]...)
	for ; m.next < end; m.next++ {
		delete(m.kept, m.next)
	}
	for c, ok := m.kept[m.next]; ok; c, ok = m.kept[m.next] {
		taken = append(taken, c)
		delete(m.kept, m.next)
		m.next++
	}
	return InOrder, taken
}

func (m *model) acknowledge(una uint64) { m.una = max(m.una, min(una, m.next)) }

func (m *model) settled() bool { return len(m.kept) == 0 && m.end <= m.una }

// pair drives a Stream and the model with the same calls.
type pair struct {
	s    Stream
	m    *model
	b    *Budget
	base seqnum.Value // of modelStart
}

func newPair(base uint32, b *Budget) *pair {
	p := &pair{m: newModel(), b: b, base: seqnum.Value(base)}
	p.s.Start(p.base)
	return p
}

func (p *pair) seq(at uint64) seqnum.Value { return p.base.Add(uint32(at - modelStart)) }

const testLimit = 1 << 20

// offer returns the first disagreement.
func (p *pair) offer(at uint64, payload []byte) (Status, error) {
	before := p.m.next
	wantStatus, want := p.m.offer(at, payload)
	got := p.s.Offer(p.seq(at), payload, testLimit, p.b)
	if got != wantStatus {
		return got, fmt.Errorf("Offer(next%+d, %d bytes) = %v, want %v", int64(at)-int64(before), len(payload), got, wantStatus)
	}
	taken, err := p.take()
	if err != nil {
		return got, err
	}
	if !bytes.Equal(taken, want) {
		return got, fmt.Errorf("took %d bytes %.60x, want %d bytes %.60x", len(taken), taken, len(want), want)
	}
	return got, p.agree()
}

func (p *pair) take() (taken []byte, err error) {
	for {
		at := p.s.Next()
		piece := p.s.Take()
		if piece == nil {
			return taken, nil
		}
		if len(piece) == 0 || p.s.Next() != at.Add(uint32(len(piece))) {
			return nil, fmt.Errorf("Take returned %d bytes and moved from %d to %d", len(piece), at, p.s.Next())
		}
		taken = append(taken, piece...)
	}
}

func (p *pair) remember(at uint64, b []byte) error {
	for i, c := range b {
		p.m.read[at+uint64(i)] = c
	}
	p.m.end = max(p.m.end, at+uint64(len(b)))
	if !p.s.Remember(p.seq(at), b, 4*testLimit, p.b) {
		return fmt.Errorf("Remember(%d bytes at next-%d) failed with %d held", len(b), p.m.next-at, p.s.Held())
	}
	return p.agree()
}

func (p *pair) acknowledge(una uint64) error {
	p.m.acknowledge(una)
	p.s.Acknowledge(p.seq(una), p.b)
	return p.agree()
}

func (p *pair) agree() error {
	if got, want := p.s.Next(), p.seq(p.m.next); got != want {
		return fmt.Errorf("Next = %d, want %d", got, want)
	}
	if got, want := p.s.Settled(), p.m.settled(); got != want {
		return fmt.Errorf("Settled = %v, want %v", got, want)
	}
	return p.s.check(p.b)
}

// check holds the stream to the intervals written at its fields, and to the
// bytes it accounts for.
func (s *Stream) check(b *Budget) error {
	held := (len(s.kept)+len(s.log))*blockSize + (cap(s.kept)+cap(s.log))*refSize
	if s.Held() != held {
		return fmt.Errorf("Held = %d, has %d", s.Held(), held)
	}
	if b.Used() < held {
		return fmt.Errorf("Used = %d, one stream holds %d", b.Used(), held)
	}
	if s.next.Less(s.una) || s.una.Size(s.next) > far+testLimit {
		return fmt.Errorf("una %d, next %d", s.una, s.next)
	}
	for i, r := range s.kept {
		if uint32(r.first)%blockData != 0 || i > 0 && !s.kept[i-1].first.Less(r.first) {
			return fmt.Errorf("kept blocks out of place at %d", i)
		}
	}
	for i, r := range s.log {
		if i > 0 && !s.log[i-1].first.Less(r.first) {
			return fmt.Errorf("remembered blocks out of order at %d", i)
		}
		end := s.end
		if i+1 < len(s.log) {
			end = s.log[i+1].first
		}
		if end.LessEq(s.una) {
			return fmt.Errorf("block %d remembers only acknowledged bytes", i)
		}
	}
	return nil
}

// honest returns the bytes an honest sender has at every place.
func honest(at uint64, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		k := at + uint64(i)
		p[i] = byte(k ^ k>>8 ^ k>>16)
	}
	return p
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
