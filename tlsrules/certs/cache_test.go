package certs

import (
	"encoding/binary"
	"slices"
	"testing"
)

// numbered is a certificate of its own for every n.
func numbered(n uint32) []byte {
	p := ordinary()
	p.serial = tlv(tagInteger, binary.BigEndian.AppendUint32([]byte{1}, n))
	return p.encode()
}

func TestCache(t *testing.T) {
	var k Cache
	a, b := k.Parse(numbered(1)), k.Parse(numbered(2))
	if a == b || a != k.Parse(numbered(1)) || k.Len() != 2 || a.CommonName != "api.example" {
		t.Errorf("got %p, %p, %d kept", a, b, k.Len())
	}
	der := numbered(1)
	if got := testing.AllocsPerRun(100, func() { k.Parse(der) }); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

// A chain is parsed once, and is the same slice for whoever sends it.
func TestChain(t *testing.T) {
	var k Cache
	first, second := [][]byte{numbered(1), numbered(2), numbered(3)}, [][]byte{numbered(1), numbered(3)}
	a := k.Chain(first)
	if len(a) != 3 || a[1] != k.Parse(numbered(2)) {
		t.Fatalf("got %d certificates", len(a))
	}
	if got := testing.AllocsPerRun(100, func() { k.Chain(first) }); got != 0 {
		t.Errorf("%v allocations", got)
	}
	if b := k.Chain(second); len(b) != 2 || b[0] != a[0] || b[1] != a[2] || a[1] != k.Parse(numbered(2)) {
		t.Errorf("another chain of the same leaf: got %d certificates", len(b))
	}
	if none := k.Chain(nil); none != nil {
		t.Errorf("got %v of no certificates", none)
	}
	long := slices.Repeat(first, MaxChain)
	if c := k.Chain(long); len(c) != MaxChain {
		t.Errorf("got %d certificates", len(c))
	}
}

// A flood of others does not push out what is asked for, and takes no more
// memory than it may.
func TestCacheBound(t *testing.T) {
	k := Cache{Max: 100 << 10}
	wanted := k.Parse(numbered(0))
	for n := range uint32(2000) {
		k.Chain([][]byte{numbered(n + 1)})
		if n%10 == 0 && k.Parse(numbered(0)) != wanted {
			t.Fatalf("gone after %d", n)
		}
	}
	size := 0
	for _, chain := range k.chains {
		size += perEntry + 8*len(chain)
	}
	for _, generation := range []map[[32]byte]*Certificate{k.young, k.old} {
		for _, c := range generation {
			size += c.memory()
		}
	}
	if size > k.Max || size < k.Max*2/5 {
		t.Errorf("%d certificates take %d bytes", k.Len(), size)
	}
	small := Cache{Max: 10}
	if c := small.Parse(numbered(1)); c.CommonName != "api.example" || small.Len() != 0 {
		t.Errorf("got %+v, %d kept", c, small.Len())
	}
}

func BenchmarkParse(b *testing.B) {
	for _, name := range []string{"rsa_2048_all_names", "ec_p256"} {
		der := file(b, name)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Parse(der)
			}
		})
		b.Run(name+"_cached", func(b *testing.B) {
			var k Cache
			b.ReportAllocs()
			for b.Loop() {
				k.Parse(der)
			}
		})
	}
}
