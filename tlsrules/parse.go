package tlsrules

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/gaissmai/bart"

	"tlsgate/tlsrules/suites"
	"tlsgate/tlsrules/tlswire"
)

// ValueError says which value of a condition cannot be taken, why, and what
// may have been meant.
type ValueError struct {
	Value string
	Msg   string // what is wrong with it: "is not a cipher suite"
	Hint  string // may be empty
}

func (e *ValueError) Error() string { return strconv.Quote(e.Value) + " " + e.Msg }

// ParseCondition reads the values of a key, as POLICY.md spells them, with sets
// already expanded. The error is a *ValueError.
func ParseCondition(k Key, values []string) (Condition, error) {
	c := Condition{key: k, step: keys[k].step.bit()}
	if len(values) == 0 {
		return Condition{}, &ValueError{k.String(), "has no values, so it could never hold", "leave the key out, or name what it should allow"}
	}
	for _, v := range values {
		if e := c.parse(v); e != nil {
			e.Value = v
			return Condition{}, e
		}
	}
	c.shown = nil
	return c, nil
}

// parse takes one value. The caller fills in the error's Value.
func (c *Condition) parse(s string) *ValueError {
	switch c.key {
	case KeySource, KeyDestination:
		return c.parsePrefix(s)
	case KeyPort, KeySourcePort:
		return c.parsePort(s)
	case KeyInInterface, KeyOutInterface:
		return c.parseInterface(s)
	case KeyTime:
		return c.parseHours(s)
	case KeyProtocol:
		return c.parseBit(s, "a protocol", protocolNames[:])
	case KeyVia:
		return c.parseVia(s)
	case KeyContains:
		return c.parsePattern(s)
	case KeyResumes:
		return c.parseBit(s, "a way to resume", resumesNames)
	case KeyResumed:
		return c.parseBit(s, "no, known or unknown", resumedNames)
	case KeyECH, KeyEarlyData, KeyFallback, KeyCertExpired, KeyCertSelfSigned, KeyRenegotiates:
		return c.parseBool(s)
	case KeyJA3, KeyJA3S:
		return c.parseHash(s, 16, "a JA3 fingerprint")
	case KeyJA4:
		return c.parseJA4(s)
	case KeyCertSubject, KeyCertIssuer:
		return c.parseParts(s)
	case KeyCertName:
		return c.parseCertName(s)
	case KeyCertSHA256, KeyCertSPKISHA256:
		return c.parseHash(s, 32, "a SHA-256 hash")
	case KeyCertKey:
		return c.parseKey(s)
	case KeyDHBits:
		return c.parseSize(s)
	case KeyContentType:
		return c.parseBit(s, "a content type", contentNames[:])
	case KeyServerName:
		return c.parseServerName(s)
	case KeyALPN, KeyALPNSelected:
		return c.parseALPN(s)
	case KeyVersion, KeyOffersVersion, KeyOffersOnlyVersion:
		return c.parseVersion(s)
	case KeyCipher, KeyOffersCipher, KeyOffersOnlyCipher:
		return c.parseSuite(s)
	case KeyGroup, KeyOffersGroup, KeyOffersOnlyGroup:
		return c.parseNumber(s, "a group", suites.GroupByName, suites.GroupName, suites.SuggestGroup)
	case KeyOffersExtension:
		return c.parseNumber(s, "an extension", suites.ExtensionByName, suites.ExtensionName, suites.SuggestExtension)
	case KeyOffersSignature:
		return c.parseNumber(s, "a signature scheme", suites.SignatureByName, suites.SignatureName, suites.SuggestSignature)
	case KeyClientRandom:
		return c.parseHash(s, 32, "a client random")
	case KeyAlert:
		return c.parseAlert(s)
	}
	return &ValueError{Msg: "is a value for no key"}
}

// show adds a value's canonical text, once.
func (c *Condition) show(text string) {
	if _, ok := c.shown[text]; !ok {
		put(&c.shown, text)
		c.text = append(c.text, text)
	}
}

func (c *Condition) parsePrefix(s string) *ValueError {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		a, err := netip.ParseAddr(s)
		switch {
		case err != nil:
			return &ValueError{Msg: "is not an address or prefix", Hint: "write 192.0.2.7, 192.0.2.0/24, 2001:db8::/32, or @name for a set of those"}
		case a.Zone() != "":
			return &ValueError{Msg: "has a zone, which packets do not carry", Hint: "leave out %" + a.Zone() + " and match in_interface"}
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if a := p.Addr(); a.Is4In6() {
		return &ValueError{Msg: "is an IPv4 address in IPv6 form", Hint: "write " + a.Unmap().String()}
	}
	if m := p.Masked(); m != p {
		return &ValueError{Msg: "has bits set behind the prefix length", Hint: fmt.Sprintf("did you mean %s, or %s?", m, p.Addr())}
	}
	if c.table == nil {
		c.table = new(bart.Lite)
	}
	c.table.Insert(p)
	c.prefixes = append(c.prefixes, p)
	if p.IsSingleIP() {
		c.show(p.Addr().String())
	} else {
		c.show(p.String())
	}
	return nil
}

// portRange is first to last, both included.
type portRange struct{ first, last uint16 }

func inRanges(ranges []portRange, port uint16) bool {
	for _, r := range ranges {
		if r.first <= port && port <= r.last {
			return true
		}
	}
	return false
}

func (c *Condition) parsePort(s string) *ValueError {
	low, high, isRange := strings.Cut(s, "-")
	if !isRange {
		high = low
	}
	first, err1 := strconv.ParseUint(strings.TrimSpace(low), 10, 16)
	last, err2 := strconv.ParseUint(strings.TrimSpace(high), 10, 16)
	if err1 != nil || err2 != nil {
		return &ValueError{Msg: "is not a port", Hint: `write a number from 0 to 65535, or a range as in "9000-9099"`}
	}
	if first > last {
		return &ValueError{Msg: "is a range that ends before it begins", Hint: fmt.Sprintf(`did you mean "%d-%d"?`, last, first)}
	}
	c.ports = append(c.ports, portRange{uint16(first), uint16(last)})
	if first == last {
		c.show(strconv.Itoa(int(first)))
	} else {
		c.show(fmt.Sprintf("%d-%d", first, last))
	}
	return nil
}

// interfaceNameSize is linux/if.h's IFNAMSIZ, without the final zero.
const interfaceNameSize = 15

func (c *Condition) parseInterface(s string) *ValueError {
	stem, star := strings.CutSuffix(s, "*")
	switch {
	case s == "":
		return &ValueError{Msg: "is not an interface name"}
	case strings.ContainsAny(stem, "*"):
		return &ValueError{Msg: "has a star that is not at the end", Hint: `write "eth*"`}
	case len(stem) > interfaceNameSize, strings.ContainsAny(stem, "/: \t\n"):
		return &ValueError{Msg: "is not an interface name", Hint: "the kernel's names have at most 15 letters, no space, no colon and no slash"}
	case star:
		c.names.begin = append(c.names.begin, stem)
	default:
		put(&c.names.exact, s)
	}
	c.show(s)
	return nil
}

func put[K comparable](m *map[K]struct{}, k K) {
	if *m == nil {
		*m = map[K]struct{}{}
	}
	(*m)[k] = struct{}{}
}

// Names of protocols and content types, by their numbers in tlswire.
var (
	protocolNames = namesOf(tlswire.ProtocolTLS, tlswire.ProtocolSSLv2, tlswire.ProtocolHTTP, tlswire.ProtocolSSH, tlswire.ProtocolUnknown)
	contentNames  = namesOf(tlswire.Handshake, tlswire.AlertContent, tlswire.ChangeCipherSpec, tlswire.ApplicationData, tlswire.Heartbeat, tlswire.EarlyData)
)

// maxNamed bounds the numbers that have names: they are places in 64 bits.
const maxNamed = 64

func namesOf[T interface {
	~uint8
	String() string
}](values ...T) (names [maxNamed]string) {
	for _, v := range values {
		names[v] = v.String()
	}
	return names
}

func (c *Condition) parseBit(s, kind string, names []string) *ValueError {
	for bit, name := range names {
		if name != "" && strings.EqualFold(name, s) {
			c.bits |= 1 << bit
			c.show(name)
			return nil
		}
	}
	known := slices.DeleteFunc(slices.Clone(names), func(s string) bool { return s == "" })
	return &ValueError{Msg: "is not " + kind, Hint: suggestion(suites.Closest(s, known), known)}
}

// suggestion says what was meant, or else what there is.
func suggestion(closest string, known []string) string {
	switch {
	case closest != "":
		return "did you mean " + strconv.Quote(closest) + "?"
	case len(known) > 0:
		return "known are " + strings.Join(known, ", ")
	}
	return ""
}

func (c *Condition) parseNumber(s, kind string, byName func(string) (uint16, bool), name func(uint16) string, suggest func(string) string) *ValueError {
	n, ok := byName(s)
	if !ok {
		return &ValueError{Msg: "is not " + kind, Hint: suggestion(suggest(s), nil)}
	}
	c.addNumber(n)
	c.show(name(n))
	return nil
}

func (c *Condition) addNumber(n uint16) {
	if c.numbers == nil {
		c.numbers = new(numberSet)
	}
	c.numbers.add(n)
}

// parseSuite takes a suite's name or number, or an expression of suites. A word
// that OpenSSL would read over is an error here: in a policy it lets pass or
// refuses what nobody meant.
func (c *Condition) parseSuite(s string) *ValueError {
	e, err := suites.Expand(s)
	if err != nil {
		var bad *suites.ExpressionError
		errors.As(err, &bad)
		return &ValueError{Msg: bad.Msg, Hint: bad.Hint}
	}
	if len(e.Ignored) > 0 {
		word := e.Ignored[0]
		return &ValueError{Msg: fmt.Sprintf("has %q, which OpenSSL does not know and reads over", word.Word), Hint: word.Hint}
	}
	for _, code := range e.Codes {
		c.addNumber(code)
		c.show(suites.OpenSSLName(code))
	}
	for _, note := range e.Notes {
		if !slices.Contains(c.notes, note) {
			c.notes = append(c.notes, note)
		}
	}
	return nil
}

func (c *Condition) parseAlert(s string) *ValueError {
	if c.numbers == nil {
		c.numbers = new(numberSet)
	}
	for _, level := range []tlswire.AlertLevel{tlswire.AlertLevelWarning, tlswire.AlertLevelFatal} {
		if strings.EqualFold(s, level.String()) {
			c.bits |= 1 << level
			c.show(level.String())
			return nil
		}
	}
	n, ok := suites.AlertByName(s)
	if !ok {
		return &ValueError{Msg: "is not an alert", Hint: suggestion(suites.SuggestAlert(s), []string{"fatal", "warning", "and the names of RFC 8446, Section 6"})}
	}
	c.numbers.add(uint16(n))
	c.show(suites.AlertName(n))
	return nil
}
