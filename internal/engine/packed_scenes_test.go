package engine

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"
	"weak"

	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
	"tlsgate/conntrack/reassembly"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/certs"
	"tlsgate/tlsrules/tlswire"
)

// scene plays the same twice: before an engine in which nobody ever rests, and before
// one in which whoever is silent does. Whatever either is asked, or tells, or keeps of
// a connection, is the same.
type scene struct {
	t     *testing.T
	links [2]*link // of the one who never rests first
	diary [2]*diary
	turns []turn
}

// sleeper is where the twin that has others rest is.
const sleeper = 1

func newScene(t *testing.T, cfg Config, p *tlsrules.Policy, kind string, six bool) *scene {
	x := &scene{t: t}
	if kind != "" {
		x.turns = recording(t, kind)
	}
	for i := range x.links {
		d := &diary{}
		cfg.Sink = d
		cfg.Sessions, cfg.Pins = NewSessions(64, [16]byte{}), NewPins(64, [16]byte{})
		l := newLab(t, cfg, p)
		d.e, x.diary[i] = l.e, d
		l.e.cfg.Inject = func(b []byte, dev uint32) error {
			fmt.Fprintf(&d.b, "injected %x %d\n", b, dev)
			return l.injected(b, dev)
		}
		if i != sleeper {
			l.e.table.Rests(conntrack.Resting[flow]{})
		}
		x.links[i] = l.link4()
		if six {
			x.links[i] = l.link6()
		}
	}
	return x
}

// both does something on either side, and compares.
func (x *scene) both(do func(k *link)) {
	x.t.Helper()
	for _, k := range x.links {
		do(k)
	}
	x.same()
}

// same compares all that there is to see, and what is kept of each connection.
func (x *scene) same() {
	x.t.Helper()
	var seen [2]string
	var kept [2][]any
	for i, k := range x.links {
		e := k.lab.e
		d := &x.diary[i].b
		for _, k := range k.lab.links {
			fmt.Fprintln(d, k.mark, k.queued, k.offloaded, k.ours)
			for _, end := range k.ends {
				fmt.Fprintf(d, "%x %v %v %v\n", end.got, end.closed, end.ended, end.challenge)
			}
		}
		list, _ := e.listStep(0, &Filter{}, nil)
		fmt.Fprintf(d, "%+v\n%+v\n%d of the budget, %d in pieces, %d wait\n", list, e.counts, e.budget.Used(), e.buffers.Held(), e.clocks())
		seen[i] = d.String()
		d.Reset()
		e.table.Walk(0, 1<<30, func(c *conntrack.Conn[flow]) { kept[i] = append(kept[i], keptOf(c)) })
	}
	if seen[0] != seen[1] {
		x.t.Fatalf("with connections that rest:\n%s\nwith none:\n%s", seen[1], seen[0])
	}
	if !reflect.DeepEqual(kept[0], kept[1]) {
		x.t.Fatalf("of connections that rest is kept:\n%+v\nof others:\n%+v", kept[1], kept[0])
	}
}

// clocks is how many connections are waited for.
func (e *Engine) clocks() (n int) {
	for c := e.waiting.first; c != nil; c = c.Value.after {
		n++
	}
	return n
}

// keptOf is all that is kept of a connection, but for its neighbours in lists, and
// memory that is there for something else.
func keptOf(c *conntrack.Conn[flow]) any {
	f := c.Value
	f.before, f.after = nil, nil
	if f.alert != nil {
		a := *f.alert
		a.conn, a.before, a.after, f.alert = nil, nil, nil, &a
	}
	for d := range f.streams { // what stands in one that holds nothing, beside the numbers, is of no matter
		if q, quiet := f.streams[d].Quiet(); quiet {
			f.streams[d] = reassembly.Stream{}
			f.streams[d].Resume(q)
		}
	}
	if s := f.sum.said; s != nil {
		s := *s
		s.leaf, f.sum.said = weak.Pointer[certs.Certificate]{}, &s // each engine has its own
	}
	if f.ins == nil {
		return f
	}
	ins := *f.ins
	f.ins = &ins
	if ins.certs != nil && reflect.DeepEqual(*ins.certs, Certificates{request: ins.certs.request}) {
		ins.certs = nil // empty
	}
	return plain(&f)
}

// silent has nothing come for a while, and so many connections rest then.
func (x *scene) silent(rest int) {
	x.t.Helper()
	for _, k := range x.links {
		k.lab.silent(17 * time.Second)
	}
	if got := x.links[sleeper].lab.e.table.AtRest(); got != rest && rest >= 0 {
		x.t.Fatalf("%d rest, want %d", got, rest)
	}
	x.same()
	if got := x.links[sleeper].lab.e.table.AtRest(); got != rest && rest >= 0 {
		x.t.Fatalf("%d rest when they were looked at, want %d", got, rest)
	}
}

// silent lets time pass.
func (l *lab) silent(d time.Duration) {
	for until := l.now + int64(d); l.now < until; {
		l.now += int64(100 * time.Millisecond)
		l.e.Tick(l.now)
		for _, k := range l.links {
			k.challenges()
		}
	}
}

// say has one side say bytes behind all that it has said.
func (x *scene) say(d conntrack.Direction, b []byte) {
	x.t.Helper()
	x.both(func(k *link) { k.next(d, b); k.ack(d.Other()) })
}

// next sends bytes behind all that the other end has got.
func (k *link) next(d conntrack.Direction, b []byte) { k.data(d, len(k.ends[d.Other()].got), b) }

// upTo plays the conversation up to a turn, -1 for all of it but its end.
func (x *scene) upTo(n int) {
	x.t.Helper()
	if n < 0 {
		n += len(x.turns)
	}
	x.both(func(k *link) { k.play(x.turns[:n], strategies["mss"]) })
}

// goesOn ends the conversation, and both ends have all of it.
func (x *scene) goesOn() {
	x.t.Helper()
	x.both(func(k *link) { k.talk(k.rest(x.turns), strategies["mss"]) })
	if k := x.links[0]; !k.complete(x.turns) {
		x.t.Errorf("it does not go on: %d and %d bytes have come; %v", len(k.ends[1].got), len(k.ends[0].got), k.lab.e.counts.Refused)
	}
}

// refused wants the connection refused for a reason, and both ends reset.
func (x *scene) refused(reason string) {
	x.t.Helper()
	x.both(func(k *link) { k.challenges(); k.challenges() })
	k := x.links[0]
	list, _ := k.lab.e.listStep(0, &Filter{}, nil)
	if len(list) == 0 || list[0].Decision.Reason.String() != reason || !list[0].Decision.Action.Refuses() || !k.closed() {
		x.t.Errorf("want it refused for %s, and reset: %v, %+v", reason, k.closed(), list)
	}
}

// record is one of n bytes.
func recordOf(content tlswire.ContentType, n int) []byte {
	return append([]byte{byte(content), 3, 3, byte(n >> 8), byte(n)}, bytes.Repeat([]byte{0xa5}, n)...)
}

// stamped is a segment with a timestamp.
func (k *link) stamped(d conntrack.Direction, value uint32, b []byte, flags packet.Flags) {
	s := k.segment(d, len(k.ends[d.Other()].got), b, flags)
	s.options = []byte{1, 1, 8, 10, byte(value >> 24), byte(value >> 16), byte(value >> 8), byte(value), 0, 0, 0, 0}
	k.raw(s)
}

// halfHeader has a connection rest in the middle of a record's header.
func (x *scene) halfHeader(content tlswire.ContentType) {
	x.t.Helper()
	x.upTo(-1)
	for n := 1; n < tlswire.RecordHeaderLen; n++ {
		c := content
		if n < tlswire.RecordHeaderLen-1 {
			c = tlswire.RecordTypeApplicationData
		}
		b := recordOf(c, 20)
		x.say(original, b[:n])
		x.silent(1)
		x.say(original, b[n:])
		x.silent(-1)
	}
	x.turns = append(slices.Clone(x.turns[:len(x.turns)-1]), turn{original, x.links[0].ends[1].got[len(streams(x.turns[:len(x.turns)-1])[0]):]}, x.turns[len(x.turns)-1])
}

// adopt has another policy judge, and the walk come to all.
func (x *scene) adopt(p *tlsrules.Policy) {
	x.t.Helper()
	x.both(func(k *link) { k.lab.adopt(p); fmt.Fprintf(x.noteOf(k), "%+v\n", k.lab.around()) })
}

// noteOf is where to write what is to be the same.
func (x *scene) noteOf(k *link) *diaryWriter { return &diaryWriter{x, k} }

type diaryWriter struct {
	x *scene
	k *link
}

func (w *diaryWriter) Write(b []byte) (int, error) {
	for i, k := range w.x.links {
		if k == w.k {
			w.x.diary[i].b.Write(b)
		}
	}
	return len(b), nil
}

// forbid has a new policy forbid what the connection has said long ago.
func (x *scene) forbid(byPacket bool) {
	x.t.Helper()
	p := policy(acceptAll, rule("no", tlsrules.Reset, "sni", "api.bank.example"))
	if byPacket {
		x.both(func(k *link) { k.lab.adopt(p); k.next(reply, recordOf(tlswire.RecordTypeApplicationData, 30)) })
	} else {
		x.adopt(p)
	}
	x.refused("rule")
}

// why notes the story of a connection.
func (x *scene) why(k *link) {
	s := k.why(x.t, k.id(x.t))
	w := x.noteOf(k)
	fmt.Fprintf(w, "%+v %v %v %v %q\n", s.Seen, s.Live, s.Moments, s.Omitted, s.Detail)
	for _, a := range s.Asked() {
		fmt.Fprintf(w, "%+v\n", a)
	}
	for i := range x.links {
		if x.links[i] == k {
			x.diary[i].facts(s.Facts)
		}
	}
}
