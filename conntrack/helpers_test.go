package conntrack

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"tlsgate/conntrack/packet"
	"tlsgate/conntrack/seqnum"
)

// isns are pairs of initial sequence numbers (client's, server's) from which
// numbers wrap at once, soon, or never, pass the sign, or are zero.
var isns = [][2]seqnum.Value{
	{1000, 5000}, {0, 0}, {1<<32 - 1, 1<<32 - 1}, {1<<32 - 2, 0}, {1<<32 - 700, 1<<32 - 1500},
	{1<<31 - 1, 1 << 31}, {1<<31 - 700, 1<<32 - 70000}, {1<<32 - 1<<30, 1<<31 - 1<<30},
}

var (
	client = netip.MustParseAddrPort("192.0.2.1:40000")
	server = netip.MustParseAddrPort("198.51.100.2:443")
)

const (
	second = int64(time.Second)
	epoch  = 1_700_000_000 * second
)

var zeros [1 << 17]byte

// seg makes a segment as a host would send it, with a wide window.
func seg(from, to netip.AddrPort, flags packet.Flags, seq, ack seqnum.Value, n int) packet.Parsed {
	return packet.Parsed{
		Src: from.Addr(), SrcPort: from.Port(), Dst: to.Addr(), DstPort: to.Port(),
		Flags: flags, Seq: seq, Ack: ack, Window: 60000, Payload: zeros[:n], Raw: zeros[:40+n],
	}
}

func flagsOf(s string) (f packet.Flags) {
	for _, r := range s {
		f |= map[rune]packet.Flags{
			'S': packet.SYN, 'A': packet.ACK, 'F': packet.FIN, 'R': packet.RST, 'P': packet.PSH, 'U': packet.URG, '0': 0,
		}[r]
	}
	return f
}

// parse reads one line of a script:
//
//	> FLAGS SEQ ACK [len=N] [win=N] [ws=N] : OUTCOME [STATE]
//
// > is from the client, < from the server. Numbers are relative to the initial
// numbers of the end that uses them. For an Invalid segment OUTCOME is the reason.
func parse(t testing.TB, line string, isn [2]seqnum.Value) (p packet.Parsed, outcome, state string) {
	t.Helper()
	what, want, ok := strings.Cut(line, ":")
	f, w := strings.Fields(what), strings.Fields(want)
	if !ok || len(f) < 4 || len(w) < 1 {
		t.Fatalf("script: %q", line)
	}
	num := func(s string) int {
		n, err := strconv.ParseInt(s, 0, 64)
		if err != nil {
			t.Fatal(err)
		}
		return int(n)
	}
	from, to, mine, other := client, server, isn[0], isn[1]
	if f[0] == "<" {
		from, to, mine, other = server, client, isn[1], isn[0]
	}
	p = seg(from, to, flagsOf(f[1]), mine.Add(uint32(num(f[2]))), other.Add(uint32(num(f[3]))), 0)
	if f[3] == "0" && !p.Flags.Has(packet.ACK) {
		p.Ack = 0
	}
	for _, o := range f[4:] {
		name, v, _ := strings.Cut(o, "=")
		switch n := num(v); name {
		case "len":
			p.Payload, p.Raw = zeros[:n], zeros[:40+n]
		case "win":
			p.Window = uint16(n)
		case "ws":
			p.HasWindowScale, p.WindowScale = true, uint8(n)
		default:
			t.Fatalf("script: %q", line)
		}
	}
	if len(w) > 1 {
		state = w[1]
	}
	return p, w[0], state
}

func (o Outcome) name() string {
	return [...]string{"invalid", "opened", "reopened", "midstream", "known", "full"}[o]
}

func verdict[V any](r Tracked[V]) string {
	if r.Outcome == Invalid {
		return r.Why.String()
	}
	return r.Outcome.name()
}

// play runs a script and returns the table and the connection it ends with.
func play(t testing.TB, script string, isn [2]seqnum.Value) (*Table[int], *Conn[int]) {
	t.Helper()
	tab := New[int](Config{}, nil)
	return tab, replay(t, tab, script, isn)
}

// replay plays a script on a table. The connection's value counts payload.
func replay(t testing.TB, tab *Table[int], script string, isn [2]seqnum.Value) (c *Conn[int]) {
	t.Helper()
	now := max(epoch, tab.wheel.now)
	for i, line := range strings.Split(strings.TrimSpace(script), "\n") {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		p, want, state := parse(t, line, isn)
		now += int64(time.Millisecond)
		r := tab.Track(&p, now)
		got := verdict(r)
		if state != "" && r.Conn != nil {
			got, want = got+" "+r.Conn.State().String(), want+" "+state
		}
		if got != want {
			t.Fatalf("ISNs %#x: line %d %q: got %s", isn, i+1, line, got)
		}
		if err := tab.check(); err != nil {
			t.Fatalf("ISNs %#x: line %d %q: %v", isn, i+1, line, err)
		}
		if r.Conn != nil {
			c = r.Conn
		}
		if r.Outcome != Invalid {
			c.Value += len(p.Payload)
		}
	}
	return c
}

var errBounds = errors.New("out of bounds")

// check reports the first way in which index, queues, wheel and Conns disagree.
func (t *Table[V]) check() error {
	used, full := 0, 0
	for p := place(1); p < t.heads.used; p++ {
		h := t.heads.at(p)
		if h.id == 0 {
			continue
		}
		used++
		c := t.look(p)
		if h.flags&rests == 0 {
			full++
		}
		switch {
		case t.index.find(&h.key) != p:
			return fmt.Errorf("connection %d is not found by its key", h.id)
		case c.ID != h.id || c.place != p || c.head != h:
			return fmt.Errorf("connection %d has the head of another", c.ID)
		case h.slot == unfiled:
			return fmt.Errorf("connection %d is not in the wheel", c.ID)
		case h.rank != c.rankNow():
			return fmt.Errorf("connection %d, %v, has rank %d", c.ID, c.state, h.rank)
		case c.state == Close && c.deadline > c.Last+int64(t.limit[Close]): // by Abort
		case c.deadline != c.Last+int64(t.life(c)):
			return fmt.Errorf("connection %d, %v: deadline %d after its latest packet", c.ID, c.state, c.deadline-c.Last)
		}
	}
	if used != t.index.len || used-full != t.n {
		return fmt.Errorf("%d heads, %d in the index; %d rest, or %d", used, t.index.len, used-full, t.n)
	}
	total := 0
	for r := range t.queue {
		n, err := t.queue[r].check(&t.heads, func(h *head) bool { return h.id != 0 && h.rank == rank(r) })
		if err != nil {
			return fmt.Errorf("queue %d: %w", r, err)
		}
		total += n
	}
	if total != used {
		return fmt.Errorf("%d entries in queues, %d in the index", total, used)
	}
	total = 0
	for i := range t.wheel.slots {
		n, err := t.wheel.slots[i].check(&t.heads, func(h *head) bool { return h.id != 0 && h.slot == int16(i) })
		if err != nil {
			return fmt.Errorf("slot %d: %w", i, err)
		}
		total += n
	}
	if total != used {
		return fmt.Errorf("%d entries in the wheel, %d in the index", total, used)
	}
	if err := t.conns.check(); err != nil {
		return err
	}
	if t.conns.used != full {
		return fmt.Errorf("%d Conns in use for %d entries that do not rest", t.conns.used, full)
	}
	if t.Len() > t.cfg.Connections || t.HalfOpen() > t.cfg.HalfOpen {
		return fmt.Errorf("%w: %d connections, %d of them half open", errBounds, t.Len(), t.HalfOpen())
	}
	return nil
}

func (l *list) check(s *heads, belongs func(*head) bool) (int, error) {
	n := 0
	var prev place
	for p := l.first; p != 0; prev, p = p, s.tail(p).links[l.by].next {
		h := s.at(p)
		if s.tail(p).links[l.by].prev != prev {
			return n, fmt.Errorf("connection %d has another before it", h.id)
		}
		if !belongs(h) {
			return n, fmt.Errorf("connection %d does not belong", h.id)
		}
		if n++; n > l.len {
			break
		}
	}
	if l.last != prev || n != l.len {
		return n, fmt.Errorf("%d entries of %d, or another last", n, l.len)
	}
	return n, nil
}
