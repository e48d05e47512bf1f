package tlsrules

import (
	"fmt"
	"strings"

	"tlsgate/tlsrules/suites"
)

// none is the value that stands for a name or protocol that is not there.
const none = "none"

func (c *Condition) parseServerName(s string) *ValueError {
	name := strings.ToLower(strings.TrimSuffix(s, "."))
	if name == none {
		c.none = true
		c.show(none)
		return nil
	}
	host, star := strings.CutPrefix(name, "*.")
	if e := checkHost(host); e != nil {
		return e
	}
	if star {
		put(&c.names.below, host)
	} else {
		put(&c.names.exact, host)
	}
	c.show(name)
	return nil
}

// checkHost reports what is wrong with a host name in lower case.
func checkHost(host string) *ValueError {
	if strings.Contains(host, "*") {
		return &ValueError{Msg: "has a star that is not the first label", Hint: `"*.example.com" is every name below example.com; a star cannot be part of a label`}
	}
	if len(host) >= longestName {
		return &ValueError{Msg: fmt.Sprintf("is longer than %d letters", longestName-1)}
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 {
			return &ValueError{Msg: "is not a host name", Hint: "labels have 1 to 63 letters"}
		}
		for _, r := range label {
			switch {
			case 'a' <= r && r <= 'z', '0' <= r && r <= '9', r == '-', r == '_':
			case r >= 0x80:
				return &ValueError{Msg: "has letters outside ASCII", Hint: `write the name as it stands in the hello, as in "xn--bcher-kva.example"`}
			case r == ':' || r == '/':
				return &ValueError{Msg: "is not a host name", Hint: "leave out scheme, port and path"}
			default:
				return &ValueError{Msg: fmt.Sprintf("has %q, which no host name has", r)}
			}
		}
	}
	return nil
}

// commonALPN are registered protocols, for which case is often got wrong.
var commonALPN = []string{"http/1.1", "h2", "h2c", "http/1.0", "acme-tls/1", "ftp", "imap", "pop3", "xmpp-client", "xmpp-server", "dot", "mqtt", "postgresql", "stun.turn"}

// parseALPN takes a protocol as RFC 7301, Section 3.1 does: octets, in which
// case counts.
func (c *Condition) parseALPN(s string) *ValueError {
	if strings.EqualFold(s, none) {
		c.none = true
		c.show(none)
		return nil
	}
	if s == "" || len(s) > 255 {
		return &ValueError{Msg: "is not a protocol of ALPN", Hint: "RFC 7301 gives it 1 to 255 bytes"}
	}
	for _, known := range commonALPN {
		if s != known && strings.EqualFold(s, known) {
			return &ValueError{Msg: "is not a protocol of ALPN: case counts there", Hint: suggestion(known, nil)}
		}
	}
	before := len(c.text)
	if c.show(s); len(c.text) > before {
		c.words = append(c.words, s)
	}
	return nil
}

// parseVersion takes a version, or one of >=, <=, >, < and a version.
func (c *Condition) parseVersion(s string) *ValueError {
	number := strings.TrimLeft(s, "<>=")
	compare := s[:len(s)-len(number)]
	v, ok := suites.ParseVersion(strings.TrimSpace(number))
	place := versionBit(v)
	if !ok || place == versionBit(0) {
		return &ValueError{Msg: "is not a version", Hint: `known are ssl2, ssl3, 1.0, 1.1, 1.2, 1.3, and for example ">=1.2"`}
	}
	all := uint64(1)<<len(versions) - 1
	var set uint64
	switch compare {
	case "":
		set = place
	case ">=":
		set = all &^ (place - 1)
	case ">":
		set = all &^ (place - 1) &^ place
	case "<=":
		set = place | (place - 1)
	case "<":
		set = place - 1
	default:
		return &ValueError{Msg: "is not a version", Hint: "comparisons are >=, >, <= and <"}
	}
	if set == 0 {
		return &ValueError{Msg: "is no version at all"}
	}
	c.bits |= set
	for i, v := range versions {
		if set>>i&1 != 0 {
			c.show(suites.VersionKey(v))
		}
	}
	return nil
}
