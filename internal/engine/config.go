package engine

import (
	"time"

	"tlsgate/nfq"
	"tlsgate/tlsrules"
)

// Config is the engine's part of the policy file: POLICY.md's [default] and
// [limits], and how a decision reaches the kernel. The zero Config drops
// wherever a default action is missing, for the zero Action is Drop.
type Config struct {
	Default Defaults
	Limits  Limits
	MPTCP   MPTCP
	// Overload answers a packet for which a bound of Limits leaves no room.
	Overload tlsrules.Action
	// Lossy: the queue fails open, so packets may pass that are never seen here.
	// A connection that has missed some is accepted, and counted.
	Lossy bool
	// Recorded: the packets are those of a capture. They have passed, some may be
	// missing or cut short (nfq.Packet.CapLen), and what is not there is neither
	// waited for nor held against a connection.
	Recorded bool
	// Offload leaves decided connections to the kernel, by mark.
	Offload bool
	// Sessions is the memory of sessions, shared by engines; nil remembers none.
	Sessions *Sessions
	// Pins says who holds the pins of rules, shared by engines; nil pins nothing.
	Pins *Pins
	// Gates are those of the policy, shared by engines; nil are its own.
	Gates *Gates
	// Wall shows the time that people go by; nil: now is.
	Wall *Wall
	// Grace: for that long after the first packet, connections and sessions that
	// began before it pass, and are counted.
	Grace time.Duration
	// Marks lays out the bits of the packet mark that are ours.
	Marks nfq.Marks
	// Generation of the policy, carried by the mark of an accepted connection.
	Generation uint32
	// Interface names an interface by index; "" when there is none.
	Interface func(index uint32) string
	// Inject sends an IP packet of our own past the queue; nil sends none.
	Inject func(ip []byte, ifindex uint32) error
	// Refuse carries a refusal into the mark that the kernel keeps of a connection,
	// by a packet of it that goes nowhere; nil cannot.
	Refuse func(ip []byte, ifindex uint32) error
	// Clear has that mark say nothing, by a packet of the connection that no receiver
	// takes; nil cannot.
	Clear func(ip []byte, ifindex uint32) error
	// FirstID and StepID number connections, so that no two workers give the same.
	FirstID, StepID uint64
	// Sink takes the events; nil takes none.
	Sink Sink
}

// Defaults are the actions for what no rule speaks about.
type Defaults struct {
	Malformed tlsrules.Action
	Ambiguous tlsrules.Action
	Midstream Midstream
	Undecided tlsrules.Action
	// Observe reports what would be refused and refuses nothing.
	Observe bool
	// RefuseFor is how long a tlsrules.Refuse lasts where no rule says: 60 s.
	RefuseFor time.Duration
}

// Midstream says what becomes of a connection whose SYN was not seen.
type Midstream uint8

const (
	MidstreamDrop Midstream = iota
	MidstreamReset
	MidstreamInspect // rules apply, what was missed is unseen
	MidstreamAccept  // but a ClientHello in it is judged as any other
)

// MPTCP says what becomes of Multipath TCP (RFC 8684), whose subflows could
// carry a hello past us in pieces.
type MPTCP uint8

const (
	MPTCPRefuse MPTCP = iota
	MPTCPStrip        // the option is taken out of the SYN: both ends fall back to TCP
	MPTCPAccept
)

// Limits are the bounds of one engine. Zero means the default.
type Limits struct {
	Connections   int           // 262144
	HalfOpen      int           // 65536
	Buffered      int           // bytes, all connections together: 256 MiB
	PerConnection int           // bytes kept for one connection: 96 KiB
	Hello         int           // bytes of a ClientHello: 64 KiB
	Refused       int           // pairs of client and server between which SYNs are refused: 16384
	Stories       int           // connections with a story, see Engine.Why: 4096; below 0 none has one
	Decide        time.Duration // from first byte to decision: 30 s
}

func (c Config) withDefaults() Config {
	or := func(v *int, def int) {
		if *v <= 0 {
			*v = def
		}
	}
	or(&c.Limits.Connections, 262144)
	or(&c.Limits.HalfOpen, 65536)
	or(&c.Limits.Buffered, 256<<20)
	or(&c.Limits.PerConnection, 96<<10)
	or(&c.Limits.Hello, 64<<10)
	or(&c.Limits.Refused, 16384)
	if c.Limits.Stories == 0 {
		c.Limits.Stories = 4096
	}
	if c.Limits.Decide <= 0 {
		c.Limits.Decide = 30 * time.Second
	}
	if c.Default.RefuseFor <= 0 {
		c.Default.RefuseFor = time.Minute
	}
	if c.Interface == nil {
		c.Interface = func(uint32) string { return "" }
	}
	return c
}
