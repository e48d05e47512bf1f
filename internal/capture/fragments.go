package capture

import (
	"encoding/binary"
	"slices"
	"time"
)

// Bounds of what is kept of datagrams in pieces. The times are Linux's
// (ip_fragment.c: IP_FRAG_TIME, ipv6.h: IPV6_FRAG_TIMEOUT), by the capture's clock.
const (
	fragmentTime4    = int64(30 * time.Second)
	fragmentTime6    = int64(60 * time.Second)
	maxFragmentBytes = 16 << 20 // all datagrams together; the oldest makes room
	maxRuns          = 64       // pieces of one datagram with gaps between them
	fragmentCost     = 512      // what a datagram takes besides its bytes
	maxDatagram      = 0xffff
)

// fragments puts the datagrams together that came in pieces, as RFC 791,
// Section 3.2, and RFC 8200, Section 4.5, say. Of pieces that overlap it does
// what Linux does (inet_fragment.c:inet_frag_queue_insert): one that lies within
// what is there is left out, any other overlap ends the datagram (RFC 5722).
// The zero fragments is usable, by one goroutine.
type fragments struct {
	held  map[fragmentKey]*pieces
	first *pieces // the one that came first; a list
	last  *pieces
	bytes int
	out   []byte // the last datagram, until the next call

	seen, given uint64 // fragments, and datagrams made of them
	lost        uint64 // datagrams that never came together
}

// fragmentKey is what fragments of one datagram have in common. The protocol is
// part of it in IPv4 alone.
type fragmentKey struct {
	src, dst [16]byte
	id       uint32
	protocol byte
	version  byte
}

// pieces is a datagram on its way. data holds all up to the last byte that came,
// runs says which of it are there: ascending, and never touching.
type pieces struct {
	key           fragmentKey
	before, after *pieces
	until         int64 // of the clock
	header        []byte
	data          []byte
	runs          []run
	size          int // when complete
	ended         bool
}

// run is [from, to).
type run struct{ from, to int }

// fragment is one piece as it came.
type fragment struct {
	key      fragmentKey
	header   []byte // what goes before the datagram
	next     int    // offset in header of the protocol to set; 0 for none
	protocol byte
	data     []byte
	at       int
	more     bool
}

// add takes a packet that may be a fragment. It returns the packet itself if it
// is none, the datagram when it is complete, and nil while it is not.
func (f *fragments) add(ip []byte, now int64, cut bool) []byte {
	p, ok := dissect(ip)
	if !ok {
		return ip
	}
	f.seen++
	f.expire(now)
	d := f.held[p.key]
	if cut || !p.fits(d) {
		f.end(d)
		return nil
	}
	if d == nil {
		if d = f.begin(p.key, now); d == nil {
			return nil
		}
	}
	return f.put(d, &p)
}

// fits reports whether a piece is possible: not empty, in units of eight octets
// but the last, and neither beyond the end that another one has set nor beyond
// what a datagram can hold.
func (p *fragment) fits(d *pieces) bool {
	end := p.at + len(p.data)
	switch {
	case len(p.data) == 0, p.more && len(p.data)%8 != 0, end > maxDatagram:
		return false
	case d == nil:
		return true
	case d.ended && end > d.size, !p.more && d.ended && end != d.size, !p.more && end < len(d.data):
		return false
	}
	return true
}

// put places a piece.
func (f *fragments) put(d *pieces, p *fragment) []byte {
	end := p.at + len(p.data)
	i, _ := slices.BinarySearchFunc(d.runs, p.at, func(r run, at int) int { return r.to - at - 1 })
	// runs[i] is the first that ends beyond the beginning of the piece.
	if i < len(d.runs) && d.runs[i].from < end {
		if d.runs[i].from > p.at || d.runs[i].to < end {
			f.end(d)
		}
		return nil // the same again
	}
	if !f.room(d, end) {
		f.end(d)
		return nil
	}
	copy(d.data[p.at:end], p.data)
	d.join(i, run{p.at, end})
	if p.at == 0 {
		f.bytes += len(p.header)
		d.header = append(d.header, p.header...)
		if p.next > 0 {
			d.header[p.next] = p.protocol
		}
	}
	if !p.more {
		d.ended, d.size = true, end
	}
	if !d.ended || len(d.runs) != 1 || d.runs[0] != (run{0, d.size}) {
		return nil
	}
	return f.complete(d)
}

// room makes a datagram as long as it is known to be, and reports whether there
// is memory for it.
func (f *fragments) room(d *pieces, end int) bool {
	if more := end - len(d.data); more > 0 {
		had := cap(d.data)
		d.data = slices.Grow(d.data, more)[:end]
		f.bytes += cap(d.data) - had
	}
	for f.bytes > maxFragmentBytes && f.first != nil && f.first != d {
		f.end(f.first)
	}
	return len(d.runs) < maxRuns
}

// join adds a run before runs[i], and makes one of those that now touch.
func (d *pieces) join(i int, r run) {
	j := i
	if i < len(d.runs) && d.runs[i].from == r.to {
		r.to = d.runs[i].to
		j = i + 1
	}
	if i > 0 && d.runs[i-1].to == r.from {
		i--
		r.from = d.runs[i].from
	}
	d.runs = slices.Replace(d.runs, i, j, r)
}

// complete makes the packet, and forgets its pieces.
func (f *fragments) complete(d *pieces) []byte {
	defer f.drop(d)
	if len(d.header)+d.size > maxDatagram+ipv6Header || d.key.version == 4 && len(d.header)+d.size > maxDatagram {
		f.lost++
		return nil
	}
	f.given++
	f.out = append(append(f.out[:0], d.header...), d.data[:d.size]...)
	if d.key.version == 4 {
		binary.BigEndian.PutUint16(f.out[2:], uint16(len(f.out)))
		f.out[6], f.out[7], f.out[10], f.out[11] = 0, 0, 0, 0
		binary.BigEndian.PutUint16(f.out[10:], ^sum(f.out[:len(d.header)]))
		return f.out
	}
	binary.BigEndian.PutUint16(f.out[4:], uint16(len(f.out)-ipv6Header))
	return f.out
}

// begin makes a datagram of which nothing has come yet.
func (f *fragments) begin(key fragmentKey, now int64) *pieces {
	d := &pieces{key: key, until: now + fragmentTime4, before: f.last}
	if key.version == 6 {
		d.until = now + fragmentTime6
	}
	if f.held == nil {
		f.held = map[fragmentKey]*pieces{}
	}
	f.held[key] = d
	if f.last != nil {
		f.last.after = d
	} else {
		f.first = d
	}
	f.last = d
	f.bytes += fragmentCost
	return d
}

// expire ends datagrams whose time is up. Those of IPv6 have more, so one may
// stand in front of others that are due: they wait with it.
func (f *fragments) expire(now int64) {
	for f.first != nil && f.first.until <= now {
		f.end(f.first)
	}
}

// end gives a datagram up.
func (f *fragments) end(d *pieces) {
	f.lost++
	if d != nil {
		f.drop(d)
	}
}

// drop forgets a datagram.
func (f *fragments) drop(d *pieces) {
	delete(f.held, d.key)
	if d.before != nil {
		d.before.after = d.after
	} else {
		f.first = d.after
	}
	if d.after != nil {
		d.after.before = d.before
	} else {
		f.last = d.before
	}
	f.bytes -= fragmentCost + cap(d.data) + len(d.header)
	*d = pieces{}
}

// dissect reads a fragment; false if the packet is none, or of a protocol that
// nobody here wants whole.
func dissect(ip []byte) (p fragment, ok bool) {
	if !sound(ip) {
		return p, false
	}
	if n := length(ip); n > 0 && n < len(ip) {
		ip = ip[:n]
	}
	if ip[0]>>4 == 4 {
		return dissect4(ip)
	}
	return dissect6(ip)
}

func dissect4(ip []byte) (p fragment, ok bool) {
	const more, offset = 0x2000, 0x1fff
	field := binary.BigEndian.Uint16(ip[6:])
	header := int(ip[0]&15) * 4
	if field&(more|offset) == 0 || header > len(ip) || !wanted(ip[9]) {
		return p, false
	}
	p.key = fragmentKey{id: uint32(binary.BigEndian.Uint16(ip[4:])), protocol: ip[9], version: 4}
	copy(p.key.src[:], ip[12:16])
	copy(p.key.dst[:], ip[16:20])
	p.header, p.data = ip[:header], ip[header:]
	p.at, p.more = int(field&offset)*8, field&more != 0
	return p, true
}

func dissect6(ip []byte) (p fragment, ok bool) {
	at, next := ipv6Header, 6
	for range maxLayers {
		switch h := ip[at:]; ip[next] {
		case ipHopByHop, ipRouting, ipDestination:
			if len(h) < 8 || len(h) < 8+int(h[1])*8 {
				return p, false
			}
			next = at
			at += 8 + int(h[1])*8
		case ipFragment:
			if len(h) < 8 || binary.BigEndian.Uint16(h[2:])&0xfff9 == 0 || !wanted(h[0]) {
				return p, false
			}
			p.key = fragmentKey{src: [16]byte(ip[8:]), dst: [16]byte(ip[24:]), id: binary.BigEndian.Uint32(h[4:]), version: 6}
			p.header, p.next, p.protocol, p.data = ip[:at], next, h[0], h[8:]
			p.at, p.more = int(binary.BigEndian.Uint16(h[2:])&^7), h[3]&1 != 0
			return p, true
		default:
			return p, false
		}
	}
	return p, false
}

// wanted reports whether TLS can be behind a protocol. In IPv6 a first fragment
// may have further headers before it.
func wanted(protocol byte) bool {
	switch protocol {
	case ipTCP, ipUDP, ipInIP, ipIPv6, ipGRE, ipMPLS, ipHopByHop, ipRouting, ipDestination:
		return true
	}
	return false
}

// sum is RFC 1071's, folded.
func sum(b []byte) uint16 {
	n := uint32(0)
	for i, v := range b {
		n += uint32(v) << (8 * (^i & 1))
	}
	for n>>16 != 0 {
		n = n>>16 + n&0xffff
	}
	return uint16(n)
}
