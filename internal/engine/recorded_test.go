package engine

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/tlswire"
)

// taken is one packet of a capture.
type taken struct {
	segment
	dir  conntrack.Direction
	held int // bytes of its payload that the capture has
}

// story is a conversation as a capture has it, every packet acknowledged, with
// its three packets of TCP's handshake and its two FINs.
func story(turns []turn, mss int) (all []taken) {
	k := (&lab{}).link4()
	put := func(d conntrack.Direction, s segment) { all = append(all, taken{s, d, len(s.payload)}) }
	start := func(d conntrack.Direction, f packet.Flags) {
		s := k.segment(d, -1, nil, f)
		s.options = []byte{2, 4, 5, 180, 1, 3, 3, 7}
		put(d, s)
	}
	start(original, packet.SYN)
	start(reply, packet.SYN|packet.ACK)
	put(original, k.segment(original, 0, nil, packet.ACK))
	for _, t := range turns {
		to := k.ends[t.dir.Other()]
		for _, p := range cut(len(t.bytes), mss) {
			put(t.dir, k.segment(t.dir, len(to.got), t.bytes[p.from:p.to], packet.ACK))
			to.got = append(to.got, t.bytes[p.from:p.to]...)
			put(t.dir.Other(), k.segment(t.dir.Other(), len(k.ends[t.dir].got), nil, packet.ACK))
		}
	}
	for d := original; d <= reply; d++ {
		put(d, k.segment(d, len(k.ends[d.Other()].got), nil, packet.FIN|packet.ACK))
	}
	return all
}

// heard is what a replay says of a connection.
type heard struct {
	name      string // of the tls event
	version   uint16
	cipher    uint16
	phase     tlswire.Phase
	records   [2]uint32
	cut       uint64
	missing   uint64
	partial   bool
	code      string
	verdict   string
	flows     int
	bytes     [2]uint64
	midstream bool
}

type teller struct{ heard }

func (s *teller) TLS(r *Report) {
	s.name = string(r.TLS.ClientHello.ServerName)
	s.version, s.cipher = r.TLS.Version, r.TLS.ServerHello.CipherSuite
}
func (s *teller) Drop(r *Report) { s.verdict = r.Decision.Reason.String() }
func (s *teller) Flow(r *Report) {
	s.flows++
	s.phase, s.cut, s.missing, s.partial, s.code = r.Phase, r.Cut, r.Missing, r.Partial, r.Diagnosis.Code
	s.bytes, s.midstream = r.Bytes, r.Midstream
	for side := range s.records {
		for _, n := range r.Records[side] {
			s.records[side] += n
		}
	}
}

// replayed runs packets through an engine that is told they were recorded.
func replayed(t testing.TB, p *tlsrules.Policy, all []taken) heard {
	t.Helper()
	cfg := config()
	cfg.Recorded, cfg.Offload, cfg.Marks = true, false, nfq.Marks{}
	s := &teller{}
	cfg.Sink = s
	e := New(cfg, p)
	now := 1_700_000_000 * second
	for _, k := range all {
		raw := k.append(nil)
		lost := len(k.payload) - k.held
		q := nfq.Packet{Payload: raw[:len(raw)-lost]}
		if lost > 0 {
			q.CapLen = uint32(len(raw))
		}
		now += 1_000_000
		e.Packet(&q, now)
		if now%(100*1_000_000) == 0 {
			e.Tick(now)
		}
	}
	e.Close(now)
	if used := e.budget.Used(); used != 0 {
		t.Errorf("%d bytes held at the end", used)
	}
	if n := e.Stats().Bugs; n != 0 {
		t.Errorf("%d packets panicked: %s", n, e.Bug())
	}
	return s.heard
}

// inspectAll reads connections to their end.
func inspectAll() *tlsrules.Policy {
	return only("handshake", "change_cipher_spec", "alert", "application_data", "early_data", "heartbeat")
}

// TestRecordedWhole: nothing is missing, nothing is said to be.
func TestRecordedWhole(t *testing.T) {
	for _, kind := range []string{"tls12 ecdhe", "tls13", "tls12 resumed", "tls13 post-quantum"} {
		got := replayed(t, inspectAll(), story(recording(t, kind), 1460))
		if got.name != "api.bank.example" || got.code != "ok" || got.partial || got.missing+got.cut > 0 || got.phase < tlswire.PhaseHandshakeDone {
			t.Errorf("%s: %+v", kind, got)
		}
	}
}

// TestSnapLength: what a capture holds of each packet decides what is known, and
// what is known is the same as of the whole.
func TestSnapLength(t *testing.T) {
	for _, kind := range []string{"tls12 ecdhe", "tls13", "tls13 post-quantum"} {
		for _, mss := range []int{1460, 60000} {
			whole := story(recording(t, kind), mss)
			want := replayed(t, inspectAll(), whole)
			for snap := 0; snap < 4000; snap += 1 + snap/16 {
				all := slices.Clone(whole)
				cut := uint64(0)
				for i := range all {
					if all[i].held > snap {
						all[i].held = snap
						cut++
					}
				}
				got := replayed(t, inspectAll(), all)
				what := fmt.Sprintf("%s, segments of %d, %d held", kind, mss, snap)
				if got.cut != cut || got.bytes != want.bytes || got.flows != 1 || got.midstream || got.verdict != "" {
					t.Errorf("%s: %+v, want %d cut, bytes %v", what, got, cut, want.bytes)
				}
				if (got.missing > 0) != (cut > 0) || (got.code == "ok") != (cut == 0) {
					t.Errorf("%s: %d missing, %d cut, diagnosis %s", what, got.missing, cut, got.code)
				}
				if got.name != "" && got.name != want.name || got.version != 0 && got.version != want.version || got.cipher != 0 && got.cipher != want.cipher {
					t.Errorf("%s: invented %+v", what, got)
				}
				first := len(recording(t, kind)[0].bytes)
				if hello := min(first, mss) <= snap; hello != (got.name != "") && mss > first {
					t.Errorf("%s: the hello of %d bytes: name %q", what, first, got.name)
				}
			}
		}
	}
}

// TestCutInData: a packet cut deep in the data spoils nothing of what came before,
// and one record after another goes on where the hole lies inside of one.
func TestCutInData(t *testing.T) {
	record := append([]byte{23, 3, 3, 0x10, 0}, make([]byte, 4096)...)
	data := bytes.Repeat(record, 20)
	turns := append(slices.Clone(recording(t, "tls12 ecdhe")[:4]), turn{reply, data})
	whole := replayed(t, inspectAll(), story(turns, 1000))
	for i := range story(turns, 1000) {
		all := story(turns, 1000)
		if all[i].dir != reply || len(all[i].payload) < 1000 || i < len(all)-2*len(data)/1000 {
			continue
		}
		all[i].held = 300
		got := replayed(t, inspectAll(), all)
		whole.cut, whole.missing, whole.code = 1, 700, "capture_partial"
		at := len(data) - (len(all)-2-i)/2*1000 // about where it lies
		want := whole
		if got.partial { // the hole holds the head of a record
			want.partial, want.records = true, got.records
			if got.records[1] > whole.records[1] {
				t.Errorf("packet %d: %v records", i, got.records)
			}
		}
		if diff := cmp.Diff(got, want, cmp.AllowUnexported(heard{})); diff != "" {
			t.Errorf("packet %d, at %d: got-, want+\n%s", i, at, diff)
		}
	}
}

// TestLostPackets: any one packet that the capture lacks costs what it said, and
// nothing is refused, invented, or lost.
func TestLostPackets(t *testing.T) {
	for _, kind := range []string{"tls12 ecdhe", "tls13", "tls12 resumed"} {
		for _, mss := range []int{300, 1460} {
			whole := story(recording(t, kind), mss)
			want := replayed(t, inspectAll(), whole)
			for i := range whole {
				got := replayed(t, inspectAll(), slices.Delete(slices.Clone(whole), i, i+1))
				what := fmt.Sprintf("%s, segments of %d, without packet %d", kind, mss, i)
				lost := len(whole[i].payload)
				if got.flows != 1 || got.verdict != "" || got.name != "" && got.name != want.name || got.cipher != 0 && got.cipher != want.cipher {
					t.Errorf("%s: %+v", what, got)
				}
				if lost == 0 && i > 0 && i < len(whole)-2 && (got.name != want.name || got.cipher != want.cipher || got.phase != want.phase || got.code != "ok") {
					t.Errorf("%s, which is empty: %+v", what, got)
				}
				if lost > 0 && i < len(whole)-4 && (got.missing != uint64(lost) || got.code == "ok" || got.code == "tls_incomplete") {
					t.Errorf("%s: %d missing of %d, %s", what, got.missing, lost, got.code)
				}
				if hello := lost > 0 && i == 3; !hello && mss == 1460 && got.name != want.name {
					t.Errorf("%s: no name", what)
				}
			}
		}
	}
}

// TestOneDirection: captures of one direction alone.
func TestOneDirection(t *testing.T) {
	for _, kind := range []string{"tls12 ecdhe", "tls13"} {
		for d := original; d <= reply; d++ {
			all := slices.DeleteFunc(story(recording(t, kind), 500), func(k taken) bool { return k.dir != d })
			got := replayed(t, inspectAll(), all)
			if got.flows != 1 || got.verdict != "" || (got.name != "") != (d == original) || got.records[d] == 0 || got.records[1-d] != 0 {
				t.Errorf("%s, %s: %+v", kind, d, got)
			}
			if d == reply && got.phase < tlswire.PhaseServerHello {
				t.Errorf("%s: the ServerHello was not read: %+v", kind, got)
			}
		}
	}
}

// TestReordered: the packets of one direction stand behind those of the other, as
// queues of a card are written one after the other.
func TestReordered(t *testing.T) {
	for _, kind := range []string{"tls12 ecdhe", "tls13", "tls12 resumed"} {
		whole := story(recording(t, kind), 500)
		want := replayed(t, inspectAll(), whole)
		for d := original; d <= reply; d++ {
			for _, far := range []int{1, 2, 5, 20} {
				all := slices.Clone(whole)
				for i := 0; i+far < len(all); i += far + 1 { // packets of d go to the end of a window
					w := all[i : i+far+1]
					slices.SortStableFunc(w, func(a, b taken) int { return int(a.dir^d) - int(b.dir^d) })
				}
				got := replayed(t, inspectAll(), all)
				got.midstream = want.midstream // where not even the SYN comes first
				if got.code == "midstream" {
					got.code = want.code
				}
				if diff := cmp.Diff(got, want, cmp.AllowUnexported(heard{})); diff != "" {
					t.Errorf("%s, %s first, over %d: got-, want+\n%s", kind, d, far, diff)
				}
			}
		}
	}
}

// TestRecordedPortsAgain: in one direction nothing proves a new connection on old ports.
func TestRecordedPortsAgain(t *testing.T) {
	first := slices.DeleteFunc(story(recording(t, "tls12 ecdhe"), 500), func(k taken) bool { return k.dir != original })
	second := slices.Clone(first)
	for i := range second {
		second[i].seq += 1 << 29
	}
	if got := replayed(t, inspectAll(), append(first, second...)); got.flows != 2 || got.verdict != "" {
		t.Errorf("%+v", got)
	}
}

// FuzzRecorded damages honest conversations as captures do: packets are missing,
// cut, twice there, or in another order. Whatever comes, nothing is refused, and
// no fact is told that the whole does not tell.
func FuzzRecorded(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9})
	f.Add([]byte{64, 0, 65, 9, 128, 3, 192, 5, 200, 255, 1, 1, 90, 30, 130, 77})
	var wholes [][]taken
	var wants []heard
	for _, kind := range []string{"tls12 ecdhe", "tls13", "tls13 retry", "tls12 resumed"} {
		for _, mss := range []int{1460, 200} {
			wholes = append(wholes, story(recording(f, kind), mss))
			wants = append(wants, replayed(f, inspectAll(), wholes[len(wholes)-1]))
		}
	}
	f.Fuzz(func(t *testing.T, ops []byte) {
		if len(ops) == 0 {
			return
		}
		n := int(ops[0]) % len(wholes)
		all, want := slices.Clone(wholes[n]), wants[n]
		for ops = ops[1:]; len(ops) >= 2 && len(all) > 1; ops = ops[2:] {
			i := int(ops[1]) % len(all)
			switch ops[0] >> 6 {
			case 0:
				all = slices.Delete(all, i, i+1)
			case 1:
				all[i].held = min(all[i].held, int(ops[0]&63)*8)
			case 2:
				all = slices.Insert(all, (i+int(ops[0]&15))%len(all), all[i])
			case 3:
				k := (i + int(ops[0]&7)) % len(all)
				all[i], all[k] = all[k], all[i]
			}
		}
		got := replayed(t, inspectAll(), all)
		if got.verdict != "" {
			t.Errorf("refused: %+v", got)
		}
		if got.name != "" && got.name != want.name || got.version != 0 && got.version != want.version || got.cipher != 0 && got.cipher != want.cipher {
			t.Errorf("invented: %+v", got)
		}
	})
}

func TestPartialText(t *testing.T) {
	for _, tt := range []struct {
		r    Report
		want string
	}{
		{Report{Missing: 7, Cut: 2}, "nothing was seen to go wrong, but the capture lacks at least 7 bytes of it, and 2 of its packets are cut short"},
		{Report{Missing: 7, Partial: true}, "what came of it is not known: the capture lacks at least 7 bytes of it"},
		{Report{Cut: 2, Partial: true}, "what came of it is not known: 2 of its packets are cut short in the capture"},
		{Report{Partial: true}, "what came of it is not known: not all of it could be read"},
	} {
		if got := partialText(&tt.r); got != tt.want {
			t.Errorf("%+v: got %q, want %q", tt.r, got, tt.want)
		}
	}
}

// TestLostBeforeTLS: what a server said in clear is missing, its agreement to TLS
// too, and the TLS that follows is neither refused nor lost.
func TestLostBeforeTLS(t *testing.T) {
	clear := []turn{
		{reply, []byte("220 mail.example ESMTP\r\n")}, {original, []byte("EHLO client.example\r\n")},
		{reply, []byte("250-mail.example\r\n250 STARTTLS\r\n")}, {original, []byte("STARTTLS\r\n")}, {reply, []byte("220 go ahead\r\n")},
	}
	whole := story(append(clear, recording(t, "tls12 ecdhe")...), 1460)
	want := replayed(t, inspectAll(), whole)
	if want.name == "" {
		t.Fatalf("the whole has no name: %+v", want)
	}
	for i := range whole {
		for _, held := range []int{0, 10} {
			all := slices.Clone(whole)
			if held == 0 {
				all = slices.Delete(all, i, i+1)
			} else {
				all[i].held = min(held, all[i].held)
			}
			got := replayed(t, inspectAll(), all)
			if got.verdict != "" || got.name != "" && got.name != want.name {
				t.Errorf("packet %d, %d bytes held: %+v", i, held, got)
			}
			// Without its first line nobody knows what the server speaks.
			if whole[i].dir == reply && got.name == "" && i > 3 {
				t.Errorf("packet %d, %d bytes held: no name", i, held)
			}
		}
	}
}
