package suites

import "slices"

// op is what an entry of a cipher list does with the suites it selects.
type op uint8

const (
	opAdd     op = iota // those not in the list go to its end
	opRemove            // those in it go out, and may come again
	opLast              // those in it go to its end
	opKill              // go out for good
	opCommand           // @
	opFirst             // those in it go to its front; only steps have it
	opSort              // all in it by strength; only steps have it
)

// order holds a release's suites in order of preference. Those in the list and
// those not in it are one order: a suite that is added again comes where the
// order has it, and what was taken out last comes first.
type order struct {
	ciphers     []cipher
	list, spare []uint8 // places in ciphers
	active      [256]bool
}

// newOrder returns a release's preference, with no suite in the list. It begins
// with the highest number.
func newOrder(r *release) order {
	o := order{ciphers: r.ciphers, list: make([]uint8, len(r.ciphers)), spare: make([]uint8, len(r.ciphers))}
	for i := range o.list {
		o.list[i] = uint8(len(r.ciphers) - 1 - i)
	}
	for i := range r.prefer {
		s := &r.prefer[i]
		if s.op == opSort {
			o.sortByStrength()
			continue
		}
		o.apply(s.op, func(c *cipher) bool { return r.selects(&s.selector, c) })
	}
	return o
}

// apply does op with the suites that pick takes. Their order among themselves
// stays.
func (o *order) apply(op op, pick func(*cipher) bool) {
	kept, moved := o.spare[:0], o.list[:0]
	// Both grow slower than they are read: kept into spare, and moved into the
	// places of list already seen.
	for _, i := range o.list {
		switch {
		case op == opAdd && o.active[i], op != opAdd && op != opKill && !o.active[i], !pick(&o.ciphers[i]):
			kept = append(kept, i)
		case op == opKill:
			o.active[i] = false
		default:
			o.active[i] = op != opRemove
			moved = append(moved, i)
		}
	}
	n := len(kept) + len(moved)
	if op == opRemove || op == opFirst {
		o.list = append(moved, kept...)
		return
	}
	kept = append(kept, moved...)
	o.list, o.spare = kept, o.list[:n]
}

// sortByStrength moves the list to the end of the order, strongest first.
func (o *order) sortByStrength() {
	o.apply(opLast, func(*cipher) bool { return true })
	first := slices.IndexFunc(o.list, func(i uint8) bool { return o.active[i] })
	if first < 0 {
		return
	}
	slices.SortStableFunc(o.list[first:], func(a, b uint8) int { return int(o.ciphers[b].bits) - int(o.ciphers[a].bits) })
}

// codes appends the numbers of the suites in the list.
func (o *order) codes(dst []uint16) []uint16 {
	for _, i := range o.list {
		if o.active[i] {
			dst = append(dst, o.ciphers[i].code)
		}
	}
	return dst
}

// step is one rule of a release's preference.
type step struct {
	op op
	selector
}

// preference30 is that of OpenSSL since 1.1.0. What a later step says weighs
// more.
var preference30 = []step{
	// Ephemeral ECDH before all else, and of it ECDSA.
	{opAdd, selector{kx: kxECDHE, auth: authECDSA}},
	{opAdd, selector{kx: kxECDHE}},
	{opRemove, selector{kx: kxECDHE}},
	// GCM, then ChaCha20, then AES, then the rest.
	{opAdd, selector{enc: encGCM}},
	{opAdd, selector{enc: encChaCha20}},
	{opAdd, selector{enc: encAES}},
	{opAdd, selector{}},
	// Late come MD5, no authentication, and no forward secrecy.
	{opLast, selector{mac: macMD5}},
	{opLast, selector{auth: authNone}},
	{opLast, selector{kx: kxRSA}},
	{opLast, selector{kx: kxPSK}},
	{opLast, selector{enc: encRC4}},
	{op: opSort},
	// More than strength count TLS 1.2, an AEAD, forward secrecy, and both.
	{opFirst, selector{version: versionTLSv12}},
	{opFirst, selector{mac: macAEAD}},
	{opFirst, selector{kx: kxDHE | kxECDHE}},
	{opFirst, selector{kx: kxDHE | kxECDHE, mac: macAEAD}},
	{opRemove, selector{}},
}

// preference102 is that of OpenSSL 1.0.2, where strength counts most.
var preference102 = []step{
	{opAdd, selector{kx: kxECDHE}},
	{opRemove, selector{kx: kxECDHE}},
	{opAdd, selector{enc: encAES | encGCM}},
	{opAdd, selector{}},
	{opLast, selector{mac: macMD5}},
	{opLast, selector{auth: authNone}},
	{opLast, selector{auth: authECDH}},
	{opLast, selector{kx: kxRSA}},
	{opLast, selector{kx: kxPSK}},
	{opLast, selector{enc: encRC4}},
	{op: opSort},
	{opRemove, selector{}},
}
