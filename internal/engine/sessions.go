package engine

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"tlsgate/tlsrules/certs"
	"tlsgate/tlsrules/tlswire"
)

// Sessions remembers the sessions that were watched from their beginning, by
// the server that has them: three servers behind one name are told apart. It is
// shared by the engines of one daemon, for a session may be resumed from an
// address that another worker serves, and it takes no locks: what two workers
// write to one place at once, one of them wins. It is made by NewSessions; nil
// remembers nothing.
//
// A session's memory is bounded, and the one that was used longest ago among
// those that share its places is forgotten first.
type Sessions struct {
	sets  []sessionSet
	seed  [16]byte
	count atomic.Int64
	early atomic.Uint64 // forgotten for another
}

// sessionWays is how many sessions share the same places.
const sessionWays = 8

type sessionSet [sessionWays]atomic.Pointer[session]

// sessionLife is how long a session is remembered without being used. RFC 8446,
// Section 4.6.1 allows tickets seven days, and earlier versions advise less.
const sessionLife = int64(7 * 24 * time.Hour)

// SessionKind is how a session is known again.
type SessionKind uint8

const (
	bySessionID SessionKind = iota + 1
	byTicket
	// byClient is for TLS 1.3, where tickets travel encrypted: a session of the
	// same client, server and name is taken for the one resumed.
	byClient
	sessionKinds
)

var sessionKindNames = [sessionKinds]string{bySessionID: "session_id", byTicket: "ticket", byClient: "client"}

func (k SessionKind) valid() bool { return k > 0 && k < sessionKinds }

// String names the kind, "" for what is none.
func (k SessionKind) String() string {
	if !k.valid() {
		return ""
	}
	return sessionKindNames[k]
}

// ParseSessionKind is the reverse of String.
func ParseSessionKind(name string) (SessionKind, bool) {
	for k, n := range sessionKindNames {
		if n == name && n != "" {
			return SessionKind(k), true
		}
	}
	return 0, false
}

// sessionKey names a session. It has no pointers: it is hashed and compared as
// it stands.
type sessionKey struct {
	server [16]byte
	port   uint16
	kind   SessionKind
	id     tlswire.SessionKey
}

// session is what is known of one. All but the time it was last used is written
// once.
type session struct {
	key     sessionKey
	used    atomic.Int64 // nanoseconds since the Unix epoch
	origin  origin
	began   Began
	suite   uint16
	version uint16
	dhBits  uint16
	chain   []*certs.Certificate
}

// origin names what all sessions have in common that descend from one full
// handshake, in this run of the daemon and in any other. Both randoms are in it:
// two clients can agree on one, but no server repeats its own.
type origin [16]byte

func originOf(client, server *[32]byte) origin {
	var b [64]byte
	copy(b[:], client[:])
	copy(b[32:], server[:])
	return origin(tlswire.SessionKeyOf(b[:]))
}

// Began says where a session began.
type Began struct {
	Connection uint64 // its ID, 0 if an earlier run of the daemon saw it
	Time       int64  // nanoseconds since the Unix epoch
	Rule       string // that accepted it, "" for none
}

// NewSessions makes a memory for at least n sessions; 0 is 65536. The seed decides
// which of them share places. Where strangers choose the sessions it has to be
// random.
func NewSessions(n int, seed [16]byte) *Sessions {
	if n <= 0 {
		n = 65536
	}
	sets := 1
	for sets*sessionWays < n {
		sets *= 2
	}
	return &Sessions{sets: make([]sessionSet, sets), seed: seed}
}

// Len returns how many sessions are remembered.
func (s *Sessions) Len() int {
	if s == nil {
		return 0
	}
	return int(s.count.Load())
}

func (s *Sessions) set(k sessionKey) *sessionSet {
	var b [16 + 16 + 2 + 1 + 16]byte
	copy(b[:], s.seed[:])
	copy(b[16:], k.server[:])
	binary.BigEndian.PutUint16(b[32:], k.port)
	b[34] = byte(k.kind)
	copy(b[35:], k.id[:])
	sum := sha256.Sum256(b[:])
	return &s.sets[binary.BigEndian.Uint64(sum[:])&uint64(len(s.sets)-1)]
}

// find returns a session that is remembered, nil if there is none, and notes
// that it is used.
func (s *Sessions) find(k sessionKey, now int64) *session {
	if s == nil {
		return nil
	}
	set := s.set(k)
	for i := range set {
		if x := set[i].Load(); x != nil && x.key == k {
			if x.used.Load()+sessionLife < now {
				return nil
			}
			x.used.Store(max(now, x.used.Load()))
			return x
		}
	}
	return nil
}

// keep remembers a session, in the place of the same one, or of the one among
// its neighbours that was used longest ago.
func (s *Sessions) keep(x *session, now int64) {
	if s == nil {
		return
	}
	x.used.Store(now)
	set := s.set(x.key)
	place, oldest := 0, int64(0)
	for i := range set {
		y := set[i].Load()
		if y == nil || y.key == x.key {
			place = i
			break
		}
		if used := y.used.Load(); i == 0 || used < oldest {
			place, oldest = i, used
		}
	}
	switch y := set[place].Swap(x); {
	case y == nil:
		s.count.Add(1)
	case y.key != x.key && y.used.Load()+sessionLife >= now:
		s.early.Add(1)
	}
}

// Shed forgets sessions until the certificates of all that are left take no more than
// that many bytes, the ones used longest ago first, and returns how many they were.
func (s *Sessions) Shed(most int) (shed int) {
	if s == nil {
		return 0
	}
	type place struct {
		at   *atomic.Pointer[session]
		x    *session
		used int64
	}
	var all []place
	for i := range s.sets {
		for j := range s.sets[i] {
			if x := s.sets[i][j].Load(); x != nil && len(x.chain) > 0 {
				all = append(all, place{&s.sets[i][j], x, x.used.Load()})
			}
		}
	}
	slices.SortFunc(all, func(a, b place) int { return cmp.Compare(b.used, a.used) })
	seen, held := map[*certs.Certificate]bool{}, 0
	for _, p := range all {
		size := 0
		for _, c := range p.x.chain {
			if !seen[c] {
				size += c.Memory()
			}
		}
		if held+size > most && size > 0 {
			if p.at.CompareAndSwap(p.x, nil) {
				s.count.Add(-1)
				s.early.Add(1)
				shed++
			}
			continue
		}
		held += size
		for _, c := range p.x.chain {
			seen[c] = true
		}
	}
	return shed
}

// forgotten is how many made room for others before their time.
func (s *Sessions) forgotten() uint64 {
	if s == nil {
		return 0
	}
	return s.early.Load()
}

// serverOf begins the key of a session of a server.
func serverOf(a netip.AddrPort, kind SessionKind, id tlswire.SessionKey) sessionKey {
	return sessionKey{server: a.Addr().As16(), port: a.Port(), kind: kind, id: id}
}

// clientKey stands for a client and the name it asks for.
func clientKey(client netip.Addr, name []byte) tlswire.SessionKey {
	var buf [16 + 2 + 256]byte
	a := client.As16()
	b := append(buf[:0], a[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(name)))
	return tlswire.SessionKeyOf(append(b, name...))
}
