package certs

import (
	"crypto/sha256"
	"slices"
	"unsafe"
)

// A Cache keeps certificates by their SHA-256, so that what a server sends with
// every handshake is parsed once. The zero Cache is ready for use. It is not
// safe for concurrent use; what it returns is.
//
// There are two generations. What is not found in the young one moves there
// from the old one, or is parsed; when the young one is full it becomes the old
// one, and what nobody asked for meanwhile is gone.
type Cache struct {
	// Max bounds the memory of both generations together, bytes; 0 is the
	// default, 8 MiB.
	Max int

	young, old map[[32]byte]*Certificate
	chains     map[*Certificate][]*Certificate // by the leaf, the latest
	size       int                             // of what is in young and chains
	account    *account
}

const defaultMax = 8 << 20

// Parse returns what the function Parse would.
func (k *Cache) Parse(der []byte) *Certificate {
	sum := sha256.Sum256(der)
	if c := k.young[sum]; c != nil {
		return c
	}
	c := k.old[sum]
	if c == nil {
		c = Parse(der)
		k.note(c)
	}
	if size := c.memory(); k.room(size) {
		k.young[sum] = c
	}
	return c
}

// MaxChain is how many certificates of a chain are read. RFC 5246, Section 7.4.2
// sets no limit; OpenSSL follows ten.
const MaxChain = 16

// Chain parses the certificates of a list, at most MaxChain of them. The same
// chain is the same slice again, which is not to be changed; an empty one is nil.
func (k *Cache) Chain(list [][]byte) []*Certificate {
	var all [MaxChain]*Certificate
	n := min(len(list), MaxChain)
	if n == 0 {
		return nil
	}
	for i, der := range list[:n] {
		all[i] = k.Parse(der)
	}
	chain := k.chains[all[0]]
	if slices.Equal(chain, all[:n]) {
		return chain
	}
	chain = slices.Clone(all[:n])
	if k.room(perEntry + 8*n) {
		k.chains[all[0]] = chain
	}
	return chain
}

func (k *Cache) limit() int {
	if k.Max <= 0 {
		return defaultMax
	}
	return k.Max
}

// room makes room for an entry of a size, and reports whether there is any.
func (k *Cache) room(size int) bool {
	limit := k.limit()
	if k.young == nil || k.size+size > limit/2 {
		k.old, k.young, k.size = k.young, make(map[[32]byte]*Certificate), 0
		k.chains = make(map[*Certificate][]*Certificate)
	}
	if size > limit/2 {
		return false
	}
	k.size += size
	return true
}

// Len returns how many certificates are kept.
func (k *Cache) Len() int {
	n := len(k.young)
	for sum := range k.old {
		if k.young[sum] == nil {
			n++
		}
	}
	return n
}

const perEntry = 100 // its place in the map

// memory is about what a certificate in a Cache takes, bytes.
func (c *Certificate) memory() int {
	const each = 24 // the head of a Name; a string has 16
	n := perEntry + int(unsafe.Sizeof(*c)) + len(c.Subject) + len(c.Issuer) + len(c.CommonName) + len(c.Serial) + len(c.Problem) + len(c.DER)
	n += each * (cap(c.SANs) + cap(c.SubjectParts) + cap(c.IssuerParts))
	for i := range c.SANs {
		n += len(c.SANs[i].Value)
	}
	return n + len(c.Subject) + len(c.Issuer) // again, in parts
}
