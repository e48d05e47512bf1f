package tlsrules

import (
	"encoding/hex"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"

	"tlsgate/tlsrules/certs"
	"tlsgate/tlsrules/suites"
	"tlsgate/tlsrules/via"
)

func (c *Condition) parseBool(s string) *ValueError {
	return c.parseBit(strings.ToLower(s), "true or false", boolNames)
}

var boolNames = []string{"false", "true"}

// startTLS stands for every protocol that begins TLS by agreement.
const startTLS = "starttls"

// parseVia takes a way in which TLS begins.
func (c *Condition) parseVia(s string) *ValueError {
	known := []string{startTLS}
	found := false
	for _, k := range via.All() {
		name := k.String()
		known = append(known, name)
		if strings.EqualFold(s, name) || strings.EqualFold(s, startTLS) && strings.HasPrefix(name, startTLS) {
			c.bits |= 1 << k
			c.show(name)
			found = true
		}
	}
	if !found {
		return &ValueError{Msg: "is not a way in which TLS begins", Hint: suggestion(suites.Closest(s, known), known)}
	}
	return nil
}

// parseHash takes a hash of n bytes; colons between the bytes do not count.
func (c *Condition) parseHash(s string, n int, what string) *ValueError {
	b, err := hex.DecodeString(strings.ReplaceAll(s, ":", ""))
	if err != nil || len(b) != n {
		return &ValueError{Msg: "is not " + what, Hint: fmt.Sprintf("write its %d bytes as %d hexadecimal digits", n, 2*n)}
	}
	put(&c.octets, string(b))
	c.show(hex.EncodeToString(b))
	return nil
}

// parseSize takes a number of bits, or one of >=, <=, > and < and a number.
func (c *Condition) parseSize(s string) *ValueError {
	r, shown, ok := readSize(s)
	if !ok {
		return &ValueError{Msg: "is not a size", Hint: `write a number of bits, as in ">=2048"`}
	}
	c.sizes = append(c.sizes, r)
	c.show(shown)
	return nil
}

func readSize(s string) (r sizeRange, shown string, ok bool) {
	digits := strings.TrimLeft(s, "<>=")
	compare := s[:len(s)-len(digits)]
	n, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 16)
	if err != nil || n == 0 {
		return r, "", false
	}
	bits := int(n)
	switch compare {
	case "", "=":
		r = sizeRange{bits, bits}
	case ">=":
		r = sizeRange{bits, math.MaxInt}
	case ">":
		r = sizeRange{bits + 1, math.MaxInt}
	case "<=":
		r = sizeRange{1, bits}
	case "<":
		r = sizeRange{1, bits - 1}
	default:
		return r, "", false
	}
	return r, compare + strconv.Itoa(bits), true
}

// keyKind is a kind of public key and the sizes it may have.
type keyKind struct {
	kind certs.KeyKind
	bits sizeRange
}

// parseKey takes a kind of key, with a size behind it or not: "rsa>=2048".
func (c *Condition) parseKey(s string) *ValueError {
	name := strings.ToLower(strings.ReplaceAll(s, " ", ""))
	size := ""
	if i := strings.IndexAny(name, "<>="); i >= 0 {
		name, size = name[:i], name[i:]
	}
	var known []string
	for _, kind := range certs.KeyKinds() {
		known = append(known, kind.String())
		if kind.String() != name {
			continue
		}
		r, text := sizeRange{0, math.MaxInt}, ""
		if size != "" {
			var ok bool
			if r, text, ok = readSize(size); !ok {
				return &ValueError{Msg: "is not a kind of key", Hint: `write the size in bits, as in "rsa>=2048"`}
			}
		}
		c.keys = append(c.keys, keyKind{kind, r})
		c.show(name + text)
		return nil
	}
	return &ValueError{Msg: "is not a kind of key", Hint: suggestion(suites.Closest(name, known), known)}
}

// parseParts takes a distinguished name or parts of one, in the order in which
// events print it.
func (c *Condition) parseParts(s string) *ValueError {
	if kind, value, ok := strings.Cut(s, "="); !ok || kind == "" || value == "" {
		return &ValueError{Msg: "is not a part of a name", Hint: `write it as events do: "CN=api.example", or "O=Example, CN=api.example"`}
	}
	before := len(c.text)
	if c.show(s); len(c.text) > before {
		c.words = append(c.words, s)
	}
	return nil
}

// parseCertName takes a host name as sni does, or an address.
func (c *Condition) parseCertName(s string) *ValueError {
	if a, err := netip.ParseAddr(s); err == nil {
		put(&c.names.exact, a.String())
		c.show(a.String())
		return nil
	}
	if strings.EqualFold(s, none) {
		return &ValueError{Msg: "is not a name of a certificate"}
	}
	return c.parseServerName(s)
}

// ja4Pattern is a JA4 fingerprint, or with stars for some of its three parts.
type ja4Pattern [3]string

const star = "*"

func (c *Condition) parseJA4(s string) *ValueError {
	const hint = `it has three parts, as in "t13d1516h2_8daaf6152771_e5627efa2ab1"; each may be "*"`
	parts := strings.Split(s, "_")
	if len(parts) != 3 {
		return &ValueError{Msg: "is not a JA4 fingerprint", Hint: hint}
	}
	alpn := max(0, len(parts[0])-2) // the letters of the protocol are as the client spells them
	parts[0] = strings.ToLower(parts[0][:alpn]) + parts[0][alpn:]
	parts[1], parts[2] = strings.ToLower(parts[1]), strings.ToLower(parts[2])
	for i, length := range [...]int{10, 12, 12} {
		if parts[i] != star && len(parts[i]) != length {
			return &ValueError{Msg: fmt.Sprintf("is not a JA4 fingerprint: its part %d has %d letters, not %d", i+1, len(parts[i]), length), Hint: hint}
		}
	}
	c.ja4 = append(c.ja4, ja4Pattern(parts))
	c.show(strings.Join(parts, "_"))
	return nil
}

// hasJA4 reports whether one of the patterns holds for a fingerprint.
func (c *Condition) hasJA4(fingerprint [36]byte) bool {
	parts := [...][]byte{fingerprint[:10], fingerprint[11:23], fingerprint[24:]}
	for k := range c.ja4 {
		fits := true
		for i, part := range parts {
			want := c.ja4[k][i]
			fits = fits && (want == star || want == string(part))
		}
		if fits {
			return true
		}
	}
	return false
}

// within reports whether all that p stands for q stands for too.
func (p ja4Pattern) within(q ja4Pattern) bool {
	for i := range p {
		if q[i] != star && q[i] != p[i] {
			return false
		}
	}
	return true
}
