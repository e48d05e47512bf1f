// Package adversary tries what a client can do alone to have a server answer a
// hello that it may not send. It is a table of tricks. Each is a few segments,
// written once and played twice: against an engine in memory, with a model of the
// receiver behind it in which stacks differ as they do in the world, and on a wire,
// against the daemon and a server that really parses TLS.
//
// The client has no kernel's TCP in its way: it may send any IP packet, and sees
// all that comes. It does not own the server, nor what lies between.
package adversary

import (
	"slices"
	"strings"
	"time"
)

// Group says what a trick plays with.
type Group string

// The groups, in the order of the table.
const (
	Segments  Group = "segments"
	Handshake Group = "handshake"
	Decoys    Group = "decoys"
	Teardown  Group = "teardown"
	Cookies   Group = "SYN cookies"
	Urgent    Group = "urgent data"
	MPTCP     Group = "MPTCP"
	Overlaps  Group = "overlap"
	Records   Group = "records"
	Hellos    Group = "hello"
	Servers   Group = "server side"
	Middle    Group = "middle of life"
	IP        Group = "IP"
	Published Group = "published elsewhere"
)

// Trick is one way to try it. Play sends Peer.Hello, which is forbidden, or
// permitted when it is played to see whether an honest client is harmed.
type Trick struct {
	Name  string
	Group Group
	// Why it fails, a sentence of docs/EVASION.md.
	Why  string
	Play func(p *Peer)

	// Honest: RFC 9293 and 8446 allow it, or the server discards what they do not.
	// A permitted hello in this shape is answered.
	Honest bool
	// Ambiguous: the server might take it in two ways. It is refused, and counted, as
	// ambiguous, and so would a permitted hello be.
	Ambiguous bool
	// Futile: no receiver of the model takes it, whoever stands in between. It is
	// played all the same: there are more receivers than models.
	Futile bool
	// Strict: it is for policies that require a name, where any answer is won.
	Strict bool
	// Unseen: the beginning is not seen, so that midstream = "inspect" refuses what
	// rules require.
	Unseen bool
	// Ours: the server is one of ours, and does with its segments what the trick says.
	Ours bool
	// Model and Wire, if set, say why it is played only there.
	Model, Wire string
}

// Stakes are those that a trick is played for.
func (t *Trick) Stakes() []Stake {
	if t.Honest {
		return []Stake{StakeName, StakeSuite, StakeNone}
	}
	return []Stake{StakeName, StakeSuite}
}

// Tricks returns the table, by group.
func Tricks() []Trick {
	list := slices.Concat(
		segments(), handshakes(), decoys(), teardowns(), cookies(), urgents(), subflows(), overlaps(),
		records(), hellos(), servers(), middles(), packets(), published(),
	)
	for i := range list {
		t := &list[i]
		t.Futile = slices.ContainsFunc(futile[t.Group], func(s string) bool { return strings.HasPrefix(t.Name, s) })
	}
	return list
}

// Wire carries the client's packets.
type Wire interface {
	// Send sends one IP packet, whoever it says it is from.
	Send(ip []byte)
	// Recv returns the next packet that came for the client, nil if none came
	// within a while.
	Recv(wait time.Duration) []byte
	// Pass lets time pass.
	Pass(d time.Duration)
}

// OwnDaemon is why a trick is not played on a wire with the others: it has the daemon end
// and another one start, for which a wire has a method Restart.
const OwnDaemon = "it takes a daemon of its own"

// behind is the smallest TTL with which a packet of the client's reaches the
// server: with a smaller one it passes the firewall, and ends behind it.
const behind = 32

// NextLink is the MTU of the link behind the firewall, as with PPPoE: what is larger
// passes the firewall, and is not forwarded from there. An ICMP that says so is for the
// client, which knows.
const NextLink = 1492

// Label says in a word what a permitted hello meets in this shape, and where the
// trick is not played.
func (t *Trick) Label() string {
	label := ""
	switch {
	case t.Honest:
		label = "passes"
	case t.Ambiguous:
		label = "ambiguous"
	}
	if t.Futile {
		label += " (no server we know takes it)"
	}
	if t.Ours {
		label += " (the server is one of ours)"
	}
	if t.Model != "" {
		label += " (model: " + t.Model + ")"
	}
	if t.Wire != "" {
		label += " (wire: " + t.Wire + ")"
	}
	return strings.TrimSpace(label)
}
