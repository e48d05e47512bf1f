// Package config turns the policy file of POLICY.md into checked values: every
// set expanded, every default filled in, or no values at all and errors that
// name file, line and key.
//
// It knows the keys and their defaults. What a rule means is tlsrules' business,
// and it knows nothing of a running program.
package config

import (
	"crypto/sha256"
	"time"

	"tlsgate/nfq"
	"tlsgate/tlsrules"
)

// Config is a policy file. It is made by Load or Parse and only read after
// that, by any goroutine.
type Config struct {
	Path string
	// Hash is of the file and of every file its sets read: the same hash is
	// the same policy.
	Hash [sha256.Size]byte

	Queue     Queue
	Intercept Intercept
	Default   Default
	Limits    Limits
	Log       Log
	Control   Control
	State     State
	Sets      []Set // by name
	Policy    *tlsrules.Policy
	Tests     []Test
	// Warnings are about what is allowed and cannot be meant, those of
	// Policy.Rules included.
	Warnings []string

	lines lines
}

// Queue is [queue]: where packets come from.
type Queue struct {
	Number   uint16 // the first NFQUEUE number
	Workers  int    // queues, one worker each; 0 is one per CPU
	FailOpen bool   // packets pass while nobody listens
	Backend  string // "batch" or "go-nfqueue"
	// BusyPoll is for how long a worker asks for packets before it sleeps; 0 is not.
	BusyPoll time.Duration
}

// Intercept is [intercept]: what is sent to the queue.
type Intercept struct {
	Hooks        []nfq.Hook
	Ports        []nfq.PortRange // empty is all
	InInterfaces []string        // empty is any
	Mark         uint32          // the bits that are ours
	Offload      bool
}

// Default is [default]: what is done where no rule speaks.
type Default struct {
	Action    tlsrules.Action
	NotTLS    tlsrules.Action
	Malformed tlsrules.Action
	Ambiguous tlsrules.Action
	Undecided tlsrules.Action
	Overload  tlsrules.Action
	MPTCP     MPTCP
	Midstream Midstream
	Observe   bool          // mode = "observe"
	Grace     time.Duration // after start; 0 is none
	RefuseFor time.Duration // how long action Refuse lasts, where a rule does not say
}

// MPTCP says what becomes of Multipath TCP (RFC 8684). The zero MPTCP refuses.
type MPTCP uint8

const (
	MPTCPRefuse MPTCP = iota
	MPTCPStrip        // both ends fall back to TCP
	MPTCPAccept
)

var mptcpNames = []string{MPTCPRefuse: "refuse", MPTCPStrip: "strip", MPTCPAccept: "accept"}

// String returns the value as a policy spells it.
func (m MPTCP) String() string { return mptcpNames[m] }

// Midstream says what becomes of a connection whose SYN was not seen. The zero
// Midstream drops.
type Midstream uint8

const (
	MidstreamDrop Midstream = iota
	MidstreamReset
	MidstreamInspect // rules apply, what was missed is unseen
	MidstreamAccept  // but a ClientHello in it is judged as any other
)

var midstreamNames = []string{MidstreamDrop: "drop", MidstreamReset: "reset", MidstreamInspect: "inspect", MidstreamAccept: "accept"}

// String returns the value as a policy spells it.
func (m Midstream) String() string { return midstreamNames[m] }

// Limits is [limits], with no zero left: sizes are bytes.
type Limits struct {
	Connections   int
	HalfOpen      int
	Buffered      int // all connections together
	PerConnection int
	Hello         int
	Sessions      int // remembered
	Pins          int // held, by connections and sessions
	Stories       int // connections whose story is kept
	Refused       int // pairs of client and server between which connections are refused
	Decide        time.Duration
}

// Log is [log].
type Log struct {
	Events string // a path, "-" for standard output, or "none"
	Stats  time.Duration
}

// Control is [control]: how the daemon is asked and told while it runs.
type Control struct {
	Socket string // a path, or "none"
	Group  string // that may use it; "" is root's alone
	Asked  bool   // the policy has one of them: without a socket it is not served
}

// State is [state]: what is not forgotten between two runs.
type State struct {
	File  string // a path, or "none"
	Every time.Duration
	Asked bool // the policy says which file: without one it is not served
}

// Set is one of [sets].
type Set struct {
	Name   string
	Values []string // as written, other sets and files read in
}
