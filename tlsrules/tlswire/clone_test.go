package tlswire

import (
	"reflect"
	"testing"
)

// TestClone: a copy of a hello says the same, fingerprints too, and goes on saying
// it when the memory of the first serves another.
func TestClone(t *testing.T) {
	msg := chromeHello()
	var h, again ClientHello
	if f := ParseClientHello(msg, &h); !f.OK() {
		t.Fatal(f)
	}
	ParseClientHello(msg, &again)
	k := h.Clone()
	ja3, ja4 := again.JA3(), again.JA4()
	ParseClientHello(clientHello([]uint16{1}), &h)
	h.words = append(h.words[:0], make([]uint16, cap(h.words))...)
	h.octets = append(h.octets[:0], make([]byte, cap(h.octets))...)
	if k.JA3() != ja3 || k.JA4() != ja4 {
		t.Errorf("fingerprints %x %s, want %x %s", k.JA3(), k.JA4(), ja3, ja4)
	}
	again.words, again.octets, k.words, k.octets = nil, nil, nil, nil
	if !reflect.DeepEqual(&again, k) {
		t.Errorf("got %+v, want %+v", k, &again)
	}
}

// TestRest: what was told stays, and nothing is held.
func TestRest(t *testing.T) {
	var bufs Buffers
	c := Conn{Buffers: &bufs}
	consume(&c, Client, records(VersionTLS10, chromeHello(), maxPlaintext))
	consume(&c, Server, hello13[:20])
	if c.Held() == 0 {
		t.Fatal("nothing is held of half a message")
	}
	c.Rest()
	if c.Held() != 0 || bufs.Held() != 0 || !c.HasClientHello || len(c.ClientHello.CipherSuites) == 0 {
		t.Errorf("%d bytes held, %d of all, hello %v", c.Held(), bufs.Held(), c.HasClientHello)
	}
	c.Reset()
	if bufs.Held() != 0 || c.HasClientHello {
		t.Errorf("%d bytes held after Reset", bufs.Held())
	}
}
