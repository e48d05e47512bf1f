// Package state keeps what a daemon must not forget between two runs: the sessions
// it has seen begin, the pins that are held, and the gates that were opened or closed
// by hand. What is decided of a connection is not among it: that stands in the
// kernel's connection mark.
//
// There are two files, for sessions are many and change all the time. A file is JSON,
// one object a line (format.go). It is replaced whole or not at all, and read as any
// input: one that is cut, changed or of a later version is set aside, and said to be,
// and nothing of it is believed.
//
// The package does not know what a pin or a session is good for, nor how an
// engine comes to it.
package state

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"tlsgate/internal/engine"
)

// State is what the files hold. Times are nanoseconds since the Unix epoch.
type State struct {
	Written  int64
	Pins     []Pin
	Gates    []Gate
	Sessions []engine.KnownSession // the one used last in front: the others find no room first
}

// Pin says who holds a pin of a rule. A group with room for several holders has
// several of these.
type Pin struct {
	Rule   string   `json:"rule"`
	Group  [][]byte `json:"group,omitempty"` // the values of the rule's per, in its order
	Holder Holder   `json:"holder"`
	Since  int64    `json:"since"`
	Used   int64    `json:"used"`
	ByHand bool     `json:"by_hand,omitempty"`
	// Random is that of the ClientHello with which it was taken, 32 bytes or none.
	Random Hex `json:"random,omitempty"`
	// Members are the ends of the connections of a session that live, some of them
	// where there are many.
	Members [][2]netip.AddrPort `json:"members,omitempty"`
	// Client stands for the client, server and name of a session of TLS 1.3, 16 bytes.
	TLS13     bool `json:"tls13,omitempty"`
	Client    Hex  `json:"client,omitempty"`
	Resumable bool `json:"resumable,omitempty"`
}

// Holder is who holds a pin, by a name that means the same in any run.
type Holder struct {
	Kind HolderKind `json:"kind"`
	ID   Hex        `json:"id,omitempty"`
	// Ends are those of a connection, the one that called first.
	Ends [2]netip.AddrPort `json:"ends,omitzero"`
}

// HolderKind says what a Holder is named by.
type HolderKind string

const (
	Connection   HolderKind = "connection"    // Ends
	Session      HolderKind = "session"       // ID: its origin, 16 bytes
	ClientRandom HolderKind = "client_random" // ID: 32 bytes
	SessionID    HolderKind = "session_id"    // ID: stands for it, 1 to 32 bytes
)

// Gate is a gate that somebody has opened or closed by hand.
type Gate struct {
	Rule    string `json:"rule"`
	Planned int64  `json:"planned,omitempty"` // when its rule says that it opens; 0: never
	Opens   int64  `json:"opens,omitempty"`   // when it opens or has opened; 0: never
}

// Bounds of what one entry may say.
const (
	maxName   = 256 // bytes of a rule's name
	maxValues = 32  // of a group
	maxValue  = 1 << 10
	maxEnds   = 256 // of a session's connections
)

func checkName(what, s string) error {
	if len(s) > maxName || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("%s: no rule has this name", what)
	}
	return nil
}

func (p *Pin) check() error {
	if len(p.Group) > maxValues {
		return fmt.Errorf("pin: %d values, the most is %d", len(p.Group), maxValues)
	}
	for _, v := range p.Group {
		if len(v) > maxValue {
			return fmt.Errorf("pin: a value of %d bytes, the most is %d", len(v), maxValue)
		}
	}
	if len(p.Members) > maxEnds || len(p.Random) != 0 && len(p.Random) != 32 || len(p.Client) != 0 && len(p.Client) != 16 {
		return errors.New("pin: more connections than a session tells of, or a name of another length")
	}
	if p.Rule == "" || p.Since < 0 || p.Used < p.Since {
		return errors.New("pin: without a rule, or its times are none")
	}
	return errors.Join(checkName("pin", p.Rule), p.Holder.check())
}

func (h *Holder) check() error {
	least, most := 0, 0
	switch h.Kind {
	case Connection:
		if !h.Ends[0].IsValid() || !h.Ends[1].IsValid() {
			return errors.New("pin: a connection without ends")
		}
	case Session:
		least, most = 16, 16
	case ClientRandom:
		least, most = 32, 32
	case SessionID:
		least, most = 1, 32
	default:
		return fmt.Errorf("pin: held by %q, which is nothing", string(h.Kind))
	}
	if n := len(h.ID); n < least || n > most {
		return fmt.Errorf("pin: the name of a %s has %d bytes", h.Kind, n)
	}
	return nil
}

func (g *Gate) check() error {
	if g.Rule == "" || g.Planned < 0 || g.Opens < 0 {
		return errors.New("gate: without a rule, or its times are none")
	}
	return checkName("gate", g.Rule)
}
