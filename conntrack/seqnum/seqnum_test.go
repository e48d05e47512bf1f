package seqnum_test

import (
	"testing"

	"pgregory.net/rapid"

	"tlsgate/conntrack/seqnum"
)

// near draws numbers crowded around the places where 32-bit arithmetic breaks.
func near() *rapid.Generator[seqnum.Value] {
	return rapid.Custom(func(t *rapid.T) seqnum.Value {
		base := rapid.SampledFrom([]uint32{0, seqnum.Half}).Draw(t, "base")
		off := rapid.Int32Range(-5000, 5000).Draw(t, "off")
		return seqnum.Value(base + uint32(off))
	})
}

func TestOrder(t *testing.T) {
	const top = seqnum.Value(0xffffffff)
	tests := []struct {
		name       string
		v, w       seqnum.Value
		less, more bool
		diff       int32
	}{
		{"equal", 7, 7, false, false, 0},
		{"plain", 7, 8, true, false, -1},
		{"over the wrap", top, 0, true, false, -1},
		{"far over the wrap", top - 100, 1000, true, false, -1101},
		{"just under half", 0, seqnum.Half - 1, true, false, -(seqnum.Half - 1)},
		{"exactly half is neither", 0, seqnum.Half, false, false, -seqnum.Half},
		{"just over half", 0, seqnum.Half + 1, false, true, seqnum.Half - 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.v.Less(tt.w); got != tt.less {
				t.Errorf("Less = %v, want %v", got, tt.less)
			}
			if got := tt.w.Less(tt.v); got != tt.more {
				t.Errorf("reversed Less = %v, want %v", got, tt.more)
			}
			if got := tt.v.Diff(tt.w); got != tt.diff {
				t.Errorf("Diff = %d, want %d", got, tt.diff)
			}
			if got, want := tt.v.LessEq(tt.w), tt.less || tt.v == tt.w; got != want {
				t.Errorf("LessEq = %v, want %v", got, want)
			}
		})
	}
}

// TestAgreesWithWideIntegers holds the arithmetic against 64-bit positions in
// an endless stream, of which only the low 32 bits are shown.
func TestAgreesWithWideIntegers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := int64(near().Draw(t, "a")) + 1<<40
		d := rapid.Int64Range(-(seqnum.Half-1), seqnum.Half-1).Draw(t, "d")
		b := a + d
		v, w := seqnum.Value(uint32(a)), seqnum.Value(uint32(b))
		if got, want := v.Less(w), a < b; got != want {
			t.Fatalf("%d.Less(%d) = %v, want %v", v, w, got, want)
		}
		if got, want := v.LessEq(w), a <= b; got != want {
			t.Fatalf("%d.LessEq(%d) = %v, want %v", v, w, got, want)
		}
		if got, want := int64(w.Diff(v)), d; got != want {
			t.Fatalf("Diff = %d, want %d", got, want)
		}
		if got, want := seqnum.Max(v, w), seqnum.Value(uint32(max(a, b))); got != want {
			t.Fatalf("Max = %d, want %d", got, want)
		}
		if got, want := seqnum.Min(v, w), seqnum.Value(uint32(min(a, b))); got != want {
			t.Fatalf("Min = %d, want %d", got, want)
		}
		if d >= 0 {
			if got := v.Add(uint32(d)); got != w {
				t.Fatalf("Add = %d, want %d", got, w)
			}
			if got := w.Sub(uint32(d)); got != v {
				t.Fatalf("Sub = %d, want %d", got, v)
			}
			if got := v.Size(w); int64(got) != d {
				t.Fatalf("Size = %d, want %d", got, d)
			}
		}
	})
}

func TestRanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first := int64(near().Draw(t, "first")) + 1<<40
		size := rapid.Int64Range(0, 1<<32-1).Draw(t, "size")
		at := first + rapid.Int64Range(-3, 3).Draw(t, "off")
		if rapid.Bool().Draw(t, "at the end") {
			at += size
		}
		f, v := seqnum.Value(uint32(first)), seqnum.Value(uint32(at))
		want := uint64(uint32(at-first)) < uint64(size)
		if got := v.InWindow(f, uint32(size)); got != want {
			t.Fatalf("%d.InWindow(%d, %d) = %v, want %v", v, f, size, got, want)
		}
		if got := v.InRange(f, f.Add(uint32(size))); got != want {
			t.Fatalf("%d.InRange(%d, +%d) = %v, want %v", v, f, size, got, want)
		}
	})
}

// TestWrapIsNoSpecialPlace: moving both numbers by the same amount changes no
// answer.
func TestWrapIsNoSpecialPlace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v, w := near().Draw(t, "v"), near().Draw(t, "w")
		n := rapid.Uint32().Draw(t, "n")
		v2, w2 := v.Add(n), w.Add(n)
		if v.Less(w) != v2.Less(w2) || v.LessEq(w) != v2.LessEq(w2) || v.Diff(w) != v2.Diff(w2) {
			t.Fatalf("%d and %d are ordered otherwise when moved by %d", v, w, n)
		}
		if seqnum.Max(v, w).Add(n) != seqnum.Max(v2, w2) {
			t.Fatalf("Max(%d, %d) differs when moved by %d", v, w, n)
		}
	})
}
