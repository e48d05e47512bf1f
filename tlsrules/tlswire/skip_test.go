package tlswire

import "testing"

// TestSkip: the bytes of an opaque body may be missing, and not one more. What
// follows is read as if they had been there.
func TestSkip(t *testing.T) {
	data := record(RecordTypeApplicationData, VersionTLS12, make([]byte, 1000))
	hello := records(VersionTLS12, clientHello([]uint16{0x2f}), 1<<14)
	answer := records(VersionTLS12, serverHello(VersionTLS12, 0x2f), 1<<14)
	for from := range len(data) + 1 {
		for _, n := range []int{1, 300, 995, 1000, 1001, 5000} {
			var c, whole Conn
			feed := func(c *Conn, side Side, b []byte) (last Status) {
				for len(b) > 0 {
					k, _, st := c.Consume(side, b)
					if b = b[k:]; st != NeedMore && st != Again {
						last = st
					}
				}
				return last
			}
			for _, c := range []*Conn{&c, &whole} {
				feed(c, Client, hello)
				feed(c, Server, answer)
			}
			feed(&whole, Client, data)
			feed(&c, Client, data[:from])
			inside := from >= recordHeaderLen && from+n <= len(data)
			if _, ok := c.Skip(Client, n); ok != inside {
				t.Fatalf("at %d, %d bytes: %v", from, n, ok)
			}
			if !inside {
				n = 0 // nothing changed
			}
			feed(&c, Client, data[from+n:])
			if got, want := feed(&c, Client, data), feed(&whole, Client, data); got != want || c.Records != whole.Records || c.Phase != whole.Phase {
				t.Fatalf("at %d, %d bytes: %v, %v records, want %v, %v", from, n, got, c.Records, want, whole.Records)
			}
		}
	}
}

// TestSkipRead: a hello that has a hole is not read.
func TestSkipRead(t *testing.T) {
	hello := records(VersionTLS12, clientHello([]uint16{0x2f}, serverName("a.example")), 1<<14)
	for from := range hello {
		var c Conn
		c.Consume(Client, hello[:min(from, recordHeaderLen)])
		if from > recordHeaderLen {
			c.Consume(Client, hello[recordHeaderLen:from])
		}
		if _, ok := c.Skip(Client, 1); ok {
			t.Errorf("at %d: a byte of a hello was skipped", from)
		}
	}
}

// TestSkipMessage: a message whose end is missing has no body to show, and none
// of an earlier one.
func TestSkipMessage(t *testing.T) {
	var c Conn
	consume(&c, Client, hello)
	consume(&c, Server, hello12)
	verify := records(VersionTLS12, message(TypeCertificateVerify, make([]byte, 100)), 1<<14)
	consume(&c, Client, verify[:len(verify)-10])
	consume(&c, Server, records(VersionTLS12, message(TypeCertificate, certificateList([]byte{1})), 1<<14))
	if c.Message() == nil {
		t.Fatal("no certificate")
	}
	if st, ok := c.Skip(Client, 10); st != Message || !ok || c.LastMessage.Type != TypeCertificateVerify || c.Message() != nil {
		t.Errorf("got %v, %v, message %d with a body of %d", st, ok, c.LastMessage.Type, len(c.Message()))
	}
}
