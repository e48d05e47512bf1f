package tlsrules

import (
	"net/netip"
	"slices"
	"sort"
)

// index finds the rules whose match may hold for a connection, by the addresses
// and the server name that they name: most of a long policy is about others. It
// only leaves out rules of which a condition is certain to fail. The zero index
// finds none.
type index struct {
	rest  []uint16 // rules that name neither
	addr  addresses
	name  names
	both  addresses // those that name both are found by either, whichever finds fewer
	both2 names
}

// minIndexed is how many rules are worth an index.
const minIndexed = 16

// addresses finds rules by the source or the destination that each names.
type addresses struct {
	source, destination prefixes
}

// prefixes are rules by the prefixes of one of their conditions.
type prefixes struct {
	bits  []int // the lengths there are
	rules map[netip.Prefix][]uint16
}

// names finds rules by the server name that each asks for.
type names struct {
	all   []uint16 // of which any may hold as long as the name is not known
	exact map[string][]uint16
	below map[string][]uint16 // "example.com" of "*.example.com"
	none  []uint16
}

func newIndex(rules []rule) *index {
	x := &index{}
	shared := map[netip.Prefix]int{} // how many rules name a prefix, as source or destination
	for i := range rules {
		for _, k := range [...]Key{KeySource, KeyDestination} {
			if c := find(rules[i].Match, k); c != nil {
				for _, p := range c.prefixes {
					shared[p]++
				}
			}
		}
	}
	for i := range rules {
		at := uint16(i)
		name := find(rules[i].Match, KeyServerName)
		from, to := find(rules[i].Match, KeySource), find(rules[i].Match, KeyDestination)
		a, n := &x.addr, &x.name
		if name != nil && (from != nil || to != nil) {
			a, n = &x.both, &x.both2
		}
		if name != nil {
			n.add(name, at)
		}
		switch {
		case to != nil && (from == nil || most(shared, to) <= most(shared, from)):
			a.destination.add(to, at)
		case from != nil:
			a.source.add(from, at)
		case name == nil:
			x.rest = append(x.rest, at)
		}
	}
	return x
}

// most is how many rules name the prefix of a condition that most of them name.
func most(shared map[netip.Prefix]int, c *Condition) (n int) {
	for _, p := range c.prefixes {
		n = max(n, shared[p])
	}
	return n
}

func (x *prefixes) add(c *Condition, rule uint16) {
	if x.rules == nil {
		x.rules = map[netip.Prefix][]uint16{}
	}
	for _, p := range c.prefixes {
		p = p.Masked()
		// IPv4 and IPv6 prefixes of one length share a place: an address asks only
		// for its own.
		if !slices.Contains(x.bits, p.Bits()) {
			x.bits = append(x.bits, p.Bits())
		}
		x.rules[p] = append(x.rules[p], rule)
	}
}

func (x *names) add(c *Condition, rule uint16) {
	if x.exact == nil {
		x.exact, x.below = map[string][]uint16{}, map[string][]uint16{}
	}
	x.all = append(x.all, rule)
	for n := range c.names.exact {
		x.exact[n] = append(x.exact[n], rule)
	}
	for n := range c.names.below {
		x.below[n] = append(x.below[n], rule)
	}
	if c.none {
		x.none = append(x.none, rule)
	}
}

// maxLists bounds of how many lists candidates are made. A policy whose prefixes
// have more lengths than that is asked rule by rule.
const maxLists = 24

// candidates are the rules to ask, in order: those of some lists, each in order.
// The zero candidates are none.
type candidates struct {
	every bool // rule
	n     int
	lists [maxLists][]uint16
}

// put adds a list.
func (c *candidates) put(list []uint16) {
	switch {
	case len(list) == 0:
	case c.n == maxLists:
		c.every = true
	default:
		c.lists[c.n] = list
		c.n++
	}
}

// size is how many rules the lists from the n-th on have.
func (c *candidates) size(n int) (sum int) {
	for _, list := range c.lists[n:c.n] {
		sum += len(list)
	}
	return sum
}

// next returns the first rule from number i on; beyond all rules when there is
// none. Nil are all rules.
func (c *candidates) next(i int) int {
	if c == nil || c.every {
		return i
	}
	first := maxRules + 1
	for k := range c.n {
		list := c.lists[k]
		if len(list) > 0 && int(list[0]) < i {
			list = list[sort.Search(len(list), func(at int) bool { return int(list[at]) >= i }):]
			c.lists[k] = list
		}
		if len(list) > 0 {
			first = min(first, int(list[0]))
		}
	}
	return first
}

// look finds the rules that may match what is known.
func (x *index) look(v *view, c *candidates) {
	if v.known&stepSYN.bit() == 0 {
		c.every = true
		return
	}
	c.put(x.rest)
	x.addr.look(v, c)
	x.name.look(v, c)
	before := c.n
	x.both2.look(v, c)
	byName := *c
	c.n = before
	x.both.look(v, c)
	if byName.size(before) < c.size(before) {
		*c = byName
	}
}

func (x *addresses) look(v *view, c *candidates) {
	x.source.look(v.Source.Unmap(), c)
	x.destination.look(v.Destination.Unmap(), c)
}

func (x *prefixes) look(a netip.Addr, c *candidates) {
	a = a.WithZone("")
	for _, bits := range x.bits {
		if p, err := a.Prefix(bits); err == nil {
			c.put(x.rules[p])
		}
	}
}

func (x *names) look(v *view, c *candidates) {
	switch {
	case len(x.all) == 0:
		return
	case (v.never|v.moot)&stepClientHello.bit() != 0:
		return // it will not be known: no match on it holds
	case v.known&stepClientHello.bit() == 0:
		c.put(x.all)
		return
	case !v.Client.HasServerName:
		c.put(x.none)
		return
	}
	var buf [longestName]byte
	n, ok := normal(v.Client.ServerName, &buf)
	if !ok {
		return
	}
	x.lookup(n, c)
}

// lookup finds the rules that ask for a name, or for names above it.
func (x *names) lookup(n []byte, c *candidates) {
	c.put(x.exact[string(n)])
	if len(x.below) == 0 {
		return
	}
	for i := 1; i < len(n); i++ {
		if n[i] == '.' {
			c.put(x.below[string(n[i+1:])])
		}
	}
}

// within finds the rules that may match all that r matches: their addresses and
// names are r's own or more, so that they have one of each that r has.
func (x *index) within(r *rule, c *candidates) {
	c.put(x.rest)
	from, to, name := find(r.Match, KeySource), find(r.Match, KeyDestination), find(r.Match, KeyServerName)
	for _, a := range []*addresses{&x.addr, &x.both} {
		if a == &x.both && name == nil {
			continue
		}
		if from != nil {
			a.source.covering(from.prefixes[0], c)
		}
		if to != nil {
			a.destination.covering(to.prefixes[0], c)
		}
	}
	if name == nil {
		return
	}
	for n := range name.names.exact {
		x.name.lookup([]byte(n), c)
		return
	}
	for n := range name.names.below {
		x.name.lookup([]byte("*."+n), c)
		return
	}
	c.put(x.name.none)
}

// covering finds the rules one of whose prefixes covers p.
func (x *prefixes) covering(p netip.Prefix, c *candidates) {
	for _, bits := range x.bits {
		if bits > p.Bits() {
			continue
		}
		if wider, err := p.Addr().Prefix(bits); err == nil {
			c.put(x.rules[wider])
		}
	}
}
