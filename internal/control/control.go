// Package control is the operator's hand on a running daemon: a Unix socket that
// speaks HTTP and JSON, as docs/openapi.json has it, and the client of it. It
// knows what may be asked and how it is answered, and asks the engines between
// their batches, in small pieces. Whoever asks and does not read, sends nonsense
// or comes a thousand times waits for himself; no packet and no event does.
//
// It does not know how an engine comes to what it tells, nor what a terminal is.
package control

import (
	"context"
	"net/netip"
	"time"

	"tlsgate/internal/engine"
	"tlsgate/internal/events"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/suites"
)

// Daemon is what a server speaks for. Its functions must be safe for concurrent use.
type Daemon struct {
	Workers []Worker
	Stats   func() *events.Stats
	Events  *events.Log
	Clock   func() int64 // of the engines
	Wall    *engine.Wall // beside it
	Started int64        // by Clock
	Policy  func() Policy
	Reload  func(context.Context) (*Reloaded, error)
	State   func() string    // what is wrong with the state file, "" for nothing; nil: there is none
	Trouble func() []Problem // what else is wrong; nil: nothing is
	// Pins are who holds the pins of Rules' rules; nil where there are none.
	Pins  *engine.Pins
	Rules func() *tlsrules.Policy
	Gates *engine.Gates // those of its rules that have a hold; nil: there are none
	Note  func()        // pins have been changed by hand; nil: nobody asks
}

// Worker is an engine and the queue that it answers.
type Worker struct {
	Queue  uint16
	Engine *engine.Engine
}

// Policy is the policy in force.
type Policy struct {
	File   string `json:"file"`
	SHA256 string `json:"sha256"`
	Rules  int    `json:"rules"`
	// Loaded is when it came in force, as in events.
	Loaded string `json:"loaded"`
}

// Conn is one connection of the table.
type Conn struct {
	FlowID        uint64  `json:"flow_id"`
	Source        string  `json:"src_ip"`
	SourcePort    uint16  `json:"src_port"`
	Destination   string  `json:"dest_ip"`
	Port          uint16  `json:"dest_port"`
	State         string  `json:"state"`
	Age           float64 `json:"age"`  // seconds
	Idle          float64 `json:"idle"` // seconds
	PktsToServer  uint64  `json:"pkts_toserver"`
	PktsToClient  uint64  `json:"pkts_toclient"`
	BytesToServer uint64  `json:"bytes_toserver"`
	BytesToClient uint64  `json:"bytes_toclient"`
	Verdict       string  `json:"verdict"`
	Final         bool    `json:"final"`
	Observed      bool    `json:"observed,omitempty"`
	Rule          string  `json:"rule,omitempty"`
	Reason        string  `json:"reason,omitempty"`
	Stage         string  `json:"stage,omitempty"`
	Phase         string  `json:"phase,omitempty"`
	Via           string  `json:"via,omitempty"`
	SNI           string  `json:"sni,omitempty"`
	ALPN          string  `json:"alpn,omitempty"`
	Version       string  `json:"version,omitempty"`
	Cipher        string  `json:"cipher,omitempty"`
	Midstream     bool    `json:"midstream,omitempty"`
	Offloaded     bool    `json:"offloaded"`
	Grace         bool    `json:"grace,omitempty"`
	Pin           string  `json:"pin,omitempty"`    // the rule whose pin it holds
	Waited        float64 `json:"waited,omitempty"` // seconds that its data has waited for a gate, so far or until it opened
	Stood         bool    `json:"stood,omitempty"`
}

// connOf tells what the table holds of a connection.
func connOf(s *engine.Seen, now int64) Conn {
	c := brief(s, now)
	c.Source, c.Destination = s.Original.Addr().String(), s.Reply.Addr().String()
	return c
}

// brief is connOf but for the addresses, and allocates nothing. What is added here
// is added to appendConn too.
func brief(s *engine.Seen, now int64) Conn {
	c := Conn{
		FlowID: s.ID, SourcePort: s.Original.Port(), Port: s.Reply.Port(),
		State: s.State.String(), Age: seconds(now - s.Start), Idle: seconds(now - s.Last),
		PktsToServer: s.Packets[0], PktsToClient: s.Packets[1],
		BytesToServer: s.Bytes[0], BytesToClient: s.Bytes[1],
		Verdict: s.Verdict(), Final: s.Decision.Final, Observed: s.Decision.Observed, Rule: s.Decision.Rule,
		SNI: s.Said.ServerName, ALPN: s.Said.ALPN,
		Midstream: s.Midstream, Offloaded: s.Offloaded, Grace: s.Graced, Stood: s.Stood, Pin: s.Pin,
		Waited: seconds(int64(s.Waited)),
	}
	if s.Decision.Decided {
		c.Reason, c.Stage = s.Decision.Reason.String(), s.Decision.Stage.String()
	}
	if s.SawTLS {
		c.Phase = s.Phase.String()
	}
	if s.Via != 0 {
		c.Via = s.Via.String()
	}
	if s.Said.Version != 0 {
		c.Version, c.Cipher = suites.VersionName(s.Said.Version), suites.Name(s.Said.Cipher)
	}
	return c
}

// seconds gives nanoseconds as seconds, to the millisecond, never below 0: a
// packet may have come since the clock was read.
func seconds(ns int64) float64 { return float64(max(0, ns)/int64(time.Millisecond)) / 1000 }

// Health says whether all is well, and if not, why.
type Health struct {
	Healthy  bool      `json:"healthy"`
	Problems []Problem `json:"problems"`
	Uptime   int64     `json:"uptime"` // seconds
	Policy   Policy    `json:"policy"`
	Workers  []Answer  `json:"workers"`
	Packets  Losses    `json:"packets_lost"`
	Events   Losses    `json:"events_lost"`
}

// Problem is something that is not well: a stable code and a sentence.
type Problem struct {
	Code string `json:"code"`
	Text string `json:"text"`
}

// Answer says whether a worker answers, and how soon it did.
type Answer struct {
	Queue        uint16  `json:"queue"`
	Answers      bool    `json:"answers"`
	Milliseconds float64 `json:"milliseconds"`
}

// Losses counts what was lost since the start and lately.
type Losses struct {
	Total  uint64 `json:"total"`
	Lately uint64 `json:"last_minute"`
}

// Which names a connection: by its number, or by both ends, in either order.
type Which struct {
	FlowID uint64         `json:"flow_id,omitempty"`
	A      netip.AddrPort `json:"a,omitzero"`
	B      netip.AddrPort `json:"b,omitzero"`
}

// Killed says what came of ending a connection.
type Killed struct {
	Connection Conn   `json:"connection"` // before
	Client     string `json:"client"`     // "reset", or "waiting": for its next packet
	Server     string `json:"server"`
	Text       string `json:"text"`
}

// Failure is the answer to what cannot be done.
type Failure struct {
	Text string `json:"error"`
	Help string `json:"hint,omitempty"`
	// Status is the HTTP status it came with.
	Status int `json:"-"`
}

func (f *Failure) Error() string { return f.Text }

// Hint says what an operator can do about it.
func (f *Failure) Hint() string { return f.Help }
