package conntrack

var laterScripts = []script{
	// Resets.
	{"reset_answers_syn", `
		> S 0 0 : opened
		< RA 0 2 : bad_reset SYN_SENT
		< R 0 0 : bad_reset SYN_SENT
		< RA 77 1 : known CLOSE`},
	{"reset_answers_syn_with_data", `
		> S 0 0 len=500 : opened
		< RA 0 501 : known CLOSE`},
	{"reset_answers_syn_ack", `
		> S 0 0 : opened
		< SA 0 1 : known
		> R 1 0 : known CLOSE`},
	{"reset_answers_second_syn_ack", `
		> S 0 0 : opened
		< SA 0 1 : known
		< SA 9000 1 : known
		< RA 9001 1 : known CLOSE`},
	{"reset_answers_delayed_syn", `
		> S 0 0 : opened
		< SA 7777777 1 : known
		< RA 0 2 : bad_reset SYN_RECV
		< RA 0 1 : known CLOSE`},
	{"reset_of_simultaneous_open", `
		> S 0 0 : opened
		< S 0 0 : known SYN_SENT2
		< R 1 0 : known CLOSE`},
	{"reset_outside_the_window", opening + `
		> A 1 1 len=500 : known
		< A 1 501 : known
		> R 500 0 : bad_reset ESTABLISHED
		> R 8000000 0 : bad_reset ESTABLISHED
		< R 0 0 : bad_reset ESTABLISHED
		< R 1 0 : known CLOSE`},
	// Its receiver, having missed what came before, challenges it.
	{"reset_after_lost_data", opening + `
		> R 5000 0 : known ESTABLISHED
		< A 1 1 : known
		> R 1 0 : known CLOSE`},
	{"reset_of_unacknowledged_data", opening + `
		> A 1 1 len=500 : known
		> R 300 0 : known CLOSE`},
	{"reset_that_never_arrived_is_watched", opening + `
		> R 1 0 : known CLOSE
		> A 1 1 len=500 : known CLOSE
		< FA 1 501 len=9 : known CLOSE
		> S 1000000 0 : known CLOSE
		< A 11 501 : known CLOSE`},
	{"reset_midstream_before_the_other_was_heard", `
		> A 1 1 len=9 : midstream
		< R 0 0 : bad_reset
		< R 1 0 : known CLOSE`},

	// Ends.
	{"both_ends_in_turn", closed},
	{"server_ends_first", opening + `
		< FA 1 1 : known FIN_WAIT
		> A 1 2 : known CLOSE_WAIT
		> A 1 2 len=500 : known CLOSE_WAIT
		< A 2 501 : known CLOSE_WAIT
		> FA 501 2 : known LAST_ACK
		< A 2 502 : known TIME_WAIT`},
	{"both_at_once", opening + `
		> FA 1 1 : known FIN_WAIT
		< FA 1 1 : known LAST_ACK
		> A 2 2 : known LAST_ACK
		< A 2 2 : known TIME_WAIT`},
	{"fin_again", opening + `
		> FA 1 1 : known FIN_WAIT
		> FA 1 1 : known FIN_WAIT
		< A 1 2 : known CLOSE_WAIT
		> FA 1 1 : known CLOSE_WAIT
		< FA 1 2 len=100 : known LAST_ACK
		< FA 1 2 len=100 : known LAST_ACK
		> A 2 102 : known TIME_WAIT
		< FA 1 2 len=100 : known TIME_WAIT
		> A 2 102 : known TIME_WAIT`},
	{"fin_before_the_data", opening + `
		> FA 501 1 : known FIN_WAIT
		> A 1 1 len=500 : known FIN_WAIT
		< A 1 501 : known FIN_WAIT
		< A 1 502 : known CLOSE_WAIT`},
	{"fin_outside_the_window", plain + `
		> FA 1002 1 : out_of_window ESTABLISHED`},
	{"fin_again_elsewhere", opening + `
		> FA 1 1 len=500 : known
		> FA 5 1 : known
		< A 1 6 : known FIN_WAIT
		< A 1 502 : known CLOSE_WAIT`},

	// Windows.
	{"zero_window_probes", plain + `
		> A 1 1 len=1000 : known
		< A 1 1001 win=0 : known
		> A 1001 1 len=1 : known
		< A 1 1001 win=0 : known
		> A 1000 1 : known
		> A 1002 1 len=1 : out_of_window
		< A 1 1001 win=5 : known
		> A 1001 1 len=5 : known`},
	{"fin_into_a_closed_window", plain + `
		> A 1 1 len=1000 : known
		< A 1 1001 win=0 : known
		> FA 1001 1 : known
		> A 1002 1 : known
		> A 1003 1 : out_of_window
		< FA 1 1002 : known
		> A 1002 2 : known TIME_WAIT`},
	{"keep_alives", opening + `
		> A 0 1 : known
		> A 0 1 len=1 : known
		< A 1 1 : known
		> A 1 1 len=500 : known
		< A 1 501 : known
		> A 500 1 : known
		> A 500 1 len=1 : known
		< A 0 501 len=1 : known`},
	{"window_shrinks", plain + `
		< A 1 1 win=100 : known
		> A 1 1 len=1000 : known
		> A 1001 1 len=1 : known
		> A 1002 1 len=1 : out_of_window`},
	{"begins_inside_reaches_beyond", plain + `
		> A 500 1 len=1400 : known`},
	{"out_of_window", plain + `
		> A 1002 1 len=9 : out_of_window
		< A 1002 1 len=9 : out_of_window
		> A 2000000000 1 len=9 : out_of_window
		> A -2000000000 1 len=9 : out_of_window
		> A 0x80000000 1 len=9 : out_of_window
		> A 0x80000001 1 len=9 : out_of_window
		> A -1 1 len=9 : out_of_window`},
	{"largest_scale", `
		> S 0 0 ws=14 : opened
		< SA 0 1 ws=14 win=65535 : known
		> A 1 1 win=65535 : known
		< A 1 1 win=65535 : known
		> A 1073725441 1 len=9 : known
		< A 1073725441 1 len=9 : known
		> A 1073725442 1 len=9 : out_of_window
		< A 1 1073725450 win=65535 : known
		> A 2147450890 1 len=9 : known
		> A 2147450891 1 len=9 : out_of_window`},
	{"scale_beyond_the_largest", `
		> S 0 0 ws=255 : opened
		< SA 0 1 ws=14 : known
		> A 1 1 win=1 : known
		< A 16385 1 len=9 : known
		< A 16386 1 len=9 : known
		< A 60002 1 len=9 : out_of_window`},
	{"scale_of_one_end_only", `
		> S 0 0 ws=7 win=100 : opened
		< SA 0 1 win=100 : known
		> A 1 1 win=100 : known
		< A 102 1 len=9 : out_of_window
		< A 101 1 len=9 : known`},
	{"scale_left_out_when_the_syn_comes_again", `
		> S 0 0 ws=7 win=100 : opened
		> S 0 0 win=100 : known
		< SA 0 1 ws=7 win=100 : known
		> A 1 1 win=100 : known
		< A 12801 1 len=9 : known
		< A 12802 1 len=9 : out_of_window`},
	{"scale_lost_from_the_first_syn", `
		> S 0 0 win=100 : opened
		> S 0 0 ws=7 win=100 : known
		< SA 0 1 win=100 : known
		< SA 0 1 ws=7 win=100 : known
		> A 1 1 win=100 : known
		< A 12801 1 len=9 : known`},

	// Acknowledgements.
	{"ack_of_unsent_data", opening + `
		> A 1 2 : bad_ack
		> A 1 2000000000 : bad_ack
		> A 1 0x80000001 : bad_ack
		> A 1 0 : bad_ack
		< A 1 2 len=9 : bad_ack`},
	{"old_acks", plain + `
		< A 1 1 len=900 : known
		> A 1 901 win=1000 : known
		> A 1 1 win=1000 : known
		> A 1 401 len=9 win=1000 : known`},
	{"much_too_old_ack", `
		> S 0 0 : opened
		< SA 0 1 : known
		> A 1 1 : known
		< A 1 1 len=50000 : known
		> A 1 50001 : known
		< A 50001 1 len=50000 : known
		> A 1 100001 : known
		< A 100001 1 len=50000 : known
		> A 1 150001 : known
		> A 1 18929 : known
		> A 1 18928 : bad_ack`},
	{"old_data_again", opening + `
		> A 1 1 len=500 : known
		< A 1 501 : known
		> A 1 1 len=500 : known
		> A 300 1 len=500 : known`},

	// Begun unseen.
	{"midstream_client_first", `
		> A 1 1 len=500 : midstream ESTABLISHED
		< A 1 501 : known
		< A 1 501 len=1000 : known
		> A 501 1001 : known`},
	{"midstream_flight_not_seen", `
		> A 1 1 : midstream
		> A 1 9001 : known
		> A 1 50001 : known
		< A 70001 1 len=500 : known
		< A 60001 9001 len=500 : known
		> A 1 70501 : known`},
	{"midstream_server_first", `
		< A 1 1 len=500 : midstream ESTABLISHED
		> A 3001 1 len=500 : known
		< A 501 3501 : known`},
	{"midstream_retransmission_first", `
		> A 1 1 len=500 : midstream
		> A -999 1 len=500 : known
		< A 1 5001 : known`},
	{"midstream_reordered_zero_window", `
		> A 1 1 win=0 : midstream
		> A 1 100001 : known
		< A 200001 1 len=9 : known`},
	{"midstream_blind_ack", `
		> A 1 1 win=1 : midstream
		< A 1 1 win=1 : known
		> A 1 1000000000 : bad_ack
		> A 1000000000 1 len=9 : out_of_window`},
	{"midstream_fin", `
		> FA 1 1 : midstream FIN_WAIT
		< A 1 2 : known CLOSE_WAIT`},
	{"midstream_then_syn_ack", `
		> A 1 1 : midstream ESTABLISHED
		< SA 0 1 : bad_state ESTABLISHED
		< A 1 1 : known ESTABLISHED`},
	{"midstream_syn_ack", `
		< SA 0 1 ws=7 : midstream SYN_RECV
		> A 1 1 : known ESTABLISHED`},
	{"midstream_syn_ack_its_ack_had_passed", `
		< SA 0 1 ws=7 : midstream SYN_RECV
		> A 501 3001 : known ESTABLISHED
		< A 3001 501 len=9 : known`},
	{"midstream_syn_ack_then_another_syn", `
		< SA 77 7001 : midstream SYN_RECV
		> S 0 0 : known
		< SA 0 1 : reopened SYN_RECV
		> A 1 1 : known ESTABLISHED`},
	// The number before the first byte seen is a guess: a SYN that has it begins
	// something new.
	{"midstream_reuse_with_the_number_guessed", `
		> A 1 1 : midstream
		< A 1 1 : known
		> S 0 0 : known
		< SA 0 1 : reopened`},
}
