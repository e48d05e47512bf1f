package conntrack

import (
	"testing"

	"tlsgate/conntrack/packet"
	"tlsgate/conntrack/seqnum"
)

// numbers are relative to the initial numbers.
type numbers struct {
	ISS, Acked, Sent [2]seqnum.Value
	HasISS           [2]bool
	Midstream        bool
}

func numbersOf(c *Conn[int], isn [2]seqnum.Value) (n numbers) {
	for d := Original; d <= Reply; d++ {
		rel := func(v seqnum.Value) seqnum.Value { return v - isn[d] }
		if c.Addr(Original) != client {
			rel = func(v seqnum.Value) seqnum.Value { return v - isn[d.Other()] }
		}
		if c.sides[d] == (side{}) {
			continue
		}
		n.HasISS[d], n.Acked[d], n.Sent[d] = c.HasISS(d), rel(c.Acked(d)), rel(c.Sent(d))
		if n.HasISS[d] {
			n.ISS[d] = rel(c.ISS(d))
		}
	}
	n.Midstream = c.Midstream
	return n
}

func TestNumbers(t *testing.T) {
	type pair = [2]seqnum.Value
	both := [2]bool{true, true}
	tests := []struct {
		name, script string
		want         numbers
	}{
		{"syn", "> S 0 0 : opened", numbers{Sent: pair{1, 0}, HasISS: [2]bool{true, false}}},
		{"syn_ack_is_not_certain", "> S 0 0 : opened\n< SA 0 1 : known",
			numbers{Acked: pair{1, 0}, Sent: pair{1, 1}, HasISS: [2]bool{true, false}}},
		{"established", opening, numbers{Acked: pair{1, 1}, Sent: pair{1, 1}, HasISS: both}},
		{"second_syn_ack", "> S 0 0 : opened\n< SA 0 1 : known\n< SA 9000 1 : known\n> A 1 9001 : known",
			numbers{ISS: pair{0, 9000}, Acked: pair{1, 9001}, Sent: pair{1, 9001}, HasISS: both}},
		{"reopened", closed + "> S 10000 0 : known\n< SA 20000 10001 : reopened\n> A 10001 20001 : known",
			numbers{ISS: pair{10000, 20000}, Acked: pair{10001, 20001}, Sent: pair{10001, 20001}, HasISS: both}},
		{"reopened_the_other_way", closed + "< S 10000 0 : known\n> SA 20000 10001 : reopened",
			numbers{ISS: pair{10000, 0}, Acked: pair{10001, 20000}, Sent: pair{10001, 20001}, HasISS: [2]bool{true, false}}},
		{"simultaneous_open", "> S 0 0 : opened\n< S 0 0 : known\n> SA 0 1 : known\n< SA 0 1 : known",
			numbers{Acked: pair{1, 1}, Sent: pair{1, 1}, HasISS: both}},
		{"invalid_changes_nothing", opening + "> A 2 2 len=9 : bad_ack\n> A 0x80000000 1 len=9 : out_of_window\n> R 90000000 0 : bad_reset",
			numbers{Acked: pair{1, 1}, Sent: pair{1, 1}, HasISS: both}},
		{"old_acks_change_nothing", opening + "> A 1 1 len=500 : known\n< A 1 501 : known\n< A 1 101 : known",
			numbers{Acked: pair{501, 1}, Sent: pair{501, 1}, HasISS: both}},
		{"sent_after_a_gap", opening + "> A 1001 1 len=500 : known\n> A 1 1 len=500 : known",
			numbers{Acked: pair{1, 1}, Sent: pair{1501, 1}, HasISS: both}},
		// Once a beginning of the sequence space that looks old came from beyond it.
		{"far_beyond_after_reaching_over_the_edge", plain + "> A 1001 1 len=60000 : known\n> A -2147482100 1 len=9 : out_of_window",
			numbers{Acked: pair{1, 1}, Sent: pair{61001, 1}, HasISS: both}},
		{"midstream", "> A 1 1 len=500 : midstream",
			numbers{Acked: pair{1, 1}, Sent: pair{501, 1}, HasISS: [2]bool{true, false}, Midstream: true}},
		{"midstream_first_byte_is_the_first_seen", "> A 1 1 len=500 : midstream\n< A 301 501 len=100 : known",
			numbers{ISS: pair{0, 300}, Acked: pair{501, 1}, Sent: pair{501, 401}, HasISS: both, Midstream: true}},
		{"midstream_acknowledged_zero", "> A 1 0 len=500 : midstream\n< A -200 501 len=100 : known",
			numbers{ISS: pair{0, 1<<32 - 201}, Acked: pair{501, 0}, Sent: pair{501, 0}, HasISS: both, Midstream: true}},
		{"midstream_syn_ack", "< SA 0 1 : midstream",
			numbers{Acked: pair{1, 0}, Sent: pair{1, 1}, HasISS: [2]bool{true, false}, Midstream: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, isn := range isns {
				_, c := play(t, tt.script, isn)
				if got := numbersOf(c, isn); got != tt.want {
					t.Fatalf("ISNs %#x:\ngot  %+v\nwant %+v", isn, got, tt.want)
				}
			}
		})
	}
}

// TestGigabytes sends more than the sequence space, most of it one way, and then
// once more what only looks new by then.
func TestGigabytes(t *testing.T) {
	for _, isn := range isns {
		tab, c := play(t, `
			> S 0 0 ws=14 : opened
			< SA 0 1 ws=14 : known
			> A 1 1 : known`, isn)
		track := func(p packet.Parsed, want Outcome) {
			t.Helper()
			if r := tab.Track(&p, epoch+second); r.Outcome != want {
				t.Fatalf("ISNs %#x, %d sent: got %s, want %v", isn, c.Sent(Reply)-isn[1], verdict(r), want.name())
			}
		}
		at, mine, first := isn[1].Add(1), isn[0].Add(1), seg(server, client, packet.SYN|packet.ACK, isn[1], isn[0].Add(1), 0)
		for range 5 << 30 / 60000 / 4096 {
			for range 4096 {
				track(seg(server, client, packet.ACK, at, mine, 60000), Known)
				at = at.Add(60000)
				track(seg(client, server, packet.ACK, mine, at, 0), Known)
			}
			track(first, Known)
			track(seg(server, client, packet.ACK, at.Sub(60000), mine, 60000), Known)
			track(seg(server, client, packet.ACK, at.Sub(1<<30+1), mine, 10), Invalid)
			track(seg(server, client, packet.ACK, at.Add(1<<30), mine, 10), Invalid)
			track(seg(client, server, packet.ACK, mine, at.Add(1), 0), Invalid)
			if c.Acked(Reply) != at || c.Sent(Reply) != at {
				t.Fatalf("ISNs %#x: acked %d, sent %d, want %d", isn, c.Acked(Reply), c.Sent(Reply), at)
			}
		}
	}
}

// TestOneWayMidstream sees one direction only of a connection that began unseen,
// over more than the sequence space.
func TestOneWayMidstream(t *testing.T) {
	tab, c := play(t, "> A 1 1 : midstream", isns[0])
	at := isns[0][0].Add(1)
	for range 6 << 30 / 120000 {
		p := seg(client, server, packet.ACK, at, isns[0][1].Add(1), 120000)
		if r := tab.Track(&p, epoch+second); r.Outcome != Known {
			t.Fatalf("at %d: got %s", at, verdict(r))
		}
		at = at.Add(120000)
	}
	p := seg(server, client, packet.ACK, isns[0][1].Add(1), at, 0)
	if r := tab.Track(&p, epoch+second); r.Outcome != Known || c.Acked(Original) != at {
		t.Fatalf("other direction: %s, acked %d, want %d", verdict(r), c.Acked(Original), at)
	}
}

func TestLoosened(t *testing.T) {
	const headers = 40
	tests := []struct {
		name, before, after string
		bytes               [2]uint64 // beyond what packets seen carry
		state               State
	}{
		{"ends_in_turn", opening, `
			> FA 5000001 3000001 : known FIN_WAIT
			< FA 3000001 5000002 : known LAST_ACK
			> A 5000002 3000002 : known TIME_WAIT`, [2]uint64{5000000, 3000000}, TimeWait},
		{"last_bytes_with_the_fin", opening, `
			> FA 5000001 1 len=500 : known FIN_WAIT
			< FA 1 5000502 : known LAST_ACK`, [2]uint64{5000000, 0}, LastAck},
		{"three_gigabytes", opening, `
			> FA 3000000001 1 : known FIN_WAIT
			< FA 1 3000000002 : known LAST_ACK`, [2]uint64{3000000000, 0}, LastAck},
		{"fin_again_and_late_data", opening, `
			> FA 5000001 1 : known FIN_WAIT
			> FA 5000001 1 : known FIN_WAIT
			> A 4000001 1 len=500 : known FIN_WAIT
			> FA 5000001 1 : known FIN_WAIT`, [2]uint64{5000000, 0}, FinWait},
		{"old_data_again", opening + "> A 1 1 len=500 : known", `
			> A 1 1 len=500 : known
			> A 501 1 len=500 : known
			> A 501 1 len=500 : known
			> FA 2001 1 : known`, [2]uint64{1000, 0}, FinWait},
		{"reset", opening, `
			< R 7000001 0 : known CLOSE
			< R 7000001 0 : known CLOSE`, [2]uint64{0, 7000000}, Close},
		{"reset_acknowledges", opening, `
			> RA 5000001 3000001 : known CLOSE`, [2]uint64{5000000, 3000000}, Close},
		{"fin_acknowledges", opening, `
			> FA 501 3000001 : known
			> R 502 0 : known CLOSE`, [2]uint64{500, 3000000}, Close},
		{"no_ack", opening, `
			> F 501 0 : no_ack
			> 0 501 0 : no_ack`, [2]uint64{}, Established},
		{"decided_by_its_syn", "> S 0 0 : opened", `
			< SA 0 1 : known ESTABLISHED
			> FA 5000001 3000001 : known FIN_WAIT`, [2]uint64{5000000, 3000000}, FinWait},
		{"reopened_is_not_loose", opening, `
			> FA 5000001 1 : known
			> S 90000000 0 ws=7 : known
			< SA 0 90000001 ws=7 : reopened
			> A 90000001 1 : known ESTABLISHED
			> A 190000001 1 len=9 : out_of_window`, [2]uint64{}, Established},
		{"midstream", "> A 1 1 : midstream", `
			< FA 3000001 1 : known FIN_WAIT
			> FA 5000001 3000002 : known LAST_ACK`, [2]uint64{5000000, 3000000}, LastAck},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, isn := range isns {
				tab, c := play(t, tt.before, isn)
				c.Loosen()
				c = replay(t, tab, tt.after, isn)
				got := c.Bytes
				got[Original] -= headers*c.Packets[Original] + uint64(c.Value) // only Original sends any here
				got[Reply] -= headers * c.Packets[Reply]
				if got != tt.bytes || c.State() != tt.state {
					t.Fatalf("ISNs %#x: got %d %v, want %d %v", isn, got, c.State(), tt.bytes, tt.state)
				}
			}
		})
	}
}
