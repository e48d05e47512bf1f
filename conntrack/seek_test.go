package conntrack

import (
	"math/rand/v2"
	"testing"

	"tlsgate/conntrack/packet"
)

// FuzzSeek: whether connections were sought before it was their segments' turn makes no
// difference to what is tracked, also where a segment before has ended the connection,
// begun another at its place, woken it or had it rest.
func FuzzSeek(f *testing.F) {
	f.Add([]byte("\x00\x02\x00\x00\x00\x00\x03\x00\x01\x12\x00\x00\x00\x01\x00\x00\x00\x10\x00\x01\x00\x01\x00\x80\x00\x10\x00\x01\x00\x01\x00\xa0"))
	f.Fuzz(func(t *testing.T, b []byte) { playSought(t, b) })
}

// playSought returns how many connections were found when they were sought, and of them
// were elsewhere, or over, when it was their segments' turn.
func playSought(t testing.TB, b []byte) (found, stale int) {
	x := newTwins(Config{Connections: 5, HalfOpen: 3})
	var other drawer
	x.tabs[0].Rests(other.sleeping())
	now := epoch
	for b = b[:min(len(b), 1600)]; len(b) >= 8; {
		n := min(1+int(b[6]&7), len(b)/8)
		segs, sought := make([]packet.Parsed, n), make([]Sought[int], n)
		for i := range segs {
			segs[i], _ = segmentOf(b[i*8:])
		}
		x.tabs[1].Seek(segs, sought)
		for i := range segs {
			s, one := &sought[i], b[i*8:]
			_, wait := segmentOf(one)
			now += wait
			if s.at != 0 {
				found++
				if x.tabs[1].index.find(&s.key) != s.at {
					stale++
				}
			}
			err := x.both(func(tab *Table[int]) string {
				r := Tracked[int]{}
				if tab == x.tabs[1] {
					r = tab.TrackSought(&segs[i], s, now)
				} else {
					r = tab.Track(&segs[i], now)
				}
				what, _ := tab.become(&segs[i], r, one[7]&0x80 != 0, one[7]&0x20 != 0)
				return what
			})
			if err == nil {
				err = x.same(true)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		b = b[n*8:]
	}
	return found, stale
}

// TestSeek plays connections that mostly come about, in groups.
func TestSeek(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 1))
	found, stale := 0, 0
	for range 300 {
		n, m := playSought(t, likely(r))
		found, stale = found+n, stale+m
	}
	if found < 5000 || stale < 100 {
		t.Errorf("only %d were found when they were sought, %d of them elsewhere later", found, stale)
	}
}
