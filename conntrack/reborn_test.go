package conntrack

import (
	"strings"
	"testing"
	"time"

	"tlsgate/conntrack/packet"
)

// TestReborn: what a server could begin a connection with, by a SYN cookie, and what an
// honest client sends all the same. The last line of each script is asked for.
func TestReborn(t *testing.T) {
	const (
		answered = `
			> S  0 0 : opened
			< SA 0 1 : known`
		open = answered + `
			> A  1 1 : known`
		begun = open + `
			> A  1 1 len=100 : known
			< A  1 101 len=50 : known
			> A  101 51 : known`
		alike = answered + `
			> A  1 1 len=50 : known
			< A  1 51 len=50 : known`
		reset = alike + `
			> A  51 51 len=50 : known
			> R  101 0 : known`
	)
	tests := []struct {
		name, script string
		pause        time.Duration // before the last line
		want         bool
	}{
		{"the third packet", open, 0, false},
		{"the first segment", answered + "\n> A 1 1 len=100 : known", 0, false},
		{"a keep-alive before the first segment", open + "\n> A 0 1 : known", 0, false},
		{"a FIN", open + "\n> FA 1 1 : known", 0, false},
		{"both numbers further on", answered + "\n> A 500 500 : bad_ack", 0, true},
		{"the same behind the third packet", open + "\n> A 500 500 : bad_ack", 0, true},
		{"the same, before the SYN-ACK's", answered + "\n> A -400 -400 : out_of_window", 0, true},
		{"a larger segment size", answered + "\n> A 1 2 : bad_ack", 0, true},
		{"another cookie", open + "\n> A 1 0x1000001 : bad_ack", 0, true},
		{"another SYN-ACK, and its acknowledgement", answered + "\n< SA 0x1000000 1 : known\n> A 1 0x1000001 : known", 0, false},
		{"the first one behind it", answered + "\n< SA 0x1000000 1 : known\n> A 1 0x1000001 : known\n> A 1 1 : bad_ack", 0, true},
		{"what the server never said, of a connection that it has", begun + "\n> A 101 500 : bad_ack", 0, false},
		{"on old numbers, of a connection that it has", begun + "\n> A 1 1 len=100 : known", 0, false},
		{"behind an RST", begun + "\n> R 101 0 : known\n> A 1 1 len=100 : known", 0, true},
		{"behind an RST, another cookie", begun + "\n> R 101 0 : known\n> A 1 500 : bad_ack", 0, true},
		{"behind an RST, far from any cookie", begun + "\n> R 101 0 : known\n> A 101 51 len=100 : known", 0, false},
		{"behind an RST further on in the window", begun + "\n> R 600 0 : known\n> A 1 1 len=100 : known", 0, true},
		{"behind an RST of a FIN's number", begun + "\n> FA 101 51 : known\n< A 51 102 : known\n> R 101 0 : bad_reset\n> A 1 1 len=100 : known", 0, true},
		{"behind an RST of the server's, of what its window allowed", begun + "\n< R 20 0 : bad_reset\n> A 1 1 len=100 : known", 0, true},
		{"behind an RST far beyond the window", begun + "\n> R 0x8000000 0 : bad_reset\n> A 1 1 len=100 : known", 0, false},
		{"behind an RST before the window", begun + "\n> R 99 0 : bad_reset\n> A 1 1 len=100 : known", 0, false},
		{"behind an RST whose text reaches the window", begun + "\n> R 99 0 len=3 : bad_reset\n> A 1 1 len=100 : known", 0, true},
		{"behind an RST with FIN, far beyond the window", begun + "\n> RFA 0x8000000 51 : bad_flags\n> A 1 1 len=100 : known", 0, false},
		{"behind an RST of the server's from anywhere", begun + "\n< R 0x8000000 0 : bad_reset\n> A 1 1 len=100 : known", 0, true},
		{"behind an RST with FIN", begun + "\n> RFA 101 51 : bad_flags\n> A 1 1 len=100 : known", 0, true},
		{"behind a FIN of the server's outside the window", begun + "\n< FA 100000 101 : out_of_window\n> A 1 1 len=100 : known", 0, true},
		{"behind a FIN of the client's outside the window", begun + "\n> FA 100000 51 : out_of_window\n> A 1 1 len=100 : known", 0, false},
		{"behind an RST before anything was said", open + "\n> R 1 0 : known\n> A 1 1 len=100 : known", 0, false},
		{"behind an RST with FIN, of one that was heard since", open + "\n> RFA 1 1 : bad_flags\n> A 1 1 len=100 : known\n< A 1 101 : known\n> A 1 1 len=100 : known", 0, false},
		{"behind an RST, a smaller segment size", reset + "\n> A 4 1 len=9 : known", 0, true},
		{"behind an RST, one smaller than any", reset + "\n> A 5 1 len=9 : known", 0, false},
		{"behind an RST, a larger segment size", reset + "\n> A 1 4 len=9 : known", 0, true},
		{"behind an RST, one larger than any", reset + "\n> A 1 5 len=9 : known", 0, false},
		{"behind its own FIN, as much said on both sides", alike + "\n> FA 51 51 : known\n> A 52 51 : known", 0, false},
		{"behind its own FIN, what the server never said", alike + "\n> FA 51 51 : known\n> A 52 500 : bad_ack", 0, false},
		{"before it has the server's FIN, as much said on both sides", alike + "\n< FA 51 51 : known\n> A 51 51 : known", 0, false},
		{"once it has the server's FIN", alike + "\n< FA 51 51 : known\n> A 51 52 : known\n> A 51 51 : known", 0, true},
		{"what a server never said that spoke first", open + "\n< A 1 1 len=50 : known\n> A 1 500 : bad_ack", 0, false},
		{"what is the server's, on numbers that would do", reset + "\n< A 51 51 : known", 0, false},
		{"behind a SYN with FIN", begun + "\n> SFA 101 51 : bad_flags\n> A 1 1 len=100 : known", 0, false},
		{"behind what the server said outside the window", begun + "\n< A 100000 101 len=9 : out_of_window\n> A 1 1 len=100 : known", 0, false},
		{"before the server's answer", "> S 0 0 : opened\n> A 1 500 : bad_state", 0, false},
		{"a FIN of another cookie", open + "\n> FA 1 500 : bad_ack", 0, false},
		{"a FIN of another cookie, and data", open + "\n> FA 1 500 len=10 : bad_ack", 0, true},
		{"of one that began unseen", "> A 1 1 len=100 : midstream\n< A 1 101 : known\n> R 101 0 : known\n> A 1 1 len=100 : known", 0, false},
		{"behind an RST, minutes later", begun + "\n> R 101 0 : known\n> A 101 51 : known\n> A 1 1 len=100 : known", 5 * time.Minute, false},
	}
	for _, tt := range tests {
		for _, isn := range isns {
			lines := strings.Split(strings.TrimSpace(tt.script), "\n")
			last := len(lines) - 1
			tab, _ := play(t, strings.Join(lines[:last], "\n"), isn)
			p, want, _ := parse(t, strings.TrimSpace(lines[last]), isn)
			r := tab.Track(&p, tab.wheel.now+int64(tt.pause))
			if got := verdict(r); got != want && tt.pause == 0 {
				t.Fatalf("%s: ISNs %#x: %s", tt.name, isn, got)
			}
			if got := tab.Reborn(); got != tt.want {
				t.Errorf("%s: ISNs %#x: %v", tt.name, isn, got)
			}
		}
	}
}

// TestRebornLate: of how old a cookie is its SYN-ACK tells, and not a SYN that was
// repeated for minutes.
func TestRebornLate(t *testing.T) {
	const again = `
		> S  0 0 : known
		< SA 0 1 : known`
	tab, c := play(t, "> S 0 0 : opened\n< SA 0 1 : known", isns[0])
	for range 5 {
		tab.wheel.now += 50 * second
		replay(t, tab, again, isns[0])
	}
	replay(t, tab, `
		> A 1 1 : known
		> A 1 1 len=100 : known
		< A 1 101 len=50 : known
		< SA 0 1 : known
		> R 101 0 : known`, isns[0])
	replay(t, tab, "> A 1 1 len=100 : known", isns[0])
	if !tab.Reborn() || !c.Ends(tab.wheel.now) {
		t.Errorf("reborn %v, ends %v", tab.Reborn(), c.Ends(tab.wheel.now))
	}
	if tab.Rests(Resting[int]{Pack: func(*Conn[int]) (uint32, bool) { return 1, true }}); tab.Rest(c) {
		t.Error("it rests, and how late it is is lost")
	}
}

// TestRebornLoose: of a connection that was left to the kernel a client's numbers are not
// checked, and say nothing of whether its server has it.
func TestRebornLoose(t *testing.T) {
	for name, end := range map[string]string{
		"a reset, and a FIN from far away":    "> R 101 0 : known\n> FA 0x80000065 51 : known",
		"a FIN, acknowledged from far away":   "< FA 51 101 : known\n> A 101 52 : known\n> A 101 0x80000033 : known\n> A 101 0x100000032 : known",
		"the same, before it was sent":        "> A 101 0x7fffff00 : known\n< FA 51 101 : known\n> A 101 52 : known\n> A 101 0x100000032 : known",
		"a reset, and back to where it began": "> R 101 0 : known\n> A 0x80000065 51 : known\n> A 1 51 : known",
		"a reset with FIN, from far away":     "> RFA 0x8000000 51 : bad_flags",
		"a reset, and numbers from far away":  "> R 101 0 : known\n> A 0x80000065 0x80000033 : known\n> A 0x100000064 51 : known",
	} {
		for _, isn := range isns {
			tab, c := play(t, "> S 0 0 : opened\n< SA 0 1 : known\n> A 1 1 len=100 : known\n< A 1 101 len=50 : known", isn)
			c.Loosen()
			replay(t, tab, end, isn)
			p := seg(client, server, packet.ACK, isn[0].Add(1), isn[1].Add(1), 100)
			if tab.Track(&p, tab.wheel.now); !tab.Reborn() {
				t.Errorf("%s: ISNs %#x: it passes", name, isn)
			}
		}
	}
}

// TestEndedRests: who is thought to have ended rests once no cookie can be good.
func TestEndedRests(t *testing.T) {
	tab, c := play(t, "> S 0 0 : opened\n< SA 0 1 : known", isns[0])
	tab.Rests(Resting[int]{Pack: func(*Conn[int]) (uint32, bool) { return 1, true }})
	replay(t, tab, `
		> A 1 1 len=100 : known
		< A 1 101 len=50 : known
		> A 101 51 : known
		< R 20 0 : bad_reset`, isns[0])
	if tab.Rest(c) {
		t.Fatal("it rests while a cookie may be good")
	}
	tab.wheel.now += 3 * 60 * second
	replay(t, tab, "< SA 0 1 : known", isns[0]) // that one is late says nothing
	tab.wheel.now += 2 * 60 * second
	replay(t, tab, "> A 101 51 : known", isns[0])
	if !tab.Rest(c) {
		t.Error("it never rests again")
	}
}

// TestEnds: who may soon have the connection no more.
func TestEnds(t *testing.T) {
	const begun = "> S 0 0 : opened\n< SA 0 1 : known\n> A 1 1 len=100 : known\n< A 1 101 len=50 : known"
	for _, tt := range []struct {
		name, script string
		want         bool
	}{
		{"neither", begun, false},
		{"an RST", begun + "\n> R 101 0 : known", true},
		{"an RST that does not count", begun + "\n> A 101 51 : known\n< R 20 0 : bad_reset", true},
		{"the server's FIN", begun + "\n< FA 51 101 : known", true},
		{"the client's FIN", begun + "\n> FA 101 51 : known", false},
	} {
		for _, isn := range isns {
			tab, c := play(t, tt.script, isn)
			if got, late := c.Ends(tab.wheel.now), c.Ends(tab.wheel.now+5*60*second); got != tt.want || late {
				t.Errorf("%s: ISNs %#x: %v, minutes later %v", tt.name, isn, got, late)
			}
		}
	}
}

// TestBegun: a connection has begun for good, however much both ends have said.
func TestBegun(t *testing.T) {
	for _, isn := range isns {
		_, c := play(t, "> S 0 0 : opened\n< SA 0 1 : known\n> A 1 1 : known", isn)
		if c.Begun() {
			t.Fatalf("ISNs %#x: it has begun", isn)
		}
		for _, n := range []uint32{2, 1 << 31, 3 << 30, 1<<32 - 1} {
			for d := range c.sides {
				c.sides[d].acked, c.sides[d].end = isn[d].Add(n), isn[d].Add(n)
			}
			if !c.Begun() {
				t.Errorf("ISNs %#x: %d octets further on it has not", isn, n)
			}
		}
	}
}

// TestLeftEarly: of a connection that was left to the kernel before its server was heard
// nothing says that it has not begun. It is not to lose its last octets.
func TestLeftEarly(t *testing.T) {
	for _, isn := range isns {
		tab, c := play(t, "> S 0 0 : opened\n< SA 0 1 : known", isn)
		c.Loosen()
		for _, line := range []string{"> A 1 1 len=2 : known", "> FA 3 1 len=9 : known"} {
			if replay(t, tab, line, isn); tab.Reborn() {
				t.Errorf("ISNs %#x: %q is taken for another's", isn, line)
			}
		}
	}
}

// TestRebornLossy: where packets may pass unseen all may fit that a client sends, and so
// may another cookie.
func TestRebornLossy(t *testing.T) {
	for _, isn := range isns {
		tab := New[int](Config{Lossy: true}, nil)
		if replay(t, tab, "> S 0 0 : opened\n< SA 0 1 : known\n> A 1 1 : known\n> A 500 500 len=100 : known", isn); !tab.Reborn() {
			t.Errorf("ISNs %#x: it passes", isn)
		}
	}
}

// TestRebornOthers: the cookies that earlier SYN-ACKs on the same ports were may be good
// too, of another minute and of another connection.
func TestRebornOthers(t *testing.T) {
	const first, talk = "> S 0 0 : opened\n< SA 0 1 : known\n", "> A 1 1 len=100 : known\n< A 1 101 len=50 : known\n"
	for _, tt := range []struct {
		name, script string
		seq, ack     uint32
		want         bool
	}{
		{"of another minute", first + "< SA 0x1000000 1 : known\n> A 1 0x1000001 : known", 1, 1, true},
		{"that one", first + "< SA 0x1000000 1 : known\n> A 1 0x1000001 : known", 1, 0x1000001, true},
		{"of one that came later, and was not taken", first + "< SA 0x1000000 1 : known\n> A 1 1 : known", 1, 0x1000001, true},
		{"of another connection", first + talk + "> S 100000 0 : known\n< SA 0x1000000 100001 : reopened\n> A 100001 0x1000001 : known", 1, 1, true},
		{"of another connection, further on", first + talk + "> S 100000 0 : known\n< SA 0x1000000 100001 : reopened\n> A 100001 0x1000001 : known", 500, 501, true},
		{"of none", first + "< SA 0x1000000 1 : known\n> A 1 0x1000001 : known", 1, 0x800, false},
	} {
		for _, isn := range isns {
			for _, late := range []bool{false, true} {
				tab, c := play(t, tt.script, isn)
				o, r := &c.sides[Original], &c.sides[Reply]
				at, ack := o.iss.Add(1), r.iss.Add(1)
				for _, p := range []packet.Parsed{
					seg(client, server, packet.ACK, at, ack, 100), seg(server, client, packet.ACK, ack, at.Add(100), 50),
				} {
					tab.Track(&p, tab.wheel.now)
				}
				c.Loosen()
				p := seg(client, server, packet.RST, at.Add(100), 0, 0)
				tab.Track(&p, tab.wheel.now)
				if late {
					tab.wheel.now += CookieAge + 1
				}
				p = seg(client, server, packet.ACK, isn[0].Add(tt.seq), isn[1].Add(tt.ack), 100)
				tab.Track(&p, tab.wheel.now)
				if got := tab.Reborn(); got != (tt.want && !late) {
					t.Errorf("%s: ISNs %#x, late %v: %v", tt.name, isn, late, got)
				}
			}
		}
	}
}

// TestOver: of what began unseen it is known that nothing is left to be said, and else
// supposed that there is.
func TestOver(t *testing.T) {
	const (
		unseen = "> A 1 1 len=100 : midstream\n< A 1 101 len=50 : known\n> A 101 51 : known\n"
		seen   = "> S 0 0 : opened\n< SA 0 1 : known\n> A 1 1 len=100 : known\n< A 1 101 len=50 : known\n> A 101 51 : known\n"
	)
	for _, tt := range []struct {
		name, script string
		pause        int64 // before it
		want         bool
	}{
		{"nothing has ended", unseen + "> A 101 51 : known", 0, false},
		{"an RST", unseen + "> R 101 0 : known", 0, true},
		{"an RST of the server's", unseen + "< R 51 0 : known", 0, true},
		{"an RST, and more", unseen + "> R 101 0 : known\n> A 101 51 len=9 : known", 0, true},
		{"an RST with FIN", unseen + "> RFA 101 51 : bad_flags", 0, true},
		{"an RST when no cookie is good", unseen + "> R 101 0 : known", 300 * second, false},
		{"an RST from anywhere", unseen + "< R 0x80000033 0 : bad_reset", 0, false},
		{"the server's FIN", unseen + "< FA 51 101 : known\n> A 101 52 : known", 0, false},
		{"the client's FIN", unseen + "> FA 101 51 : known\n< A 51 102 : known", 0, false},
		{"both, the client's not acknowledged", unseen + "< FA 51 101 : known\n> FA 101 52 : known", 0, false},
		{"both, the server's not acknowledged", unseen + "> FA 101 51 : known\n< FA 51 102 : known", 0, false},
		{"both, acknowledged", unseen + "> FA 101 51 : known\n< FA 51 102 : known\n> A 102 52 : known", 0, true},
		{"the same of one that was seen to begin", seen + "> FA 101 51 : known\n< FA 51 102 : known\n> A 102 52 : known", 0, false},
		{"an RST of one that was seen to begin", seen + "> R 101 0 : known", 0, false},
	} {
		for _, isn := range isns {
			lines := strings.Split(tt.script, "\n")
			tab, c := play(t, lines[0], isn)
			for i, line := range lines[1:] {
				if i == len(lines)-2 {
					tab.wheel.now += tt.pause
				}
				replay(t, tab, line, isn)
			}
			if got := c.Midstream && c.over(tab.wheel.now); got != tt.want || c.over(tab.wheel.now+CookieAge+1) {
				t.Errorf("%s: ISNs %#x: %v", tt.name, isn, got)
			}
		}
	}
}

// TestOthers: what was a cookie beside that of the connection is known, once, and nothing
// else is taken for one: no SYN-ACK that comes again, nor one that acknowledges data
// (RFC 7413), behind which a connection rests as any other.
func TestOthers(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		want         uint8
	}{
		{"one SYN-ACK", "> S 0 0 : opened\n< SA 0 1 : known", 0},
		{"it comes again", "> S 0 0 : opened\n< SA 0 1 : known\n< SA 0 1 : known", 0},
		{"with data acknowledged", "> S 0 0 len=100 : opened\n< SA 0 101 : known", 0},
		{"with data, and none acknowledged", "> S 0 0 len=100 : opened\n< SA 0 1 : known", 0},
		{"another one", "> S 0 0 : opened\n< SA 0 1 : known\n< SA 5000 1 : known", 1},
		{"another one, twice", "> S 0 0 : opened\n< SA 0 1 : known\n< SA 5000 1 : known\n< SA 5000 1 : known", 1},
	} {
		for _, isn := range isns {
			if _, c := play(t, tt.script, isn); c.others.n != tt.want {
				t.Errorf("%s: ISNs %#x: %d", tt.name, isn, c.others.n)
			}
		}
	}
}
