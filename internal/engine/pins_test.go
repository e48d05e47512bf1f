package engine

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"tlsgate/tlsrules"
)

// asks makes an applicant of a group with so many places.
func asks(group string, id uint64, places int) *applicant {
	client := netip.AddrPortFrom(netip.MustParseAddr("192.0.2.10"), uint16(id))
	server := netip.MustParseAddrPort("203.0.113.10:443")
	return &applicant{group: groupKey{"one", group}, places: places, member: member{id, ends{client, server}}}
}

// ofSession makes one of a session; session 0 began unseen.
func ofSession(group string, id uint64, places int, session byte) *applicant {
	a := asks(group, id, places)
	a.session, a.origin, a.resumable = true, origin{session}, session != 0
	return a
}

func holding(p *Pins, k groupKey) []*holder { return groupIn(p.place(k).Load(), k).present() }

// TestPinsRace: of many that ask at once, as many as there are places hold a pin, at
// every moment: each that has it counts itself in and out again.
func TestPinsRace(t *testing.T) {
	for _, places := range []int{1, 3} {
		p := NewPins(0, [16]byte{})
		var inside [2]atomic.Int32
		var wait sync.WaitGroup
		var won, lost atomic.Int64
		for w := range 8 {
			wait.Go(func() {
				for i := range 3000 {
					g := i % 2
					a := asks(fmt.Sprint("g", g), uint64(w*3000+i+1), places)
					h, what := p.take(a, int64(i))
					if what == pinRefused {
						lost.Add(1)
						continue
					}
					if n := inside[g].Add(1); n > int32(places) {
						t.Errorf("%d hold a pin for %d", n, places)
					}
					if !h.touch(int64(i)) {
						t.Error("who holds the pin does not")
					}
					won.Add(1)
					inside[g].Add(-1)
					if !p.free(h, goneEnded) {
						t.Error("it was freed by somebody else")
					}
				}
			})
		}
		wait.Wait()
		if won.Load() == 0 || p.Len() != 0 || len(p.List()) != 0 {
			t.Errorf("%d places: %d won, %d lost, %d left", places, won.Load(), lost.Load(), p.Len())
		}
	}
}

// TestPinsRaceIdle: a pin that one keeps in use and others want for its silence is
// in the end held by one of them, and who lost it is told so before another has it.
func TestPinsRaceIdle(t *testing.T) {
	p := NewPins(0, [16]byte{})
	var clock atomic.Int64
	var wait sync.WaitGroup
	for w := range 8 {
		wait.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(w)))
			for i := range 2000 {
				a := asks("g", uint64(w*2000+i+1), 1)
				a.idle = 5
				h, what := p.take(a, clock.Add(1))
				if what != pinTaken {
					continue
				}
				for r.IntN(4) != 0 && h.touch(clock.Add(1)) {
				}
			}
		})
	}
	wait.Wait()
	if n := len(holding(p, groupKey{"one", "g"})); n != 1 || p.Len() != 1 {
		t.Errorf("%d hold it, counted %d", n, p.Len())
	}
}

// TestPinsRaceMoved: however often the operator moves a pin while connections come
// and go, there is one holder.
func TestPinsRaceMoved(t *testing.T) {
	p := NewPins(0, [16]byte{})
	rule := &tlsrules.Rule{Name: "one", Pin: &tlsrules.Pin{}}
	var wait sync.WaitGroup
	for w := range 4 {
		wait.Go(func() {
			for i := range 2000 {
				if w == 0 {
					random := [32]byte{1, byte(i)}
					if _, _, err := p.Reserve(rule, "g", &random, nil, 1); err != nil {
						t.Error(err)
					}
					continue
				}
				a := asks("g", uint64(w*2000+i+1), 1)
				a.random = [32]byte{1, byte(i)}
				if h, what := p.take(a, 1); what == pinTaken && i%3 == 0 {
					p.free(h, goneEnded)
				}
				if n := len(holding(p, a.group)); n > 1 {
					t.Errorf("%d hold it", n)
				}
			}
		})
	}
	wait.Wait()
	if p.Len() > 1 {
		t.Errorf("%d are left", p.Len())
	}
}

// model is what Pins is, slow and obvious.
type model map[string][]*entry

type entry struct {
	id, session uint64
	last, idle  int64
	members     []uint64
	resumable   bool
}

func (m model) take(group string, places int, id, session uint64, to bool, idle, now int64) (who uint64, what pinned) {
	list := m[group]
	for _, x := range list {
		if x.id == id || to && session != 0 && x.session == session {
			x.members = append(x.members, id)
			x.last = max(x.last, now)
			x.resumable = x.resumable || to && session != 0
			return x.id, pinShared
		}
	}
	if len(list) >= places {
		oldest := -1
		for i, x := range list {
			if x.idle > 0 && x.last < now-x.idle && (oldest < 0 || x.last < list[oldest].last) {
				oldest = i
			}
		}
		if oldest < 0 {
			return list[len(list)-1].id, pinRefused
		}
		list = slices.Delete(list, oldest, oldest+1)
	}
	m[group] = append(list, &entry{id, session, now, idle, []uint64{id}, to && session != 0})
	return id, pinTaken
}

// TestPinsModel: Pins does what the model does, whatever is done in whatever order.
func TestPinsModel(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 7))
		p := NewPins(0, [16]byte{})
		m := model{}
		places := 1 + int(seed%3)
		to := seed%2 == 0
		type part struct {
			h     *holder
			group string
			m     member
		}
		parts := map[uint64]part{}
		now, ids := int64(0), uint64(0)
		for step := range 2000 {
			now += int64(r.IntN(4))
			group := fmt.Sprint(r.IntN(3))
			switch r.IntN(5) {
			case 0, 1: // a connection comes
				ids++
				session := byte(0)
				if to {
					session = byte(r.IntN(6))
				}
				a := ofSession(group, ids, places, session)
				a.session, a.idle, a.resumable = to, 40, to && session != 0
				h, what := p.take(a, now)
				wantID, want := m.take(group, places, ids, uint64(session), to, 40, now)
				if what != want || h.began.id != wantID {
					t.Fatalf("seed %d, step %d: %d by %d, want %d by %d", seed, step, what, h.began.id, want, wantID)
				}
				if what != pinRefused {
					parts[ids] = part{h, group, a.member}
				}
			default: // one says something, or ends
				for id, x := range parts {
					had := false
					for _, y := range m[x.group] {
						had = had || y.id == x.h.began.id
					}
					if got := x.h.touch(now); got != had {
						t.Fatalf("seed %d, step %d: connection %d holds it: %v, want %v", seed, step, id, got, had)
					}
					for _, y := range m[x.group] {
						if y.id == x.h.began.id {
							y.last = max(y.last, now)
						}
					}
					if r.IntN(2) == 0 || !had {
						delete(parts, id)
						if last := x.h.part(x.m); last && !x.h.resumable.Load() {
							p.free(x.h, goneEnded)
						}
						for i, y := range m[x.group] {
							if y.id != x.h.began.id {
								continue
							}
							y.members = slices.DeleteFunc(y.members, func(v uint64) bool { return v == id })
							if len(y.members) == 0 && !y.resumable {
								m[x.group] = slices.Delete(m[x.group], i, i+1)
							}
							break
						}
					}
					break
				}
			}
		}
		for g, list := range m {
			if n := len(holding(p, groupKey{"one", g})); n != len(list) {
				t.Errorf("seed %d, group %s: %d hold it, want %d", seed, g, n, len(list))
			}
		}
	}
}

// TestPinsBounded: there are never more holders than allowed, who comes too late is
// told so, and sessions that nobody resumes make room in time.
func TestPinsBounded(t *testing.T) {
	p := NewPins(64, [16]byte{})
	for i := range uint64(64) {
		a := ofSession(fmt.Sprint(i), i+1, 1, byte(i+1))
		a.idle = 10
		h, what := p.take(a, 1)
		if what != pinTaken {
			t.Fatalf("%d: %d", i, what)
		}
		h.part(a.member)
	}
	if h, what := p.take(asks("one more", 100, 1), 2); what != pinOverload || h != nil || p.Len() != 64 {
		t.Errorf("one more: %d, %d held", what, p.Len())
	}
	if _, _, err := p.Reserve(&tlsrules.Rule{Name: "one", Pin: &tlsrules.Pin{}}, "another", &[32]byte{1}, nil, 2); err != ErrPinsFull {
		t.Errorf("by hand: %v", err)
	}
	for range 100 {
		p.sweep(100, sweepEvery)
	}
	if p.Len() != 0 {
		t.Errorf("%d are never given up", p.Len())
	}
	if _, what := p.take(asks("one more", 100, 1), 101); what != pinTaken {
		t.Errorf("then: %d", what)
	}
	var wait sync.WaitGroup
	for w := range 8 {
		wait.Go(func() {
			for i := range 500 {
				p.take(asks(fmt.Sprint(w, " ", i), uint64(i+1), 1), 200)
				if p.Len() > 64+8 { // those that are only trying
					t.Errorf("%d hold a pin", p.Len())
				}
			}
		})
	}
	if wait.Wait(); p.Len() != 64 || len(p.List()) != 64 {
		t.Errorf("%d hold a pin, %d are listed", p.Len(), len(p.List()))
	}
	var none *Pins
	none.sweep(1, 1)
	none.all(nil)
	if none.Len() != 0 || len(none.List()) != 0 {
		t.Error("nil pins something")
	}
}

// TestPinsSessions says who shares a session's pin.
func TestPinsSessions(t *testing.T) {
	tls13 := func(a *applicant, psk bool, sharing tlsrules.PinTLS13, who byte) *applicant {
		a.tls13, a.psk, a.sharing, a.who[0] = true, psk, sharing, who
		return a
	}
	for _, tt := range []struct {
		name  string
		first *applicant
		next  *applicant
		want  pinned
	}{
		{"the same session", ofSession("g", 1, 1, 1), ofSession("g", 2, 1, 1), pinShared},
		{"another session", ofSession("g", 1, 1, 1), ofSession("g", 2, 1, 2), pinRefused},
		{"both began unseen", ofSession("g", 1, 1, 0), ofSession("g", 2, 1, 0), pinRefused},
		{"another group", ofSession("g", 1, 1, 1), ofSession("h", 2, 1, 2), pinTaken},
		{"two places", ofSession("g", 1, 2, 1), ofSession("g", 2, 2, 2), pinTaken},
		{"to a connection", asks("g", 1, 1), asks("g", 2, 1), pinRefused},
		{"1.3: deny", tls13(ofSession("g", 1, 1, 1), false, tlsrules.PinTLS13Deny, 1), tls13(ofSession("g", 2, 1, 2), true, tlsrules.PinTLS13Deny, 1), pinRefused},
		{"1.3: same client", tls13(ofSession("g", 1, 1, 1), false, tlsrules.PinTLS13SameClient, 1), tls13(ofSession("g", 2, 1, 2), true, tlsrules.PinTLS13SameClient, 1), pinShared},
		{"1.3: another client", tls13(ofSession("g", 1, 1, 1), false, tlsrules.PinTLS13SameClient, 1), tls13(ofSession("g", 2, 1, 2), true, tlsrules.PinTLS13SameClient, 2), pinRefused},
		{"1.3: same client, nothing resumed", tls13(ofSession("g", 1, 1, 1), false, tlsrules.PinTLS13SameClient, 1), tls13(ofSession("g", 2, 1, 2), false, tlsrules.PinTLS13SameClient, 1), pinRefused},
		{"1.3: allow", tls13(ofSession("g", 1, 1, 1), false, tlsrules.PinTLS13Allow, 1), tls13(ofSession("g", 2, 1, 2), true, tlsrules.PinTLS13Allow, 2), pinShared},
		{"1.3: of a session of 1.2", ofSession("g", 1, 1, 1), tls13(ofSession("g", 2, 1, 2), true, tlsrules.PinTLS13Allow, 2), pinRefused},
	} {
		p := NewPins(0, [16]byte{})
		if _, what := p.take(tt.first, 1); what != pinTaken {
			t.Errorf("%s: the first: %d", tt.name, what)
		}
		if _, what := p.take(tt.next, 2); what != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, what, tt.want)
		}
	}
}
