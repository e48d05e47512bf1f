package tlswire

import (
	"crypto/sha256"
	"strings"

	"golang.org/x/crypto/cryptobyte"
)

// Resumes says by which ways a client asks to resume a session. The zero
// Resumes asks for none.
type Resumes uint8

const (
	ResumesSessionID Resumes = 1 << iota
	ResumesTicket            // RFC 5077
	ResumesPSK               // RFC 8446, Section 4.2.11; keys agreed on by hand look the same
)

var resumesNames = [...]string{"session_id", "ticket", "psk"}

// String returns the names policies use, with a comma between them.
func (r Resumes) String() string {
	if r == 0 {
		return "none"
	}
	var all []string
	for i, name := range resumesNames {
		if r&(1<<i) != 0 {
			all = append(all, name)
		}
	}
	return strings.Join(all, ",")
}

// Resumes returns the ways by which the hello asks to resume a session.
//
// A session id next to a ticket is made up by the client, to see whether the
// ticket is taken (RFC 5077, Section 3.4). One of 32 bytes in a hello that
// offers TLS 1.3 may be made up too (RFC 8446, Appendix D.4): it is not called
// a session, though it may be one that began under TLS 1.2. Only who remembers
// sessions can tell.
func (h *ClientHello) Resumes() Resumes {
	var r Resumes
	if h.PSK {
		r |= ResumesPSK
	}
	switch {
	case h.SessionTicketLength > 0:
		r |= ResumesTicket
	case len(h.SessionID) == 0, len(h.SessionID) == 32 && h.offersTLS13():
	default:
		r |= ResumesSessionID
	}
	return r
}

func (h *ClientHello) offersTLS13() bool {
	for _, v := range h.SupportedVersions {
		if v >= VersionTLS13 && !isGREASE(v) {
			return true
		}
	}
	return false
}

// A SessionKey stands for a ticket or the identity of a pre-shared key, which
// are too long to keep: their SHA-256, cut.
type SessionKey [16]byte

// SessionKeyOf returns the key of a ticket.
func SessionKeyOf(ticket []byte) (k SessionKey) {
	sum := sha256.Sum256(ticket)
	copy(k[:], sum[:])
	return k
}

// An Identity is one of a pre-shared key a client offers: a ticket of TLS 1.3,
// or a name agreed on.
type Identity struct {
	Key    SessionKey
	Length uint16
}

// maxIdentities bounds how many identities are kept. Clients send one, few two.
const maxIdentities = 4

// tickets are what a hello that asks to resume brings for it.
type tickets struct {
	ticket     SessionKey
	identities [maxIdentities]Identity
	count      uint16 // of identities, whether kept or not
	binders    uint16
}

// Ticket returns the key of the session ticket, if there is one.
func (h *ClientHello) Ticket() (SessionKey, bool) {
	if h.SessionTicketLength == 0 || h.seldom == nil {
		return SessionKey{}, false
	}
	return h.seldom.tickets.ticket, true
}

// Identities returns the first four identities of pre_shared_key.
func (h *ClientHello) Identities() []Identity {
	if !h.PSK || h.seldom == nil {
		return nil
	}
	return h.seldom.tickets.identities[:min(h.seldom.tickets.count, maxIdentities)]
}

// IdentityCount returns how many identities pre_shared_key has, and how many
// binders; RFC 8446, Section 4.2.11 wants as many of one as of the other.
func (h *ClientHello) IdentityCount() (identities, binders int) {
	if !h.PSK || h.seldom == nil {
		return 0, 0
	}
	return int(h.seldom.tickets.count), int(h.seldom.tickets.binders)
}

// sessionTicket reads RFC 5077, Section 3.2, where the ticket is not
// length-prefixed.
func (h *ClientHello) sessionTicket(s cryptobyte.String) {
	h.HasSessionTicket, h.SessionTicketLength = true, uint16(len(s))
	if len(s) > 0 {
		h.more().tickets.ticket = SessionKeyOf(s)
	}
}

// preSharedKey reads RFC 8446, Section 4.2.11.
func (h *ClientHello) preSharedKey(s cryptobyte.String) bool {
	h.PSK = true
	var identities, binders, v cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&identities) || identities.Empty() {
		return false
	}
	t := &h.more().tickets
	t.count, t.binders = 0, 0
	for !identities.Empty() {
		var age uint32
		if !identities.ReadUint16LengthPrefixed(&v) || v.Empty() || !identities.ReadUint32(&age) {
			return false
		}
		if t.count < maxIdentities {
			t.identities[t.count] = Identity{SessionKeyOf(v), uint16(len(v))}
		}
		t.count++
	}
	if !s.ReadUint16LengthPrefixed(&binders) || binders.Empty() || !s.Empty() {
		return false
	}
	for !binders.Empty() {
		if !binders.ReadUint8LengthPrefixed(&v) || v.Empty() {
			return false
		}
		t.binders++
	}
	return true
}
