package certs

import (
	"crypto/sha256"
	"runtime"
	"sync/atomic"
)

// account counts the memory of the certificates that a Cache has parsed and somebody
// still has, the Cache itself among them. What nobody has any more is counted until the
// collector has found it.
type account struct{ live atomic.Int64 }

// note counts a certificate for as long as it is there.
func (a *account) note(c *Certificate) {
	size := int64(c.memory())
	a.live.Add(size)
	runtime.AddCleanup(c, func(size int64) { a.live.Add(-size) }, size)
}

// ParsePublicKey is the function of that name, and counts what it takes.
func (k *Cache) ParsePublicKey(der []byte) *Certificate {
	c := ParsePublicKey(der)
	k.note(c)
	return c
}

// note counts a certificate that is not in the Cache.
func (k *Cache) note(c *Certificate) {
	if k.account == nil {
		k.account = new(account)
	}
	k.account.note(c)
}

// Beyond returns by how many bytes the certificates that the Cache has given away, and
// somebody still has, are more than what it keeps itself at most.
func (k *Cache) Beyond() int {
	if k.account == nil {
		return 0
	}
	return max(0, int(k.account.live.Load())-k.limit())
}

// Has reports whether Parse would find a certificate.
func (k *Cache) Has(der []byte) bool {
	sum := sha256.Sum256(der)
	return k.young[sum] != nil || k.old[sum] != nil
}

// Memory is about what a certificate takes, bytes.
func (c *Certificate) Memory() int { return c.memory() }
