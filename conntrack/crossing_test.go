package conntrack

import "testing"

// TestCrossing: a client whose SYN is crossed by one of the server's stays the client,
// whatever was to look like an answer before, and did not arrive. Who answers with a
// number that is not its SYN's is called by the other one.
func TestCrossing(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		reversed     bool
	}{
		{name: "behind a refusal that did not arrive", script: `
			> S 0 0 ws=7 : opened
			< RA 0 1 : known CLOSE
			< S 0 0 ws=7 : known
			> S 0 0 ws=7 : known
			< S 0 0 ws=7 : known CLOSE
			> SA 0 1 ws=7 : known SYN_RECV
			< A 1 1 : known ESTABLISHED
			> PA 1 1 len=9 : known`},
		{name: "data on its SYN stays", script: `
			> S 0 0 len=500 : opened
			< RA 0 1 : known CLOSE
			< S 0 0 : known
			> SA 0 1 : known SYN_RECV
			< A 1 501 : known ESTABLISHED
			> PA 501 1 len=9 : known`},
		{name: "another number first", script: `
			> S 0 0 : opened
			< S 9000 0 : known SYN_SENT2
			< S 0 0 : known SYN_SENT2
			> SA 0 1 : known SYN_RECV
			< A 1 1 len=9 : known ESTABLISHED
			> A 1 10 : known`},
		{name: "a SYN-ACK with another number first", script: `
			> S 0 0 : opened
			< SA 9000 1 : known SYN_RECV
			< S 0 0 : known SYN_RECV
			> SA 0 1 : known SYN_RECV
			< SA 9000 1 : bad_state
			< A 1 1 : known ESTABLISHED`},
		{name: "windows are not those of the number that was not taken", script: `
			> S 0 0 ws=7 win=1000 : opened
			< SA 9000 1 ws=7 win=1000 : known
			< S 0 0 : known
			> SA 0 1 ws=7 win=1000 : known SYN_RECV
			< A 1 1 win=100 : known ESTABLISHED
			> PA 1 1 len=9 : known
			< PA 70000 10 len=9 : out_of_window`},
		{name: "a SYN-ACK for a SYN never sent first", script: `
			> S 100 0 : opened
			< SA 9000 1 ws=7 : reopened SYN_RECV
			< S 0 0 : known SYN_RECV
			> SA 100 1 : reopened SYN_RECV
			< A 1 101 : known ESTABLISHED
			> PA 101 1 len=9 : known`},
		{name: "another SYN of its own", script: `
			> S 0 0 : opened
			< RA 0 1 : known CLOSE
			> S 5000 0 : known CLOSE
			< S 0 0 : known CLOSE
			> SA 5000 1 : reopened SYN_RECV
			< A 1 5001 : known ESTABLISHED
			> PA 5001 1 len=9 : known`},
		{name: "on ports that are used again", script: closed + `
			> S 1000000 0 ws=7 : known TIME_WAIT
			< S 2000000 0 ws=7 : known TIME_WAIT
			> SA 1000000 2000001 ws=7 : reopened SYN_RECV
			< A 2000001 1000001 : known ESTABLISHED
			> PA 1000001 2000001 len=9 : known`},
		{name: "on ports of a connection that began unseen", script: `
			> A 1 1 len=9 : midstream
			> S 1000000 0 ws=7 : known
			< S 2000000 0 ws=7 : known
			> SA 1000000 2000001 ws=7 : reopened SYN_RECV
			< A 2000001 1000001 : known ESTABLISHED`},
		{name: "windows are those of the SYN that is crossed", script: `
			> S 0 0 win=1000 : opened
			< RA 0 1 : known CLOSE
			< S 0 0 : known
			> SA 0 1 win=100 : known SYN_RECV
			< A 1 1 : known ESTABLISHED
			> A 1 2 : bad_ack
			< PA 1002 1 len=9 : out_of_window
			< PA 1001 1 len=9 : known
			> RA 1 1 : known CLOSE`},
		{name: "and ends where it begins", script: `
			> S 0 0 : opened
			< RA 0 1 : known CLOSE
			< S 0 0 : known
			> SA 0 1 : known SYN_RECV
			< R 1 0 : known CLOSE`},
		{name: "unseen, with another answer", reversed: true, script: `
			< SA 0 1 : midstream
			< S 9000 0 : known
			> SA 0 9001 : reopened SYN_RECV`},
		{name: "an answer to neither", reversed: true, script: `
			> S 0 0 : opened
			< RA 0 1 : known CLOSE
			< S 0 0 : known CLOSE
			> SA 0 900001 : reopened SYN_RECV
			< A 900001 1 : known ESTABLISHED`},
		{name: "an answer to itself", script: `
			> S 0 0 : opened
			< RA 0 1 : known CLOSE
			> S 5000 0 : known CLOSE
			> SA 5000 5001 : bad_ack CLOSE
			< SA 0 5001 : reopened SYN_RECV`},
		{name: "an answer to an answer", script: `
			> S 0 0 : opened
			< SA 9000 1 : known SYN_RECV
			< SA 7000 1 : known SYN_RECV
			> SA 0 7001 : bad_ack SYN_RECV
			> A 1 7001 : known ESTABLISHED`},
		{name: "who is called answers itself", script: `
			> S 0 0 : opened
			< RA 0 1 : known CLOSE
			< S 9000 0 : known CLOSE
			< SA 0 9001 : bad_ack CLOSE
			> SA 0 9001 : known SYN_RECV`},
		{name: "refused one way and opened the other", reversed: true, script: `
			> S 0 0 : opened
			< RA 0 1 : known CLOSE
			< S 0 0 : known CLOSE
			> SA 5000 1 : reopened SYN_RECV
			< A 1 5001 : known ESTABLISHED
			> PA 5001 1 len=9 : known`},
		{name: "the ports used again the other way with the old number", reversed: true, script: closed + `
			< S 1000000 0 : known TIME_WAIT
			> SA 0 1000001 : reopened SYN_RECV
			< A 1000001 1 : known ESTABLISHED`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, isn := range isns {
				_, c := play(t, tt.script, isn)
				if caller := c.Addr(Original); (caller != client) != tt.reversed {
					t.Fatalf("ISNs %#x: the caller is %s", isn, caller)
				}
			}
		})
	}
}
