package state

import (
	"bytes"
	"net/netip"
	"reflect"
	"testing"

	"tlsgate/internal/engine"
)

// TestPins: what an engine tells of its pins it is told again.
func TestPins(t *testing.T) {
	a, b := netip.MustParseAddrPort("192.0.2.1:40000"), netip.MustParseAddrPort("203.0.113.1:443")
	v6 := netip.MustParseAddrPort("[2001:db8::1]:443")
	want := []engine.KnownPin{
		{Rule: "one", Group: "source=192.0.2.1,sni=%ff", By: engine.PinByEnds, Ends: [][2]netip.AddrPort{{a, b}}, Random: [32]byte{1}, Since: 5, Used: 9},
		{Rule: "two", By: engine.PinByOrigin, Origin: [16]byte{2}, Ends: [][2]netip.AddrPort{{a, b}, {v6, b}}, Resumable: true, TLS13: true, Client: [16]byte{3}, Since: 5, Used: 9, ByHand: true},
		{Rule: "two", By: engine.PinByOrigin, Origin: [16]byte{4}},
		{Rule: "three", By: engine.PinByRandom, Random: [32]byte{7}, ByHand: true},
		{Rule: "three", By: engine.PinBySessionID, SessionID: [16]byte{7}, ByHand: true},
	}
	var file bytes.Buffer
	if left, err := encode(&file, &State{Written: 1, Pins: PinsOf(want)}, maxFile); left != 0 || err != nil {
		t.Fatal(left, err)
	}
	s, err := decode(&file)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.KnownPins(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	for _, p := range []Pin{
		{Rule: "one", Holder: Holder{Kind: Session, ID: make([]byte, 16)}, Client: []byte{1}},
		{Rule: "one", Holder: Holder{Kind: Session, ID: make([]byte, 16)}, Random: []byte{1}},
		{Rule: "one", Holder: Holder{Kind: Session, ID: make([]byte, 16)}, Members: make([][2]netip.AddrPort, maxEnds+1)},
	} {
		if p.check() == nil {
			t.Errorf("%+v is taken", p)
		}
	}
}
