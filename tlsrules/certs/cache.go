package certs

import "crypto/sha256"

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
	size       int // of what is in young
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
	}
	limit := k.Max
	if limit <= 0 {
		limit = defaultMax
	}
	size := c.memory()
	if k.young == nil || k.size+size > limit/2 {
		k.old, k.young, k.size = k.young, make(map[[32]byte]*Certificate), 0
	}
	if size <= limit/2 {
		k.young[sum] = c
		k.size += size
	}
	return c
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

// memory is about what a certificate in a Cache takes, bytes.
func (c *Certificate) memory() int {
	const fixed = 512 // the struct, and its place in the map
	const each = 24   // the head of a Name
	n := fixed + len(c.Subject) + len(c.Issuer) + len(c.CommonName) + len(c.Serial) + len(c.Problem) + each*cap(c.SANs)
	for i := range c.SANs {
		n += len(c.SANs[i].Value)
	}
	return n
}
