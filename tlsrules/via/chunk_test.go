package via

import "testing"

// TestChunk: a mail in chunks whose length was told (RFC 3030, Section 2) needs no
// line to end before the next command. A server that throws away what it had read
// when it agrees to TLS may go on with the hello behind it.
func TestChunk(t *testing.T) {
	said := []byte("EHLO x\r\nBDAT 5\r\nxxxxxSTARTTLS \r\nEHLO x\r\n\x17\x03\x03\x00\x32" + evil)
	for _, size := range []int{1, 2, 3, 7, 11, 16, 19, len(said)} {
		var c Conn
		c.Consume(server, []byte("220 mail.example ESMTP\r\n"))
		seen := false
		for b := said; len(b) > 0 && !seen; {
			piece := b[:min(size, len(b))]
			b = b[len(piece):]
			for len(piece) > 0 && !seen {
				n, st := c.Consume(client, piece)
				piece = piece[n:]
				seen = st == Twofold || st == TLS
			}
		}
		if !seen {
			t.Errorf("in pieces of %d the hello is not seen", size)
		}
	}
}
