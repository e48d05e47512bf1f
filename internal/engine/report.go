package engine

import (
	"net/netip"
	"time"

	"tlsgate/conntrack"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/tlswire"
	"tlsgate/tlsrules/via"
)

// Sink takes what the engine has to tell. Its methods run on the packet path
// and must not wait; a Report and what it points to are valid during the call.
type Sink interface {
	// TLS is called once per TLS connection, as soon as the handshake has told
	// all it will, or the connection ended or was refused first.
	TLS(r *Report)
	// Drop is called when a connection is refused, or would be.
	Drop(r *Report)
	// Flow is called when a connection ends.
	Flow(r *Report)
}

// Report is what the engine knows of one connection at one moment.
type Report struct {
	Time, Start, Last int64 // nanoseconds since the Unix epoch
	ID                uint64
	// Original sent the SYN, Reply answered it.
	Original, Reply netip.AddrPort
	InInterface     string
	Midstream       bool
	State           conntrack.State
	Packets, Bytes  [2]uint64 // by direction
	// Of a capture: packets cut short, and bytes of payload that it lacks at
	// least, those of cut packets included. Partial: what the handshake would have
	// said is not all known for that.
	Cut, Missing uint64
	Partial      bool
	End          conntrack.End

	Decision  tlsrules.Decision
	Detail    string // why it was refused, a sentence
	Packet    uint64 // at which it was refused; the first is 1
	AlertSent uint8  // the description of the alert it was refused with; 0: none
	Offloaded bool
	Held      bool          // its data waits, or would: Decision is of the rule that has it wait
	Waited    time.Duration // for so long its data has waited for a gate
	Graced    bool          // it passes only because the time of grace is not over
	Session   *Began        // where the session resumed began, nil if that is not known

	// Pin is what part the connection has in a pin, nil for none.
	Pin *PinPart

	// Via is how TLS began, the last of what came before it; zero where it did
	// not, or its beginning was not seen. Tunnel and Proxied are what a CONNECT or
	// SOCKS request and a PROXY header have told so far, and not told any more once
	// the connection is no longer read.
	Via     via.Kind
	Tunnel  via.Target
	Proxied via.Proxied

	// TLS and Facts are nil once the connection is no longer read. Certificates
	// may be nil, or empty, also before.
	TLS          *tlswire.Conn
	Facts        *tlsrules.Facts
	Certificates *Certificates

	// Said is what is still known then of the hellos; zero while TLS is not nil.
	Said Said

	SawTLS    bool
	Records   [2]tlswire.RecordCounts // by tlswire.Side
	Phase     tlswire.Phase
	Later     Later
	Alerts    []AlertSeen
	Diagnosis Diagnosis
}

// Later is what can happen at any time after the hellos.
type Later struct {
	Heartbeats          tlswire.Heartbeats
	Renegotiations      [2]uint8 // by the tlswire.Side that began
	SecureRenegotiation bool
}

func laterOf(c *tlswire.Conn) Later {
	return Later{c.Heartbeats, c.Renegotiations, c.SecureRenegotiation()}
}

// AlertSeen is an alert and the side that sent it.
type AlertSeen struct {
	From  tlswire.Side
	Alert tlswire.AlertMessage
}
