package engine

import (
	"sync"

	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
	"tlsgate/tlsrules"
)

// DropReason says why a packet got no further, besides a refused connection's.
type DropReason uint8

const (
	DropMalformed DropReason = iota // headers that no receiver takes
	DropChecksum                    // wrong checksum
	DropFragment                    // an IP fragment: never accepted unread
	DropTruncated                   // cut by the kernel: not all of it can be read
	DropInvalid                     // its receiver would discard it (RFC 9293, Section 3.10)
	DropCookie                      // could begin another connection by a SYN cookie
	DropTableFull                   // no room in the connection table
	DropUnkept                      // out of order, and no room to keep it for reading
	DropMPTCP                       // Multipath TCP where the policy refuses it
	DropHeld                        // data that waits for a gate
	DropRefused                     // of a refused connection
	dropReasons
)

var dropNames = [dropReasons]string{
	"malformed", "checksum", "fragment", "truncated", "invalid", "syn_cookie",
	"table_full", "unkept", "mptcp", "held", "refused",
}

// String returns the reason as the stats event names it.
func (r DropReason) String() string { return dropNames[r] }

// DropReasons returns all reasons, for whoever prints Stats.
func DropReasons() []DropReason {
	all := make([]DropReason, dropReasons)
	for i := range all {
		all[i] = DropReason(i)
	}
	return all
}

// Stats are counters since the engine was made. The zero Stats is usable.
type Stats struct {
	Packets, Bytes  uint64
	Dropped         [dropReasons]uint64       // packets
	NotTCP          uint64                    // packets passed unread
	Malformed       [packet.Statuses]uint64   // packets that could not be decoded, by packet.Status
	Invalid         [conntrack.Reasons]uint64 // packets whose receiver would discard them, passed ones included, by conntrack.Reason
	Overlaps        uint64                    // segments that changed bytes already read
	TableFull       uint64
	Unkept          uint64 // segments neither read nor kept for reading
	Midstream       uint64 // connections that began unseen
	GraceMidstream  uint64 // of those, let pass for the time of grace
	GraceResumed    uint64 // connections of sessions that began unseen, let pass for the time of grace
	ResumedKnown    uint64 // connections
	ResumedUnknown  uint64 // connections
	Sessions        uint64 // remembered now, by all engines that share the memory
	MPTCPStripped   uint64 // packets
	Injected        uint64 // packets of our own
	InjectFailed    uint64
	Bugs            uint64 // packets dropped because judging them panicked
	Unread          uint64 // connections accepted because bytes of them passed unseen
	Ambiguous       uint64 // connections that receivers could read in two ways, refused or not
	Forgotten       uint64 // of those, that spoke when their entry was gone
	Accepted        uint64 // connections
	Refused         uint64 // connections
	Alerts          uint64 // of those, with an alert
	AlertsTooLate   uint64 // connections that were reset because their client would not have read an alert
	ResetsOnce      uint64 // refused connections whose ends were reset once, for too many others were asked whether they know
	RefusedEarlier  uint64 // SYNs answered as by a closed port, for an earlier refusal
	RefusedPairs    uint64 // of client and server, between which that is done now
	RefusedUnnoted  uint64 // pairs let go of early, for there were more than limits.refused
	Held            uint64 // connections whose data has waited for a gate
	Holding         uint64 // of those, now
	HoldsExpired    uint64 // connections whose data has waited for too long
	Killed          uint64 // of those, by the operator
	PinsTaken       uint64 // by connections, from nobody or from who was silent for too long
	PinsShared      uint64 // connections that have part in the pin of their session
	PinsRefused     uint64 // connections that others stood in the way of, observed ones included
	PinsMoved       uint64 // connections that the operator took a pin from
	PinsReleased    uint64 // for their holder had ended
	PinsUnnoted     uint64 // connections for which there was no room to hold one
	Pins            uint64 // holders now, of all engines that share the memory
	Observed        uint64 // connections that would have been refused
	JudgedAgain     uint64 // connections, by each policy that took another's place
	RefusedAgain    uint64 // of those, by that policy
	Stood           uint64 // of those, judged by what an earlier policy has found
	Offloaded       uint64 // connections
	TLSConnections  uint64
	Partial         uint64 // connections, ended, of which a capture lacks bytes
	Connections     uint64 // in the table now
	HalfOpen        uint64 // of those: not established, or heard from one end only
	Resting         uint64 // of those: decided, silent or left to the kernel, and kept in little
	ConnectionsSeen uint64
	Evicted         uint64
	Certificates    uint64 // bytes of certificates that connections and sessions hold, or held a moment ago, and the cache has no room for
	Buffered        uint64 // bytes held for reading now: segments, and messages partly there
	Hit             Hit
}

// Hit counts how often each bound of Limits, and of the memories engines share, was
// hit. The zero Hit is usable.
type Hit struct {
	Connections uint64 // new connections that found as many as there may be
	HalfOpen    uint64 // the same of half-open ones
	Buffered    uint64 // segments, and connections, that found no room to be kept for reading
	Hello       uint64 // connections
	Decide      uint64 // connections undecided for too long
	Tunnels     uint64 // connections with too many in one another
	Sessions    uint64 // forgotten early, of all engines that share the memory
}

func (h *Hit) add(o *Hit) {
	h.Connections += o.Connections
	h.HalfOpen += o.HalfOpen
	h.Buffered += o.Buffered
	h.Hello += o.Hello
	h.Decide += o.Decide
	h.Tunnels += o.Tunnels
	h.Sessions = max(h.Sessions, o.Sessions)
}

// bound counts a connection that a bound decides.
func (h *Hit) bound(r tlsrules.Reason) {
	switch r {
	case tlsrules.ReasonLimitBuffered:
		h.Buffered++
	case tlsrules.ReasonLimitHello:
		h.Hello++
	case tlsrules.ReasonLimitTunnels:
		h.Tunnels++
	}
}

// Add adds the counters of another worker.
func (s *Stats) Add(o *Stats) {
	for i, n := range o.Dropped {
		s.Dropped[i] += n
	}
	s.Packets += o.Packets
	s.Bytes += o.Bytes
	s.NotTCP += o.NotTCP
	for i, n := range o.Malformed {
		s.Malformed[i] += n
	}
	for i, n := range o.Invalid {
		s.Invalid[i] += n
	}
	s.Overlaps += o.Overlaps
	s.TableFull += o.TableFull
	s.Unkept += o.Unkept
	s.Midstream += o.Midstream
	s.GraceMidstream += o.GraceMidstream
	s.GraceResumed += o.GraceResumed
	s.ResumedKnown += o.ResumedKnown
	s.ResumedUnknown += o.ResumedUnknown
	s.Sessions = max(s.Sessions, o.Sessions)
	s.MPTCPStripped += o.MPTCPStripped
	s.Injected += o.Injected
	s.InjectFailed += o.InjectFailed
	s.Bugs += o.Bugs
	s.Unread += o.Unread
	s.Ambiguous += o.Ambiguous
	s.Forgotten += o.Forgotten
	s.Accepted += o.Accepted
	s.Refused += o.Refused
	s.Alerts += o.Alerts
	s.AlertsTooLate += o.AlertsTooLate
	s.ResetsOnce += o.ResetsOnce
	s.RefusedEarlier += o.RefusedEarlier
	s.RefusedPairs += o.RefusedPairs
	s.RefusedUnnoted += o.RefusedUnnoted
	s.Held += o.Held
	s.Holding += o.Holding
	s.HoldsExpired += o.HoldsExpired
	s.Killed += o.Killed
	s.PinsTaken += o.PinsTaken
	s.PinsShared += o.PinsShared
	s.PinsRefused += o.PinsRefused
	s.PinsMoved += o.PinsMoved
	s.PinsReleased += o.PinsReleased
	s.PinsUnnoted += o.PinsUnnoted
	s.Pins = max(s.Pins, o.Pins)
	s.Observed += o.Observed
	s.JudgedAgain += o.JudgedAgain
	s.RefusedAgain += o.RefusedAgain
	s.Stood += o.Stood
	s.Offloaded += o.Offloaded
	s.TLSConnections += o.TLSConnections
	s.Partial += o.Partial
	s.Connections += o.Connections
	s.HalfOpen += o.HalfOpen
	s.Resting += o.Resting
	s.ConnectionsSeen += o.ConnectionsSeen
	s.Evicted += o.Evicted
	s.Certificates += o.Certificates
	s.Buffered += o.Buffered
	s.Hit.add(&o.Hit)
}

// published is the copy of the counters that other goroutines read.
type published struct {
	mu    sync.Mutex
	stats Stats
	bug   string
	long  TooLong
}

func (p *published) fault(s string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bug == "" {
		p.bug = s
	}
}

// publish makes the counters readable; the packet path itself takes no lock.
func (e *Engine) publish() {
	s := e.counts
	t := e.table.Stats()
	s.Connections, s.HalfOpen, s.Resting = uint64(e.table.Len()), uint64(e.table.HalfOpen()), uint64(e.table.AtRest())
	s.ConnectionsSeen = t.Created
	s.Evicted = t.Evicted + t.EvictedHalfOpen
	s.Hit.Connections, s.Hit.HalfOpen, s.Hit.Sessions = t.AtConnections, t.AtHalfOpen, e.cfg.Sessions.forgotten()
	s.Buffered = uint64(e.budget.Used() + e.buffers.Held())
	s.Certificates = uint64(e.certs.Beyond())
	s.Sessions = uint64(e.cfg.Sessions.Len())
	s.Pins = uint64(e.cfg.Pins.Len())
	s.RefusedPairs, s.RefusedUnnoted = uint64(len(e.refusing.pairs)), e.refusing.unnoted
	e.shared.mu.Lock()
	e.shared.stats = s
	e.shared.mu.Unlock()
}

// Stats returns the counters as of the last tick. Safe for concurrent use.
func (e *Engine) Stats() Stats {
	e.shared.mu.Lock()
	defer e.shared.mu.Unlock()
	return e.shared.stats
}

// Bug returns the first panic that judging a packet caused, "" for none. Safe
// for concurrent use.
func (e *Engine) Bug() string {
	e.shared.mu.Lock()
	defer e.shared.mu.Unlock()
	return e.shared.bug
}
