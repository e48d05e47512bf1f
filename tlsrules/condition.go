package tlsrules

import (
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"

	"tlsgate/tlsrules/suites"
	"tlsgate/tlsrules/tlswire"
)

// Condition is one key of a match, unless or require, and the values it may
// have: any of these. It is made by ParseCondition, the zero Condition holds
// for nothing. Conditions are read only and may be shared.
type Condition struct {
	key  Key
	none bool  // "none" is among the values
	step steps // the one that makes the fact known

	bits     uint64 // of versions, protocols, content types, alert levels, patterns, ...
	numbers  *numberSet
	table    *bart.Lite // of prefixes
	prefixes []netip.Prefix
	ports    []portRange
	names    nameSet
	words    []string            // protocols of ALPN, patterns, parts of distinguished names
	octets   map[string]struct{} // of randoms and hashes
	sizes    []sizeRange         // in bits
	hours    []hours
	keys     []keyKind
	ja4      []ja4Pattern

	text  []string            // the values, canonical, each once
	notes []string            // what a reader should know about them
	shown map[string]struct{} // text, while values are parsed
}

// Key returns what the condition is about.
func (c *Condition) Key() Key { return c.key }

// Values returns the values, each once and in one spelling: suites as OpenSSL
// calls them, versions without ">=". The caller must not change them.
func (c *Condition) Values() []string { return c.text }

// truth is what a condition says. The zero truth is waiting.
type truth uint8

const (
	waiting truth = iota // for the fact
	yes
	no
	never // will the fact be known
	moot  // the fact is one of TLS, the connection is not
)

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}

// eval asks the condition.
func (c *Condition) eval(v *view) truth {
	switch {
	case c.key == KeyContains:
		return c.found(v)
	case v.known&c.step != 0:
		if v.lost(c.key) {
			return waiting
		}
		return c.holds(v)
	case v.moot&c.step != 0:
		return moot
	case v.never&c.step != 0:
		return never
	}
	return waiting
}

// holds asks the condition once its fact is known.
func (c *Condition) holds(v *view) truth {
	switch c.key {
	case KeySource:
		return truthOf(c.contains(v.Source.Unmap()))
	case KeyDestination:
		return truthOf(c.contains(v.Destination.Unmap()))
	case KeyPort:
		return truthOf(inRanges(c.ports, v.Port))
	case KeySourcePort:
		return truthOf(inRanges(c.ports, v.SourcePort))
	case KeyInInterface:
		return c.names.interfaceIn(v.InInterface)
	case KeyOutInterface:
		return c.names.interfaceIn(v.OutInterface)
	case KeyTime:
		return truthOf(inHours(c.hours, int64(v.Began)))
	case KeyProtocol:
		return truthOf(c.bits>>v.Protocol&1 != 0)
	case KeyVia:
		return truthOf(c.bits&uint64(v.Via) != 0)
	case KeyResumes:
		return truthOf(c.bits&resumesBits(v.Resumes) != 0)
	case KeyResumed:
		return truthOf(c.bits>>v.Resumed&1 != 0)
	case KeyVersion:
		return truthOf(c.bits&versionBit(v.Server.Version) != 0)
	case KeyCipher:
		return truthOf(c.numbers.has(v.Server.CipherSuite))
	case KeyGroup:
		return truthOf(c.numbers.has(v.Group))
	case KeyALPNSelected:
		if len(v.Server.ALPN) == 0 {
			return truthOf(c.none)
		}
		return truthOf(c.hasWord(v.Server.ALPN))
	case KeyJA3S:
		return truthOf(c.hasHash(v.Server.JA3S()))
	case KeyDHBits:
		return truthOf(inSizes(c.sizes, int(v.DHBits)))
	case KeyContentType:
		return truthOf(c.bits>>v.content&1 != 0)
	case KeyAlert:
		return c.alert(v)
	case KeyRenegotiates:
		return truthOf(c.bits&boolBit(v.Renegotiates) != 0)
	}
	if c.step == stepCertificate.bit() {
		return truthOf(c.certified(v.Facts))
	}
	return truthOf(c.offered(v.Client))
}

func (c *Condition) contains(a netip.Addr) bool {
	if len(c.prefixes) == 1 {
		return c.prefixes[0].Contains(a.WithZone(""))
	}
	return c.table.Contains(a)
}

// offered asks a condition on the ClientHello.
func (c *Condition) offered(h *tlswire.ClientHello) bool {
	switch c.key {
	case KeyServerName:
		if !h.HasServerName {
			return c.none
		}
		return c.names.has(h.ServerName)
	case KeyALPN:
		if len(h.ALPN) == 0 {
			return c.none
		}
		return slices.ContainsFunc(c.words, h.ALPN.Contains)
	case KeyOffersVersion:
		return c.bits&offeredVersions(h) != 0
	case KeyOffersOnlyVersion:
		return offeredVersions(h)&^c.bits == 0
	case KeyOffersCipher:
		return c.numbers.hasAny(h.CipherSuites)
	case KeyOffersOnlyCipher:
		return c.only(h.CipherSuites)
	case KeyOffersGroup:
		return c.numbers.hasAny(h.SupportedGroups)
	case KeyOffersOnlyGroup:
		return c.only(h.SupportedGroups)
	case KeyOffersExtension:
		return c.numbers.hasAny(h.Extensions)
	case KeyOffersSignature:
		return c.numbers.hasAny(h.SignatureAlgorithms)
	case KeyClientRandom:
		return c.hasOctets(h.Random[:])
	case KeyJA3:
		return c.hasHash(h.JA3())
	case KeyJA4:
		return c.hasJA4(h.JA4())
	case KeyECH:
		return c.bits&boolBit(h.ECH.Present) != 0
	case KeyEarlyData:
		return c.bits&boolBit(h.EarlyData) != 0
	case KeyFallback:
		return c.bits&boolBit(h.FallbackSCSV()) != 0
	}
	return false
}

func (c *Condition) hasOctets(b []byte) bool {
	_, ok := c.octets[string(b)]
	return ok
}

func (c *Condition) hasHash(md5 [16]byte) bool { return c.hasOctets(md5[:]) }

// boolBit is the place of true or false in a condition's bits.
func boolBit(b bool) uint64 {
	if b {
		return 2
	}
	return 1
}

// sizeRange is first to last bits, both included.
type sizeRange struct{ first, last int }

func inSizes(sizes []sizeRange, bits int) bool {
	for _, r := range sizes {
		if r.first <= bits && bits <= r.last {
			return true
		}
	}
	return false
}

// only reports whether nothing but the condition's numbers is among those
// offered. Who offers nothing offers nothing else.
func (c *Condition) only(offered []uint16) bool {
	for _, n := range offered {
		if !c.numbers.has(n) && !c.aside(n) {
			return false
		}
	}
	return true
}

// aside reports whether a number in a list offers nothing: GREASE, and among
// suites the signalling values.
func (c *Condition) aside(n uint16) bool {
	return suites.IsGREASE(n) || c.key == KeyOffersOnlyCipher && suites.IsSCSV(n)
}

func (c *Condition) hasWord(b []byte) bool {
	for _, w := range c.words {
		if w == string(b) {
			return true
		}
	}
	return false
}

// alert asks about the record at hand. What an encrypted alert says cannot be
// known, and of one whose header alone was read not yet.
func (c *Condition) alert(v *view) truth {
	switch {
	case v.alert && v.Alert.Encrypted:
		return never
	case v.alert:
		return truthOf(c.bits>>v.Alert.Level&1 != 0 || c.numbers.has(uint16(v.Alert.Description)))
	case v.content == tlswire.AlertContent:
		return waiting
	}
	return no
}

// versions are the protocol versions a policy can name, oldest first.
var versions = [...]uint16{
	suites.VersionSSL20, suites.VersionSSL30, suites.VersionTLS10,
	suites.VersionTLS11, suites.VersionTLS12, suites.VersionTLS13,
}

// versionBit gives a version's place in a set of versions. All that a policy
// cannot name share the last place.
func versionBit(v uint16) uint64 {
	for i, known := range versions {
		if v == known {
			return 1 << i
		}
	}
	return 1 << len(versions)
}

// offeredVersions are the versions a ClientHello offers. Without the extension
// supported_versions (RFC 8446, Section 4.2.1) it offers what RFC 5246,
// Appendix E.1 lets a server choose: any version up to the one it names, of
// which SSL 3.0 is counted only when it is that one.
func offeredVersions(h *tlswire.ClientHello) (offered uint64) {
	if h.SupportedVersions != nil {
		for _, v := range h.SupportedVersions {
			if !suites.IsGREASE(v) {
				offered |= versionBit(v)
			}
		}
		return offered
	}
	if h.SSLv2 {
		offered |= versionBit(suites.VersionSSL20)
	}
	highest := min(h.LegacyVersion, suites.VersionTLS12)
	if highest < suites.VersionTLS10 {
		return offered | versionBit(highest)
	}
	for v := suites.VersionTLS10; v <= highest; v++ {
		offered |= versionBit(v)
	}
	return offered
}
