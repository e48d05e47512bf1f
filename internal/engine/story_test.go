package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
	"tlsgate/tlsrules"
)

// idle counts what could read a connection and reads none.
func (l *lab) idle() int {
	n := len(l.e.spare)
	l.tales(func(s *tale) {
		if s.ins != nil {
			n++
		}
	})
	return n
}

func (l *lab) tales(f func(*tale)) {
	for _, slab := range l.e.stories.slabs {
		for i := range slab {
			f(&slab[i])
		}
	}
	for _, s := range l.e.stories.refused {
		f(s)
	}
}

// why gives the story of the link's latest connection.
func (k *link) why(t testing.TB, id uint64) Story {
	t.Helper()
	var s Story
	if !k.lab.e.why(id, &s) || !s.Kept || s.ID != id {
		t.Fatalf("connection %d has no story", id)
	}
	return s
}

func (k *link) id(t testing.TB) uint64 {
	t.Helper()
	c := k.lab.e.table.Between(k.ends[0].addr, k.ends[1].addr)
	if c == nil {
		t.Fatal("not in the table")
	}
	return c.ID
}

// timeline writes moments as the tests want them: who, what, what became known.
func timeline(s *Story) string {
	var b strings.Builder
	for i, m := range s.Moments {
		if i == s.First && s.Omitted > 0 {
			fmt.Fprintf(&b, "... %d\n", s.Omitted)
		}
		what := [...]string{"", " ours", " time", " operator"}[m.Kind]
		fmt.Fprintf(&b, "%d %s%s", m.Packet, [...]string{">", "<"}[m.Direction], what)
		for f, name := range map[packet.Flags]string{packet.SYN: " SYN", packet.FIN: " FIN", packet.RST: " RST"} {
			if m.Flags.Has(f) {
				b.WriteString(name)
			}
		}
		if m.Dropped {
			b.WriteString(" dropped")
		}
		if m.Invalid != 0 {
			b.WriteString(" " + m.Invalid.String())
		}
		for _, n := range Noticings() {
			if m.Noticed&n != 0 {
				b.WriteString(" " + n.String())
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func wantTimeline(t *testing.T, what string, s *Story, want ...string) {
	t.Helper()
	if got := strings.TrimSuffix(timeline(s), "\n"); got != strings.Join(want, "\n") {
		t.Errorf("%s: got\n%s\nwant\n%s", what, got, strings.Join(want, "\n"))
	}
}

// TestStories has a connection come to each end that there is, and asks why.
func TestStories(t *testing.T) {
	ecdhe, rsa := recording(t, "tls12 ecdhe"), recording(t, "tls12 rsa")
	opened := []string{"1 > SYN accepted", "2 < SYN"}
	tests := []struct {
		name   string
		policy *tlsrules.Policy
		play   func(l *lab, k *link)
		reason string
		rule   string // that says it, and what it says
		says   tlsrules.Says
		want   []string // after the first two
		packet uint64
	}{
		{"accepted", partner(), func(_ *lab, k *link) { k.play(ecdhe, strategies["gso"]) }, "rule", "partner", tlsrules.Applies, []string{
			"4 > tls client_hello", "6 < server_hello certificate server_key_exchange server_hello_done",
			"8 > client_key_exchange change_cipher_spec", "10 < change_cipher_spec verdict",
		}, 0},
		{"refused at its ServerHello", partner(), func(_ *lab, k *link) { k.play(rsa, strategies["gso"]) }, "require.cipher", "partner", tlsrules.Applies, []string{
			"4 > tls client_hello", "6 < dropped server_hello verdict", "6 > ours RST", "6 < ours RST", "7 > dropped", "7 < ours RST",
		}, 6},
		{"refused at its hello", named("api.bank.example"), func(l *lab, k *link) {
			_, evil := hellos(l.t.(*testing.T))
			k.open()
			k.data(original, 0, evil)
		}, "require.sni", "named", tlsrules.Applies, nil, 4},
		{"refused at a record", only("handshake", "change_cipher_spec"), func(_ *lab, k *link) { k.play(ecdhe, strategies["gso"]) }, "require.content_type", "quiet", tlsrules.Applies, nil, 0},
		{"refused with an alert", alerting(), func(_ *lab, k *link) { k.play(rsa, strategies["gso"]) }, "require.cipher", "partner", tlsrules.Applies, nil, 6},
		{"killed", partner(), func(l *lab, k *link) {
			k.play(ecdhe, strategies["gso"])
			if err := k.kill(); err != nil {
				l.t.Fatal(err)
			}
		}, "killed", "partner", tlsrules.Applies, nil, 11},
		{"not TLS", partner(), func(_ *lab, k *link) {
			k.play(said("CGET / HTTP/1.0\r\n\r\n", "SHTTP/1.0 200\r\n\r\nx"), strategies["gso"])
		}, "not_tls", "partner", tlsrules.Applies, nil, 0},
		{"undecided", partner(), func(l *lab, k *link) {
			k.open()
			k.data(original, 0, ecdhe[0].bytes[:50])
			l.now += 31 * second
			l.e.Tick(l.now)
		}, "undecided", "partner", tlsrules.Applies, []string{"4 > tls", "4 > time verdict", "4 > ours RST", "4 < ours RST"}, 4},
		{"unseen from its beginning", partner(), func(_ *lab, k *link) { k.data(original, 100, []byte("something")) }, "midstream", "partner", tlsrules.NotAsked, nil, 0},
	}
	for _, tt := range tests {
		for _, ended := range []bool{false, true} {
			l := newLab(t, config(), tt.policy)
			k := l.link4()
			tt.play(l, k)
			id := k.id(t)
			l.link4().play(ecdhe, strategies["mss"]) // uses what was given back
			if ended {
				l.e.Close(l.now)
			}
			s := k.why(t, id)
			what := fmt.Sprintf("%s, ended %v", tt.name, ended)
			if s.Live == ended || s.Original != k.ends[0].addr || s.Decision.Reason.String() != tt.reason {
				t.Errorf("%s: live %v, from %s, %s", what, s.Live, s.Original, s.Decision.Reason)
			}
			if refused := s.Decision.Action.Refuses(); refused != (s.Detail != "") || tt.packet != 0 && s.Packet != tt.packet {
				t.Errorf("%s: at packet %d: %s", what, s.Packet, s.Detail)
			}
			if s.Facts == nil {
				t.Fatalf("%s: no facts", what)
			}
			asked := s.Asked()
			if a := asked[0]; a.Rule != tt.rule || a.Says != tt.says {
				t.Errorf("%s: rule %q says %s, want %q", what, a.Rule, a.Says, tt.says)
			}
			if tt.want != nil {
				wantTimeline(t, what, &s, append(slices.Clone(opened), tt.want...)...)
			}
			if ended && s.End != conntrack.EndShutdown || !ended && s.End != 0 {
				t.Errorf("%s: ended by %s", what, s.End)
			}
		}
	}
}

func alerting() *tlsrules.Policy {
	return policy(acceptAll, tlsrules.Rule{
		Name: "partner", Require: []tlsrules.Condition{condition("cipher", partnerSuites...)}, Otherwise: tlsrules.AlertOf(40),
	})
}

// TestStoryFactsStay: what a story says does not change when the memory that
// reading took serves another connection.
func TestStoryFactsStay(t *testing.T) {
	l := newLab(t, config(), partner())
	k := l.link4()
	k.play(recording(t, "tls12 rsa"), strategies["mss"])
	id := k.id(t)
	before := k.why(t, id)
	told := fmt.Sprint(before.Facts.Told(), before.Asked())
	for _, kind := range kinds {
		l.link4().play(recording(t, kind), strategies["shuffled"])
	}
	now := k.why(t, id)
	if again := fmt.Sprint(now.Facts.Told(), now.Asked()); again != told {
		t.Errorf("got\n%s\nbefore\n%s", again, told)
	}
	if again := fmt.Sprint(before.Facts.Told(), before.Asked()); again != told {
		t.Errorf("an answer that was given changed: got\n%s\nbefore\n%s", again, told)
	}
	if l.e.buffers.Held() != 0 {
		t.Errorf("stories hold %d bytes of buffers", l.e.buffers.Held())
	}
}

// TestStoryRing: the latest connections have a story, refused ones for longer, and
// no more memory is taken than was said.
func TestStoryRing(t *testing.T) {
	cfg := config()
	cfg.Limits.Stories, cfg.FirstID, cfg.StepID = 100, 3, 7
	l := newLab(t, cfg, partner())
	good, bad := recording(t, "tls13"), recording(t, "tls12 rsa")
	var ids, refused []uint64
	for n := range 400 {
		k := l.link4()
		turns := good
		if n%4 == 0 {
			turns = bad
		}
		k.play(turns, strategies["gso"])
		ids = append(ids, k.id(t))
		if n%4 == 0 {
			refused = append(refused, k.id(t))
		}
	}
	var s Story
	for n, id := range ids {
		has, want := l.e.why(id, &s), n >= len(ids)-16
		if n%4 == 0 {
			want = slices.Index(refused, id) >= len(refused)-84-4 // 4 are among the latest
		}
		if has != want || has && s.ID != id {
			t.Errorf("connection %d: has a story %v, want %v", n, has, want)
		}
		if has && n%4 == 0 && (s.Facts == nil || s.Decision.Reason.String() != "require.cipher" || !s.Live) {
			t.Errorf("connection %d: %v, facts %v, live %v", n, s.Decision, s.Facts != nil, s.Live)
		}
	}
	total := 0
	l.tales(func(s *tale) { total++ })
	if total != 100 || len(l.e.stories.places) != 84 {
		t.Errorf("%d stories, %d found by number", total, len(l.e.stories.places))
	}
	l.e.Close(l.now)
	l.tales(func(s *tale) {
		if s.conn != nil {
			t.Errorf("the story of connection %d points to one that is gone", s.id)
		}
	})
	if l.e.why(3+7*1_000_000, &s) || l.e.why(0, &s) || l.e.why(4, &s) {
		t.Errorf("a number that no connection has has a story")
	}
}

// TestStoryObservedOutlives: a connection that would have been refused moves to the
// others and lives on; nothing points to it when it ends.
func TestStoryObservedOutlives(t *testing.T) {
	cfg := config()
	cfg.Limits.Stories = 8
	cfg.Default.Observe = true
	p := policy(tlsrules.Defaults{Action: tlsrules.Accept, NotTLS: tlsrules.Accept, Observe: true}, tlsrules.Rule{
		Name: "partner", Require: []tlsrules.Condition{condition("cipher", partnerSuites...)}, Otherwise: tlsrules.Reset,
	})
	l := newLab(t, cfg, p)
	k := l.link4()
	k.play(recording(t, "tls12 rsa"), strategies["gso"])
	id := k.id(t)
	for range 5 {
		l.link4().open()
	}
	if s := k.why(t, id); !s.Live || !s.Decision.Observed || s.Verdict() != "accept" {
		t.Errorf("live %v, %+v", s.Live, s.Decision)
	}
	l.e.Close(l.now)
	if s := k.why(t, id); s.Live || s.End != conntrack.EndShutdown || s.Detail == "" {
		t.Errorf("live %v, ended by %s: %s", s.Live, s.End, s.Detail)
	}
}

// TestStoryReopened: ports that serve another connection have two stories.
func TestStoryReopened(t *testing.T) {
	l := newLab(t, config(), partner())
	k := l.link4()
	k.play(recording(t, "tls12 rsa"), strategies["gso"])
	first := k.id(t)
	k.again(700000, 900000)
	k.play(recording(t, "tls12 ecdhe"), strategies["gso"])
	second := k.id(t)
	if s := k.why(t, first); s.Live || s.End != conntrack.EndReopened || s.Decision.Reason.String() != "require.cipher" {
		t.Errorf("the first: live %v, %s, %s", s.Live, s.End, s.Decision.Reason)
	}
	if s := k.why(t, second); !s.Live || s.Decision.Reason.String() != "rule" || s.Moments[0].Flags != packet.SYN|packet.ACK {
		t.Errorf("the second: live %v, %+v", s.Live, s.Decision)
	}
	running := engineAnswers(t, l)
	ids, next, err := l.e.Ended(context.Background(), 0, k.ends[1].addr, k.ends[0].addr, nil)
	if err != nil || next != 1 || !slices.Equal(ids, []uint64{first}) {
		t.Errorf("ended between the two: %v, %d, %v", ids, next, err)
	}
	if _, next, _ = l.e.Ended(context.Background(), 1, k.ends[1].addr, k.ends[0].addr, nil); next != -1 {
		t.Errorf("goes on at %d", next)
	}
	running()
}

// engineAnswers lets the engine answer questions; the function returned ends that.
func engineAnswers(t *testing.T, l *lab) func() {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				l.e.answerOne(func() int64 { return l.now })
				runtime.Gosched()
			}
		}
	}()
	return func() { close(stop); <-done }
}

// TestStoryBetweenPackets: what is sent between packets is of its own connection,
// and not told of the one whose packet came last.
func TestStoryBetweenPackets(t *testing.T) {
	l := newLab(t, config(), alerting())
	k := l.link4()
	k.losing = 100
	k.play(recording(t, "tls12 rsa"), strategies["gso"])
	other := l.link4()
	other.open() // the last packet says nothing new
	before := other.why(t, other.id(t))
	for range 5 {
		l.now += second
		l.e.Tick(l.now)
	}
	if now := other.why(t, other.id(t)); timeline(&now) != timeline(&before) {
		t.Errorf("got\n%s\nbefore\n%s", timeline(&now), timeline(&before))
	}
	if s := k.why(t, k.id(t)); strings.Count(timeline(&s), "ours FIN") < 2 {
		t.Errorf("alerts that were sent again are not told:\n%s", timeline(&s))
	}
}

// TestStoryOfMany: of a connection of any length the first moments are told, the
// last, and how many there were between.
func TestStoryOfMany(t *testing.T) {
	l := newLab(t, config(), named("api.bank.example"))
	_, evil := hellos(t)
	k := l.link4()
	k.open()
	k.unkernelled = true
	for range 1000 {
		k.data(original, 0, evil) // refused, and sent again and again
	}
	s := k.why(t, k.id(t))
	if len(s.Moments) != firstMoments+lastMoments || s.First != firstMoments || s.Omitted < 1000 {
		t.Fatalf("%d moments, the first %d, %d not told", len(s.Moments), s.First, s.Omitted)
	}
	if last := s.Moments[len(s.Moments)-1]; last.Packet < 1000 || last.Time > l.now || l.now-last.Time > 1000 {
		t.Errorf("the last: %+v", last)
	}
	for i := 1; i < len(s.Moments); i++ {
		if s.Moments[i].Time < s.Moments[i-1].Time || s.Moments[i].Packet < s.Moments[i-1].Packet {
			t.Errorf("moment %d is before the one before it", i)
		}
	}
}

// TestStoryNone: without stories everything is as it was.
func TestStoryNone(t *testing.T) {
	cfg := config()
	cfg.Limits.Stories = -1
	l := newLab(t, cfg, partner())
	k := l.link4()
	turns := recording(t, "tls12 ecdhe")
	k.play(turns, strategies["mss"])
	checkPassed(t, "without stories", l, k, turns)
	var s Story
	if l.e.why(k.id(t), &s) || len(l.e.stories.slabs) != 0 {
		t.Errorf("has a story")
	}
}

// deaf hears nothing of what the lab's ends, which are honest, find odd.
type deaf struct{ testing.TB }

func (deaf) Errorf(string, ...any) {}

// TestStoryOddments: whatever packets come, questions are answered and harm nothing.
func TestStoryOddments(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	cfg := config()
	cfg.Limits.Stories, cfg.Limits.Connections = 20, 30
	l := newLab(deaf{t}, cfg, alerting())
	var links []*link
	for range 3000 {
		if len(links) == 0 || r.IntN(5) == 0 {
			links = append(links, l.link4())
		}
		k := links[r.IntN(len(links))]
		turns := recording(t, kinds[r.IntN(len(kinds))])
		switch r.IntN(6) {
		case 0:
			k.open()
		case 1:
			k.raw(k.segment(conntrack.Direction(r.IntN(2)), r.IntN(100), nil, packet.Flags(r.IntN(64))))
		case 2:
			k.again(r.Uint32(), r.Uint32())
		case 3:
			l.now += r.Int64N(40) * second
			l.e.Tick(l.now)
		default:
			k.talk(turns[:1+r.IntN(len(turns))], strategies["mss"])
		}
		var s Story
		if l.e.why(uint64(r.IntN(400)), &s) {
			timeline(&s)
			if s.Facts != nil {
				s.Facts.Told()
				s.Asked()
			}
		}
	}
	l.e.Close(l.now)
	l.tales(func(s *tale) {
		if s.conn != nil || s.ins != nil && s.ins.tls.Held() != 0 {
			t.Errorf("the story of connection %d: %v, held %v", s.id, s.conn, s.ins != nil)
		}
	})
}

// TestStoryMemory: what all stories of an engine take together, where all that can
// be is of refused connections.
func TestStoryMemory(t *testing.T) {
	const stories, limit = 1024, 2560 // bytes each
	heap := func() int {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	packets := script(t, policy(acceptAll), recording(t, "tls12 rsa"), strategies["gso"])
	measure := func(n int) int {
		before := heap()
		cfg := config()
		cfg.Limits.Stories = n
		e := New(cfg, partner())
		now := second
		for port := range uint16(2 * stories) {
			for _, b := range packets {
				setPort(b, 10000+port)
				now += 1000
				e.Packet(&nfq.Packet{Payload: b}, now)
			}
			now += 300 * second
			e.Tick(now)
		}
		defer runtime.KeepAlive(e)
		return heap() - before
	}
	each := (measure(stories) - measure(-1)) / stories
	t.Logf("%d bytes a story", each)
	if each > limit {
		t.Errorf("%d bytes a story, want at most %d", each, limit)
	}
}

// TestStoryAfterReload: of a connection that another policy has judged it is told
// what the one in force says, which may have fewer rules, or more.
func TestStoryAfterReload(t *testing.T) {
	rules := []tlsrules.Rule{
		{Name: "elsewhere", Match: []tlsrules.Condition{condition("port", "25")}, Action: tlsrules.Reset, HasAction: true},
		{Name: "partner", Require: []tlsrules.Condition{condition("cipher", partnerSuites...)}, Otherwise: tlsrules.Reset},
	}
	l := newLab(t, config(), policy(acceptAll, rules...))
	bad, good := l.link4(), l.link4()
	bad.play(recording(t, "tls12 rsa"), strategies["gso"])
	good.play(recording(t, "tls12 ecdhe"), strategies["gso"])
	for _, p := range []*tlsrules.Policy{policy(acceptAll), named("api.bank.example"), policy(acceptAll, rules...)} {
		l.now += second
		l.e.now = l.now
		l.e.adopt(l.e.cfg, p)
		for _, k := range []*link{bad, good} {
			s := k.why(t, k.id(t))
			if asked := s.Asked(); !s.Anew || len(asked) != p.Len() || p.Len() > 0 && asked[p.Len()-1].Says != tlsrules.Applies {
				t.Errorf("%d rules: anew %v, %+v", p.Len(), s.Anew, asked)
			}
		}
	}
	fresh := l.link4()
	fresh.play(recording(t, "tls12 ecdhe"), strategies["gso"])
	if s := fresh.why(t, fresh.id(t)); s.Anew {
		t.Errorf("a new connection was judged by another policy")
	}
}

// TestStoryRemembered: of a connection whose facts are not kept it is told what is
// remembered, with the conditions that this does not answer.
func TestStoryRemembered(t *testing.T) {
	p := policy(acceptAll, tlsrules.Rule{
		Name: "groups", Match: []tlsrules.Condition{condition("sni", "api.bank.example")},
		Require: []tlsrules.Condition{condition("offers_group", "x25519")}, Otherwise: tlsrules.Reset,
	})
	l := newLab(t, config(), p)
	k := l.link4()
	k.play(recording(t, "tls13"), strategies["gso"])
	for range keptPassing + 1 {
		l.link4().play(recording(t, "tls13"), strategies["gso"])
	}
	s := k.why(t, k.id(t))
	if !s.Anew || s.Facts == nil || string(s.Facts.Client.ServerName) != "api.bank.example" {
		t.Fatalf("anew %v, %+v", s.Anew, s.Facts)
	}
	a := s.Asked()[0]
	if a.Says != tlsrules.Applies || a.Match[0].Answer != tlsrules.True || a.Require[0].Answer != tlsrules.NotYet || !strings.Contains(a.Require[0].Seen, "not remembered") {
		t.Errorf("%+v", a)
	}
	for _, f := range s.Facts.Told() {
		if strings.Contains(f.Text, "offered no") {
			t.Errorf("told of what is not remembered: %s", f.Text)
		}
	}
}
