package tlswire

import (
	"reflect"
	"testing"
)

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

// TestSkipCertificate: of a certificate bytes may be missing. It is not read
// then, and what follows is, also in the same record and behind others.
func TestSkipCertificate(t *testing.T) {
	body := certificateList(make([]byte, 300), make([]byte, 500))
	exchange := []byte{3, 0, 29, 1, 9}
	flight := cat(message(TypeCertificate, body), message(TypeServerKeyExchange, exchange))
	for _, size := range []int{maxPlaintext, 400} {
		b := cat(hello12, records(VersionTLS12, flight, size))
		first := len(hello12) + recordHeaderLen + messageHeaderLen // of the body
		inRecord := min(len(body), size-messageHeaderLen)
		for from := range len(b) {
			for _, n := range []int{1, 50, 300} {
				c := Conn{Buffers: new(Buffers)}
				consume(&c, Client, hello)
				consume(&c, Server, b[:from])
				st, ok := c.Skip(Server, n)
				if inside := from >= first && from+n <= first+inRecord; inside && !ok || ok && from < first {
					t.Fatalf("records of %d, at %d, %d bytes: %v", size, from, n, ok)
				}
				if !ok {
					continue
				}
				certificate := st == Message && c.LastMessage.Type == TypeCertificate
				for rest := b[from+n:]; len(rest) > 0; {
					k, _, st := c.Consume(Server, rest)
					rest = rest[k:]
					if st == Message && c.LastMessage.Type == TypeCertificate && c.Message() == nil {
						certificate = true
					}
				}
				inKeyExchange := from > len(b)-len(exchange)-messageHeaderLen
				if !c.Fault.OK() || c.Held() != 0 || c.Buffers.Held() != 0 || !certificate && !inKeyExchange || c.ServerGroup != 29 && !inKeyExchange || !c.GroupSettled {
					t.Fatalf("records of %d, at %d, %d bytes: %v, group %d, certificate passed %v, %d held", size, from, n, c.Fault, c.ServerGroup, certificate, c.Held())
				}
			}
		}
	}
}

// TestSkipKeyExchange: a group may be missing, a prime not.
func TestSkipKeyExchange(t *testing.T) {
	for suite, want := range map[uint16]bool{0xc02f: true, 0x00a8: true, 0x009e: false, 0x00aa: false} {
		var c Conn
		consume(&c, Client, hello)
		consume(&c, Server, records(VersionTLS12, serverHello(VersionTLS12, suite), 1<<14))
		consume(&c, Server, records(VersionTLS12, message(TypeServerKeyExchange, make([]byte, 100)), 1<<14)[:20])
		if _, ok := c.Skip(Server, 50); ok != want {
			t.Errorf("%#04x: got %v", suite, ok)
		}
	}
}

// TestInside: bytes of which Inside is true are passed over as Consume would.
func TestInside(t *testing.T) {
	data := record(RecordTypeApplicationData, VersionTLS12, make([]byte, 300))
	sides := [][]byte{
		append(records(VersionTLS12, clientHello([]uint16{0x2f}), 1<<14), data...),
		append(append(append(records(VersionTLS12, serverHello(VersionTLS12, 0x2f), 1<<14),
			record(RecordTypeChangeCipherSpec, VersionTLS12, []byte{1})...), record(RecordTypeHandshake, VersionTLS12, make([]byte, 40))...),
			append(data, record(RecordTypeAlert, VersionTLS12, make([]byte, 26))...)...),
	}
	var c Conn
	passed := 0
	for from, b := range sides {
		from := Side(from)
		for len(b) > 0 {
			for n := range len(b) + 1 {
				if !c.Inside(from, n) {
					continue
				}
				whole, over := c, c
				k, opaque, st := whole.Consume(from, b[:n])
				over.PassOver(from, n)
				if k != n || n > 0 && !opaque || st != NeedMore || !reflect.DeepEqual(whole, over) {
					t.Fatalf("%s, %d bytes with %d to come: consumed %d, %v, %v", from, n, len(b), k, opaque, st)
				}
				passed++
			}
			c.Consume(from, b[:1])
			b = b[1:]
		}
	}
	if want := 2 * 301 * 302 / 2; passed < want {
		t.Errorf("%d times inside, want %d at least", passed, want)
	}
}
