package engine

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"
	"sync/atomic"
)

// Pins says which connections and sessions hold the pins of the policy's rules. It
// is shared by the engines of one daemon, for the connections of one group may come
// to several workers, and it takes no lock: a place holds what never changes, and a
// change is a new value put in its place, or tried again when another came first.
// It is made by NewPins; nil pins nothing.
//
// At every moment a group has at most so many holders as its rule allows: who takes
// a pin puts itself into a value that has room. A holder that is gone never comes
// back, so the value that a change was made from had no more than it was seen with.
type Pins struct {
	places []atomic.Pointer[[]*pinGroup]
	seed   [16]byte
	limit  int64
	count  atomic.Int64 // of holders in the groups
	swept  atomic.Uint32
	before atomic.Pointer[map[ends][]*holder] // of an earlier run, by their ends

	note    func() // when holders have changed; nil: nobody asks
	changed atomic.Bool
	noted   atomic.Int64 // when that was told last
}

// pinGroup is a group of which somebody holds the pin. It never changes.
type pinGroup struct {
	key     groupKey
	holders []*holder
}

// groupKey names a group: by the rule, and by what its connections have in common.
type groupKey struct{ rule, values string }

// NewPins makes room for n holders; 0 is 65536. The seed decides which groups share
// a place. Where strangers choose the groups it has to be random.
func NewPins(n int, seed [16]byte) *Pins {
	if n <= 0 {
		n = 65536
	}
	places := 16
	for places*4 < n {
		places *= 2
	}
	return &Pins{places: make([]atomic.Pointer[[]*pinGroup], places), seed: seed, limit: int64(n)}
}

// Len returns how many holders there are.
func (p *Pins) Len() int {
	if p == nil {
		return 0
	}
	return int(p.count.Load())
}

func (p *Pins) place(k groupKey) *atomic.Pointer[[]*pinGroup] {
	b := append(make([]byte, 0, 128), p.seed[:]...)
	b = append(append(append(b, k.rule...), '\n'), k.values...)
	sum := sha256.Sum256(b)
	return &p.places[binary.BigEndian.Uint64(sum[:])&uint64(len(p.places)-1)]
}

func groupIn(groups *[]*pinGroup, k groupKey) *pinGroup {
	if groups != nil {
		for _, g := range *groups {
			if g.key == k {
				return g
			}
		}
	}
	return nil
}

// present are the holders of a group that are not gone.
func (g *pinGroup) present() (list []*holder) {
	if g == nil {
		return nil
	}
	for _, h := range g.holders {
		if h.gone() == present {
			list = append(list, h)
		}
	}
	return list
}

// replace puts a group with these holders, none of which is gone, in the place of
// the one that was read with groups, and reports whether nobody came first.
func (p *Pins) replace(at *atomic.Pointer[[]*pinGroup], groups *[]*pinGroup, k groupKey, holders []*holder) bool {
	old, was := groupIn(groups, k), 0
	if old != nil {
		was = len(old.holders)
	}
	more := int64(len(holders) - was)
	if p.count.Add(max(more, 0)) > p.limit && more > 0 {
		p.count.Add(-more)
		return false
	}
	var next []*pinGroup
	if groups != nil {
		next = slices.DeleteFunc(slices.Clone(*groups), func(g *pinGroup) bool { return g == old })
	}
	if len(holders) > 0 {
		next = append(next, &pinGroup{key: k, holders: holders})
	}
	to := &next
	if len(next) == 0 {
		to = nil
	}
	if !at.CompareAndSwap(groups, to) {
		p.count.Add(-max(more, 0))
		return false
	}
	p.count.Add(min(more, 0))
	p.changed.Store(true)
	return true
}

// full reports whether there is no room for another holder.
func (p *Pins) full() bool { return p.count.Load() >= p.limit }

// pinned is what became of an applicant.
type pinned uint8

const (
	pinRefused  pinned = iota // others hold the pin
	pinTaken                  // it holds it
	pinShared                 // it holds it with others of its session
	pinOverload               // there is no room to note that it holds it
)

// take lets an applicant have the pin of its group, if it can be had. It returns the
// holder that the applicant is by now, or one that stands in its way.
func (p *Pins) take(a *applicant, now int64) (*holder, pinned) {
	at := p.place(a.group)
	for {
		groups := at.Load()
		list := groupIn(groups, a.group).present()
		if i := slices.IndexFunc(list, a.is); i >= 0 {
			h := list[i]
			if !h.awaited() {
				if h.join(a, now) {
					return h, pinShared
				}
				continue // gone meanwhile
			}
			mine := newHolder(p, a, now)
			mine.byHand = h.byHand
			if h.awaits == awaitsEnds {
				mine.since = h.since
			}
			list[i] = mine
			if p.replace(at, groups, a.group, list) {
				h.leave(goneMet)
				return mine, pinTaken
			}
			continue
		}
		if len(list) >= a.places {
			if h := longestSilent(list, now); h != nil {
				h.expire(now)
				continue
			}
			if i := slices.IndexFunc(list, (*holder).weak); i >= 0 && !a.weak {
				list[i].leave(goneIdle)
				continue
			}
			return list[len(list)-1], pinRefused
		}
		mine := newHolder(p, a, now)
		if p.replace(at, groups, a.group, append(list, mine)) {
			return mine, pinTaken
		}
		if p.full() && at.Load() == groups {
			if p.sweep(now, sweepEvery); p.full() {
				return nil, pinOverload
			}
		}
	}
}

// rival returns a holder that stands in an applicant's way now, nil for none.
func (p *Pins) rival(a *applicant, now int64) *holder {
	list := groupIn(p.place(a.group).Load(), a.group).present()
	if len(list) < a.places || slices.ContainsFunc(list, a.is) || longestSilent(list, now) != nil {
		return nil
	}
	return list[len(list)-1]
}

// longestSilent returns the holder that has been silent for the longest time, of
// those that have been for too long; nil if there is none.
func longestSilent(list []*holder, now int64) (found *holder) {
	for _, h := range list {
		if h.silent(now) && (found == nil || h.last.Load() < found.last.Load()) {
			found = h
		}
	}
	return found
}

// give puts a holder into its group by hand: where there is no room, in the place
// of the one heard of the longest time ago. One that awaited the same goes too. It
// returns who had to go, and false if there is no room for another holder at all.
func (p *Pins) give(mine *holder, a *applicant) (out []*holder, ok bool) {
	at := p.place(mine.group)
	for {
		groups := at.Load()
		list := groupIn(groups, mine.group).present()
		out = nil
		if i := slices.IndexFunc(list, a.is); i >= 0 {
			out = append(out, list[i])
			list = slices.Delete(list, i, i+1)
		}
		for len(list) >= a.places {
			h := slices.MinFunc(list, func(x, y *holder) int { return cmp.Compare(x.last.Load(), y.last.Load()) })
			out = append(out, h)
			list = slices.DeleteFunc(list, func(x *holder) bool { return x == h })
		}
		if p.replace(at, groups, mine.group, append(list, mine)) {
			for _, h := range out {
				h.leave(goneMoved)
			}
			return out, true
		}
		if p.full() && at.Load() == groups {
			return nil, false
		}
	}
}

// free takes a holder out of its group. Who else has it will see that it is gone.
func (p *Pins) free(h *holder, why gone) bool {
	if !h.leave(why) {
		return false
	}
	p.tidy(p.place(h.group), h.group)
	return true
}

// tidy takes those out of a group that are gone.
func (p *Pins) tidy(at *atomic.Pointer[[]*pinGroup], k groupKey) {
	for {
		groups := at.Load()
		g := groupIn(groups, k)
		if g == nil {
			return
		}
		list := g.present()
		if len(list) == len(g.holders) || p.replace(at, groups, k, list) {
			return
		}
	}
}

// sweepEvery is how many places a tick looks at.
const sweepEvery = 64

// sweep looks at the next n places for holders that nobody will let go of: sessions
// without a connection that were not resumed for too long.
func (p *Pins) sweep(now int64, n int) {
	if p == nil {
		return
	}
	for range min(n, len(p.places)) {
		at := &p.places[p.swept.Add(1)%uint32(len(p.places))]
		groups := at.Load()
		if groups == nil {
			continue
		}
		for _, g := range *groups {
			for _, h := range g.holders {
				if h.conns.Load() == 0 && h.silent(now) {
					h.expire(now)
				}
			}
			p.tidy(at, g.key)
		}
	}
}

// all calls f with every holder, by rules and groups as they come.
func (p *Pins) all(f func(*holder)) {
	if p == nil {
		return
	}
	for i := range p.places {
		if groups := p.places[i].Load(); groups != nil {
			for _, g := range *groups {
				for _, h := range g.present() {
					f(h)
				}
			}
		}
	}
}

// Keep lets go of the pins of rules that have none any more.
func (p *Pins) Keep(pinned func(rule string) bool) {
	p.all(func(h *holder) {
		if !pinned(h.group.rule) {
			p.free(h, goneRule)
		}
	})
}

func (k groupKey) String() string {
	if k.values == "" {
		return "all its connections"
	}
	return strings.ReplaceAll(k.values, ",", ", ")
}
