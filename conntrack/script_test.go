package conntrack

import (
	"slices"
	"testing"
)

const (
	// opening ends with both windows at 60000<<7 from 1.
	opening = `
		> S 0 0 ws=7 : opened SYN_SENT
		< SA 0 1 ws=7 : known SYN_RECV
		> A 1 1 : known ESTABLISHED
	`
	plain = `
		> S 0 0 win=1000 : opened SYN_SENT
		< SA 0 1 win=1000 : known SYN_RECV
		> A 1 1 win=1000 : known ESTABLISHED
	`
	closed = opening + `
		> FA 1 1 : known FIN_WAIT
		< FA 1 2 : known LAST_ACK
		> A 2 2 : known TIME_WAIT
	`
)

func TestScripts(t *testing.T) {
	for _, tt := range slices.Concat(openingScripts, laterScripts) {
		t.Run(tt.name, func(t *testing.T) {
			for _, isn := range isns {
				play(t, tt.script, isn)
			}
		})
	}
}

type script struct{ name, script string }

var openingScripts = []script{
	// Handshake, by state and direction.
	{"handshake", opening},
	{"syn_again", `
		> S 0 0 : opened SYN_SENT
		> S 0 0 : known SYN_SENT
		< SA 0 1 : known SYN_RECV
		> S 0 0 : known SYN_RECV
		< SA 0 1 : known SYN_RECV
		> A 1 1 : known ESTABLISHED`},
	{"syn_ack_again_after_its_ack_was_lost", opening + `
		< SA 0 1 ws=7 : known ESTABLISHED
		> A 1 1 : known ESTABLISHED`},
	{"delayed_syn_and_syn_ack_are_no_new_connection", opening + `
		> PA 1 1 len=500 : known ESTABLISHED
		> S 0 0 ws=7 : known ESTABLISHED
		< SA 0 1 ws=7 : known ESTABLISHED
		> PA 501 1 len=500 : known ESTABLISHED`},
	{"ack_before_any_syn_ack", `
		> S 0 0 : opened
		> A 1 1 : bad_state SYN_SENT
		< A 1 1 : bad_state SYN_SENT
		> FA 1 1 : bad_state SYN_SENT`},
	{"syn_ack_from_the_client", `
		> S 0 0 : opened
		> SA 0 1 : bad_ack SYN_SENT`},
	{"ack_of_no_syn_ack", `
		> S 0 0 : opened
		< SA 0 1 : known
		> A 1 2 : bad_ack SYN_RECV
		> A 1 0 : bad_ack SYN_RECV
		> A 1 1 : known ESTABLISHED`},
	{"right_ack_outside_the_window_confirms_nothing", `
		> S 0 0 win=1000 : opened
		< SA 0 1 win=1000 : known
		> A 1003 1 : out_of_window SYN_RECV
		> A 1001 1 : known ESTABLISHED`},
	{"handshake_ends_with_data", `
		> S 0 0 : opened
		< SA 0 1 : known
		> PA 1 1 len=500 : known ESTABLISHED`},
	{"handshake_ends_with_fin", `
		> S 0 0 : opened
		< SA 0 1 : known
		> FA 1 1 len=500 : known FIN_WAIT`},
	{"syn_with_data", `
		> S 0 0 len=500 : opened
		< SA 0 501 : known
		> A 501 1 : known ESTABLISHED`},
	{"syn_with_data_not_taken", `
		> S 0 0 len=500 : opened
		> S 0 0 : known
		< SA 0 1 : known
		> A 1 1 len=500 : known ESTABLISHED`},
	{"syn_with_data_the_second_time", `
		> S 0 0 : opened
		> S 0 0 len=500 : known
		< SA 0 501 : known SYN_RECV`},
	{"syn_acknowledged_in_part", `
		> S 0 0 len=500 : opened
		< SA 0 100 : known SYN_RECV`},
	// Its stream begins behind a part of the data, or at the start of another.
	{"syn_ack_for_another_syn_within_the_data_of_the_first", `
		> S 0 0 len=500 : opened
		> S 99 0 : known
		< SA 0 100 : bad_ack SYN_SENT
		< SA 0 501 : bad_ack SYN_SENT
		< SA 0 1 : known SYN_RECV
		> A 1 1 : known ESTABLISHED`},
	{"the_same_while_the_first_is_answered", `
		> S 0 0 len=500 : opened
		> S 99 0 : known
		< SA 0 1 : known SYN_RECV
		< SA 0 100 : bad_ack SYN_RECV
		> A 1 1 : known ESTABLISHED`},
	{"fast_open_server_sends_and_ends_before_the_ack", `
		> S 0 0 len=500 ws=7 : opened
		< SA 0 501 ws=7 : known
		< FA 1 501 len=900 : known SYN_RECV
		> A 501 902 : known CLOSE_WAIT`},
	{"syn_ack_with_data", `
		> S 0 0 len=500 : opened
		< SA 0 501 len=100 : known
		> A 501 1 : known ESTABLISHED
		> A 501 101 : known ESTABLISHED`},
	{"second_syn_ack_number_taken", `
		> S 0 0 ws=7 : opened
		< SA 0 1 : known
		< SA 9000 1 ws=7 : known SYN_RECV
		> A 1 9001 : known ESTABLISHED
		< A 9001 1 : known
		> A 3000000 9001 len=9 : known`},
	{"second_syn_ack_number_taken_though_it_lies_in_what_was_sent", `
		> S 0 0 : opened
		< SA 0 1 : known
		< SA 100 1 : known
		< A 101 1 : known
		> A 1 102 : bad_ack
		> A 1 101 : known ESTABLISHED
		< PA 101 1 len=50 : known
		> A 1 151 : known`},
	{"third_syn_ack_number_is_none", `
		> S 0 0 : opened
		< SA 0 1 : known
		< SA 100 1 : known
		< SA 5000 1 : known
		< A 101 1 : known
		> A 1 101 : bad_ack
		> A 1 5001 : known ESTABLISHED`},
	{"second_syn_ack_number_not_taken", `
		> S 0 0 ws=7 : opened
		< SA 0 1 ws=7 : known
		< SA 9000 1 ws=7 : known SYN_RECV
		> A 1 1 : known ESTABLISHED
		> A 1 9001 : bad_ack
		< SA 9000 1 : bad_state`},
	{"fin_of_the_server_does_not_hide_the_number_that_is_confirmed", `
		> S 0 0 ws=7 : opened
		< SA 0 1 ws=7 : known
		< SA 9000 1 ws=7 : known
		< FA 1 1 : known SYN_RECV
		> A 1 9001 : known ESTABLISHED`},
	// A server resets what it has answered, and answers the SYN that comes again with
	// another number: its client has taken the first, and knows of no reset.
	{"second_syn_ack_number_behind_a_reset", `
		> S 100 0 : opened
		< SA 0 101 : known
		< R 0 0 : known CLOSE
		> S 100 0 : known CLOSE
		< SA -1 101 : known SYN_RECV
		> A 101 1 : known ESTABLISHED
		< A 1 101 len=9 : known`},
	{"second_syn_ack_number_behind_a_reset_with_fast_open", `
		> S 100 0 len=500 : opened
		< SA 0 601 : known
		< R 0 0 : known CLOSE
		> S 100 0 : known CLOSE
		< SA 50 601 : known SYN_RECV
		< A 51 601 len=60 : known
		> A 601 9 : bad_ack
		> A 601 1 : known ESTABLISHED`},
	{"server_speaks_before_its_syn_ack_is_acknowledged", `
		> S 0 0 : opened
		< SA -9 1 : known SYN_RECV
		< A 1 1 : known SYN_RECV
		> A 1 1 : bad_ack SYN_RECV
		> A 1 -8 : known ESTABLISHED`},
	{"simultaneous_open", `
		> S 0 0 ws=7 : opened SYN_SENT
		< S 0 0 ws=7 : known SYN_SENT2
		> SA 0 1 ws=7 : known SYN_RECV
		< SA 0 1 ws=7 : known SYN_RECV
		> A 1 1 : known ESTABLISHED`},
	{"simultaneous_open_other_order", `
		> S 0 0 : opened
		< S 0 0 : known SYN_SENT2
		> S 0 0 : known SYN_SENT2
		< S 0 0 : known SYN_SENT2
		< SA 0 1 : known SYN_RECV
		< S 0 0 : known SYN_RECV
		> SA 0 1 : known SYN_RECV
		< A 1 1 : known ESTABLISHED
		> SA 0 1 : known ESTABLISHED`},
	{"simultaneous_open_windows", `
		> S 0 0 win=0 : opened
		< S 0 0 win=0 : known
		< S 0 0 win=300 : known
		< SA 0 1 win=0 : known
		> A 301 1 len=9 : known ESTABLISHED
		> A 302 1 len=9 : out_of_window`},
	{"split_handshake_keeps_the_direction", `
		> S 0 0 : opened
		< A 0 1 : bad_state
		< S 0 0 : known SYN_SENT2
		> SA 0 1 : known SYN_RECV
		< A 1 1 : known ESTABLISHED
		> A 1 1 len=9 : known`},
	{"forged_crossing_syn_does_not_stop_the_handshake", `
		> S 0 0 : opened
		< S 777777 0 : known SYN_SENT2
		< SA 0 1 : known SYN_RECV
		> A 1 1 : known ESTABLISHED`},

	// Flags.
	{"flags_no_tcp_sends", opening + `
		> 0 1 1 len=9 : no_ack
		> F 1 1 : no_ack
		> P 1 1 len=9 : no_ack
		> SF 1 1 : bad_flags
		> SR 1 1 : bad_flags
		> RF 1 1 : bad_flags
		> SFAPU 1 1 : bad_flags
		> APU 1 1 len=9 : known`},
	{"flags_no_tcp_begins_with", `
		> SF 0 0 : bad_flags
		> 0 0 0 : no_ack
		> F 0 0 : no_ack
		> R 0 0 : no_entry
		> RA 0 0 : no_entry`},

	// Ports in use.
	{"reuse_in_time_wait", closed + `
		> S 1000000 0 ws=7 : known TIME_WAIT
		< SA 2000000 1000001 ws=7 : reopened SYN_RECV
		> A 1000001 2000001 : known ESTABLISHED`},
	{"reuse_in_time_wait_the_other_way", closed + `
		< S 1000000 0 : known TIME_WAIT
		> SA 2000000 1000001 : reopened SYN_RECV
		< A 1000001 2000001 : known ESTABLISHED`},
	{"reuse_half_closed", opening + `
		> FA 1 1 : known
		< A 1 2 : known CLOSE_WAIT
		> S 1000000 0 : known CLOSE_WAIT
		< A 1 2 : known CLOSE_WAIT
		> R 2 0 : known CLOSE
		> S 1000000 0 : known CLOSE
		< SA 2000000 1000001 : reopened SYN_RECV`},
	{"reuse_established_is_no_proof_alone", opening + `
		> S 1000000 0 : known ESTABLISHED
		> A 1 1 len=9 : known ESTABLISHED
		< A 1 10 : known ESTABLISHED
		< SA 2000000 1000001 : reopened SYN_RECV`},
	{"reuse_last_ack", opening + `
		> FA 1 1 : known
		< FA 1 1 : known LAST_ACK
		> S 1000000 0 : known LAST_ACK
		< SA 2000000 1000001 : reopened SYN_RECV`},
	{"reuse_with_the_same_client_number", opening + `
		> R 1 0 : known CLOSE
		> S 0 0 : known CLOSE
		< SA 2000000 1 : reopened SYN_RECV`},
	{"reuse_after_refusal", `
		> S 0 0 : opened
		< RA 0 1 : known CLOSE
		> S 0 0 : known CLOSE
		< SA 0 1 : reopened SYN_RECV`},
	{"refusal_that_did_not_arrive", `
		> S 0 0 : opened
		> R 1 0 : known CLOSE
		< SA 0 1 : known SYN_RECV
		> A 1 1 : known ESTABLISHED`},
	{"segments_after_refusal", `
		> S 0 0 : opened
		< RA 0 1 : known CLOSE
		< A 1 1 len=9 : bad_state
		> A 1 1 len=9 : bad_state`},
	{"reuse_with_data_waits", closed + `
		> S 1000000 0 len=500 : syn_data
		> S 1000000 0 : known
		< SA 2000000 1000001 : reopened`},
	{"refused_reuse_reaches_the_client", closed + `
		> S 1000000 0 : known
		< RA 0 1000000 : bad_reset
		< RA 0 1000001 : known TIME_WAIT`},
	{"syn_hidden_behind_another", closed + `
		> S 1000000 0 ws=7 : known
		> S 3000000 0 ws=7 : known
		< SA 2000000 1000001 ws=7 : reopened SYN_RECV
		> A 1000001 2000001 : known ESTABLISHED`},
	{"two_syns_first_answered", `
		> S 0 0 : opened
		> S 7000 0 : known SYN_SENT
		< SA 0 1 : known SYN_RECV
		> A 1 1 : known ESTABLISHED`},
	{"two_syns_second_answered", `
		> S 0 0 : opened
		> S 7000 0 : known SYN_SENT
		< SA 0 7001 : reopened SYN_RECV
		> A 7001 1 : known ESTABLISHED`},
	{"two_syns_both_answered_by_cookies", `
		> S 0 0 : opened
		> S 7000 0 : known
		< SA 0 1 : known SYN_RECV
		< SA 7000 7001 : reopened SYN_RECV
		> A 1 1 : out_of_window
		> A 7001 7001 : known ESTABLISHED`},
	// A client makes a server with SYN cookies answer two SYNs, completes one of
	// them here only (low TTL), and writes in what is before the beginning.
	{"two_syns_bytes_before_the_beginning", `
		> S 0 0 : opened
		> S 1000 0 : known
		< SA 0 1 : known
		< SA 1000 1001 : reopened
		> A 1001 1001 : known ESTABLISHED
		> A 1 1 len=900 : out_of_window
		> A 1 1001 len=900 : out_of_window
		> A 1001 1 len=900 : bad_ack`},
	{"syn_ack_for_a_syn_not_seen", `
		> S 0 0 : opened
		< SA 0 7001 ws=7 : reopened SYN_RECV
		> A 7001 1 : known ESTABLISHED`},
	// A server's answer to a SYN that was never sent, which does not arrive, is to have
	// what the client says taken for what lies behind a gap.
	{"syn_ack_for_a_syn_never_sent", `
		> S 100 0 : opened
		< SA 0 1 ws=7 : reopened SYN_RECV
		< S 0 0 : known SYN_RECV
		< A 1 101 : bad_ack
		> A 101 1 : bad_state SYN_RECV
		> PA 101 1 len=500 : bad_state SYN_RECV
		< SA 0 101 ws=7 : reopened SYN_RECV
		> PA 101 1 len=500 : known ESTABLISHED`},
	// The same with data on the SYN: what follows it is no stream of its own.
	{"syn_ack_for_a_syn_never_sent_then_for_data_on_the_syn", `
		> S 100 0 len=60 : opened
		< SA 0 70001 ws=7 : bad_ack SYN_SENT
		< SA 0 161 ws=7 : known SYN_RECV
		> PA 161 1 len=500 : known ESTABLISHED`},
	{"syn_ack_for_a_syn_never_sent_behind_a_reset_and_data_on_the_syn", `
		> S 100 0 len=60 : opened
		< RA 0 161 : known CLOSE
		> S 100 0 : known CLOSE
		< SA 0 70001 ws=7 : bad_ack CLOSE
		< SA 0 101 ws=7 : known SYN_RECV
		> PA 161 1 len=500 : known ESTABLISHED`},
	{"syn_ack_for_data_on_a_syn_that_was_dropped", closed + `
		> S 1000000 0 len=60 : syn_data
		> S 1000000 0 : known
		< SA 0 1000061 ws=7 : bad_ack TIME_WAIT
		< SA 0 1000001 ws=7 : reopened SYN_RECV`},
	{"forged_syn_ack_does_not_stop_the_handshake", `
		> S 0 0 ws=7 : opened
		< SA 77 7001 : reopened SYN_RECV
		> R 7001 0 : known CLOSE
		< SA 0 1 ws=7 : reopened SYN_RECV
		> A 1 1 : known ESTABLISHED`},
	{"syn_ack_without_a_syn", opening + `
		< SA 2000000 1000001 : bad_ack
		< SA 2000000 1 : bad_state
		> SA 0 1 : known
		> SA 7 1 : bad_state`},
}
