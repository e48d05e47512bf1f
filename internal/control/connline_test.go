package control

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"tlsgate/internal/engine"
)

// TestAppendConn: a line of a listing is what encoding/json makes of a Conn,
// whatever the table holds, and every field of it is written.
func TestAppendConn(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	missing := map[string]bool{}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Conn]()) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		missing[name] = true
	}
	for range 2000 {
		var s engine.Seen
		fill(rng, reflect.ValueOf(&s).Elem())
		now := rng.Int64N(1 << 60)
		var want bytes.Buffer
		enc := json.NewEncoder(&want)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(connOf(&s, now)); err != nil {
			t.Fatal(err)
		}
		got := appendConn(nil, &s, now)
		if !bytes.Equal(got, want.Bytes()) {
			t.Fatalf("got  %s\nwant %s", got, want.Bytes())
		}
		var keys map[string]any
		if err := json.Unmarshal(got, &keys); err != nil {
			t.Fatalf("%s: %v", got, err)
		}
		for k := range keys {
			delete(missing, k)
		}
	}
	if len(missing) > 0 {
		t.Errorf("never written: %v", missing)
	}
}

// fill gives a value's fields values, of which about half are zero.
func fill(rng *rand.Rand, v reflect.Value) {
	if v.Type() == reflect.TypeFor[netip.AddrPort]() {
		var b [16]byte
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		a := netip.AddrFrom16(b)
		if rng.IntN(2) == 0 {
			a = netip.AddrFrom4([4]byte(b[:4]))
		}
		v.Set(reflect.ValueOf(netip.AddrPortFrom(a, uint16(rng.Uint32()))))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(rng, v.Field(i))
			}
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(rng, v.Index(i))
		}
	case reflect.Bool:
		v.SetBool(rng.IntN(2) == 0)
	case reflect.Int64:
		v.SetInt(rng.Int64N(1 << 60))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32:
		v.SetInt(rng.Int64N(4))
	case reflect.Uint8: // what has names
		v.SetUint(rng.Uint64N(4))
	case reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(rng.Uint64N(1 << 16))
	case reflect.String:
		v.SetString([]string{"", "server.lab.example", "<&>", "a\"b\\c", "bücher\x00\u2028\xff"}[rng.IntN(5)])
	}
}

// BenchmarkAppendConn is what a line of a listing costs.
func BenchmarkAppendConn(b *testing.B) {
	s := engine.Seen{
		ID: 123456, Original: netip.MustParseAddrPort("198.18.1.2:40000"), Reply: netip.MustParseAddrPort("198.18.2.2:443"),
		Start: 1, Last: 2, State: 3, Said: engine.Said{ServerName: "server.lab.example", Version: 0x304, Cipher: 0x1301},
	}
	var line []byte
	b.ReportAllocs()
	for b.Loop() {
		line = appendConn(line[:0], &s, 1<<40)
	}
}
