package engine

import (
	"unsafe"

	"tlsgate/conntrack"
)

// What a Footprint is made of, beside the sizes of our own types; bytes.
const (
	perKey      = 168     // of a connection's head and its share of the index
	perSaid     = 2 << 10 // of what a connection has said: names, and their place in a map
	perRefusal  = 512
	perStory    = 2560
	perSession  = 512 // certificates are bounded with the engines'
	perPin      = 2 << 10
	perEngine   = 128 << 20 // caches, memory kept to be used again, stories of long hellos, what a queue is read into
	perDaemon   = 96 << 20  // events that wait for their readers
	sizeClasses = 8         // the allocator wastes one part in so many
)

// Footprint is how much memory an engine takes within these limits, at most, without
// garbage: every connection inspected, everything that may be kept kept.
func (l Limits) Footprint() int64 {
	l = Config{Limits: l}.withDefaults().Limits
	each := int64(unsafe.Sizeof(conntrack.Conn[flow]{}) + unsafe.Sizeof(inspection{}))
	each += each/sizeClasses + perKey + perSaid + forgottenBits/8*2
	each += blocksEach*int64(unsafe.Sizeof(block{})) + int64(unsafe.Sizeof(apart{})) // they stay when connections wake
	n := int64(l.Connections)*each + int64(l.Refused)*perRefusal + int64(max(l.Stories, 0))*perStory
	return n + 3*int64(l.Buffered) + perEngine
}

// SharedFootprint is the same of what engines share: so many sessions, and pins.
func SharedFootprint(sessions, pins int) int64 {
	if sessions <= 0 {
		sessions = 65536
	}
	if pins <= 0 {
		pins = 65536
	}
	return int64(sessions)*perSession + int64(pins)*perPin + perDaemon
}
