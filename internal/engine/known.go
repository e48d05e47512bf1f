package engine

import (
	"cmp"
	"net/netip"
	"slices"

	"tlsgate/tlsrules/certs"
	"tlsgate/tlsrules/tlswire"
)

// KnownSession is what is remembered of a session as plain values, which outlive
// a run of the daemon.
type KnownSession struct {
	Server  netip.AddrPort
	By      SessionKind
	Key     tlswire.SessionKey
	Origin  [16]byte
	Suite   uint16
	Version uint16
	DHBits  uint16
	Chain   []*certs.Certificate // nil if there was none to see
	Began   Began
	Used    int64 // for the last time, nanoseconds since the Unix epoch
}

// Export returns the sessions that are remembered, the one used last in front.
// Others may use the memory meanwhile. Of a connection's ID nothing is told: the
// next run counts anew.
func (s *Sessions) Export(now int64) []KnownSession {
	if s == nil {
		return nil
	}
	list := make([]KnownSession, 0, s.Len())
	for i := range s.sets {
		for j := range s.sets[i] {
			x := s.sets[i][j].Load()
			if x == nil || x.used.Load()+sessionLife < now {
				continue
			}
			k := &x.key
			list = append(list, KnownSession{
				Server: netip.AddrPortFrom(netip.AddrFrom16(k.server).Unmap(), k.port), By: k.kind, Key: k.id,
				Origin: x.origin, Suite: x.suite, Version: x.version, DHBits: x.dhBits, Chain: x.chain,
				Began: Began{Time: x.began.Time, Rule: x.began.Rule}, Used: x.used.Load(),
			})
		}
	}
	slices.SortFunc(list, func(a, b KnownSession) int { return cmp.Compare(b.Used, a.Used) })
	return list
}

// Import remembers sessions of an earlier run, in any order, and returns how many
// it took: none that was not used for long, or is no session at all. A time to come
// is now: the clock was set back. It is for a memory that nobody uses yet.
func (s *Sessions) Import(list []KnownSession, now int64) int {
	if s == nil {
		return 0
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b KnownSession) int { return cmp.Compare(a.Used, b.Used) })
	taken := 0
	for i := range list {
		k := &list[i]
		if !k.Server.IsValid() || !k.By.valid() || k.Used+sessionLife < now || slices.Contains(k.Chain, nil) {
			continue
		}
		x := &session{
			key: serverOf(k.Server, k.By, k.Key), origin: k.Origin, suite: k.Suite, version: k.Version, dhBits: k.DHBits,
			began: Began{Time: min(k.Began.Time, now), Rule: k.Began.Rule},
		}
		if len(k.Chain) > 0 {
			x.chain = k.Chain
		}
		s.keep(x, min(k.Used, now))
		taken++
	}
	return taken
}
