package tlswire

import (
	"bytes"
	"reflect"
	"slices"
	"testing"
	"unsafe"
)

// twin is a Conn that is told what another is told, and is packed whenever it can be.
type twin struct {
	c     Conn
	off   bool
	bytes []byte
	times int // it was packed
}

// packedTwin makes one of a Conn that may have been told something before.
func packedTwin(c *Conn) *twin {
	w := &twin{c: Conn{Limits: c.Limits}, off: !c.Packs()}
	if c.Buffers != nil {
		w.c.Buffers = &Buffers{}
	}
	if !w.off {
		p := PutInto(nil)
		c.Pack(&p)
		p = TakeFrom(p.Bytes())
		w.c.Pack(&p)
	}
	return w
}

// consume compares what c has consumed.
func (w *twin) consume(t testing.TB, c *Conn, from Side, b []byte, n int, opaque bool, st Status) {
	if w.off {
		return
	}
	gotN, gotOpaque, gotSt := w.c.Consume(from, b)
	if gotN != n || gotOpaque != opaque || gotSt != st || event(&w.c, from, st) != event(c, from, st) || !bytes.Equal(w.c.Message(), c.Message()) {
		t.Fatalf("packed: Consume(%v, %d bytes) = %d, %v, %v, want %d, %v, %v\n%s, want %s",
			from, len(b), gotN, gotOpaque, gotSt, n, opaque, st, event(&w.c, from, st), event(c, from, st))
	}
	if st == Message && c.HasClientHello {
		got, want := w.c.ClientHello.Clone(), c.ClientHello.Clone()
		if got.JA3() != want.JA3() || got.JA4() != want.JA4() {
			t.Fatalf("packed: JA4 %s, want %s", got.AppendJA4(nil), want.AppendJA4(nil))
		}
	}
	if w.c.Packs() {
		p := PutInto(w.bytes[:0])
		w.c.Pack(&p)
		w.bytes = p.Bytes()
		w.c.Reset()
		p = TakeFrom(w.bytes)
		if w.c.Pack(&p); len(p.Bytes()) > 0 {
			t.Fatalf("%d bytes are left", len(p.Bytes()))
		}
		w.times++
	}
}

// TestPackAll: every field is packed, those apart that are said here not to be.
func TestPackAll(t *testing.T) {
	for seed := range 200 {
		n := uint64(seed)
		next := func() uint64 { n = n*6364136223846793005 + 1442695040888963407; return n >> 33 }
		var c, got Conn
		fill(t, reflect.ValueOf(&c).Elem(), next)
		c.Limits, c.Buffers, c.lent = nil, nil, 0
		c.sides[0].buf, c.sides[1].buf = nil, nil
		c.HasClientHello, c.HasServerHello = true, seed%2 == 0
		c.Retry = c.Retry || !c.HasServerHello // what a HelloRetryRequest says stands there too
		h := &c.ClientHello
		h.SessionTicketLength |= 1
		h.PSK, h.prints.answer, h.ECH.Present = true, true, true
		h.seldom.tickets.count |= maxIdentities
		h.prints.ja3, h.prints.ja4, h.prints.hasJA3, h.prints.hasJA4 = [16]byte{}, [2]ja4Hash{}, false, false // computed again
		fill(t, reflect.ValueOf(&got).Elem(), next)                                                           // it serves again
		got.Limits, got.Buffers, got.lent = nil, nil, 0
		got.sides[0].buf, got.sides[1].buf = nil, nil
		got.Reset()
		want := c
		p := PutInto(nil)
		c.Pack(&p)
		p = TakeFrom(p.Bytes())
		got.Pack(&p)
		for _, x := range []*Conn{&c, &got, &want} {
			x.ClientHello.words, x.ClientHello.octets, x.ServerHello.octets = nil, nil, nil
		}
		if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(c, want) || len(p.Bytes()) > 0 {
			t.Fatalf("%d bytes left\ngot  %+v\nwant %+v", len(p.Bytes()), got, want)
		}
	}
}

// fill fills whatever it is given, unexported fields too.
func fill(t testing.TB, v reflect.Value, next func() uint64) {
	if v = reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem(); v.CanInt() {
		v.SetInt(int64(next()))
		return
	}
	switch {
	case v.CanUint():
		v.SetUint(next())
	case v.Kind() == reflect.Bool:
		v.SetBool(next()&1 == 1)
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), next)
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), int(1+next()%70), 70))
		fallthrough
	case v.Kind() == reflect.Array:
		for i := range v.Len() {
			fill(t, v.Index(i), next)
		}
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i), next)
		}
	default:
		t.Fatalf("no %v is packed", v.Type())
	}
}

// TestPackLists: a list that is empty is another thing than none, and one that is cut
// short is no longer than what is there.
func TestPackLists(t *testing.T) {
	var c, got Conn
	c.HasClientHello = true
	c.ClientHello.CipherSuites, c.ClientHello.KeyShares = []uint16{}, []uint16{1, 2}
	c.ClientHello.ServerName = []byte("a")
	p := PutInto(nil)
	c.Pack(&p)
	b := p.Bytes()
	p = TakeFrom(b)
	got.Pack(&p)
	h := &got.ClientHello
	if h.CipherSuites == nil || len(h.CipherSuites) != 0 || h.Extensions != nil || !slices.Equal(h.KeyShares, []uint16{1, 2}) || string(h.ServerName) != "a" {
		t.Errorf("%+v", h)
	}
	for n := range b {
		p = TakeFrom(b[:n:n])
		got.Reset()
		got.Pack(&p)
	}
	p = TakeFrom(bytes.Repeat([]byte{0xff}, 500)) // no number at all
	got.Reset()
	got.Pack(&p)
}

// TestPacks: half a message is not packed, half of anything else is.
func TestPacks(t *testing.T) {
	hello := records(VersionTLS10, chromeHello(), 300)
	for _, from := range []Side{Client, Server} {
		var c Conn
		for i, v := range hello {
			c.Consume(from, []byte{v})
			inside := i > recordHeaderLen+messageHeaderLen-1 && i < len(hello)-1
			if c.Packs() == inside {
				t.Fatalf("after %d bytes of %d of the %v: packs is %v", i+1, len(hello), from, c.Packs())
			}
		}
	}
}

func BenchmarkPack(b *testing.B) {
	var c Conn
	consume(&c, Client, records(VersionTLS10, chromeHello(), maxPlaintext))
	consume(&c, Server, hello13)
	var bytes []byte
	b.ReportAllocs()
	for b.Loop() {
		p := PutInto(bytes[:0])
		c.Pack(&p)
		bytes = p.Bytes()
		c.Reset()
		p = TakeFrom(bytes)
		c.Pack(&p)
	}
	b.ReportMetric(float64(len(bytes)), "bytes")
}
