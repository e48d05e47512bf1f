package via

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestTunnel(t *testing.T) {
	long := strings.Repeat("a", 255)
	for _, tt := range []struct {
		text string
		want Target
	}{
		{"C: CONNECT server.example:443 HTTP/1.1", Target{"server.example", 443}},
		{"C: connect server.example:443 HTTP/1.1\n= clear", Target{}},
		{"C: CONNECT [2001:db8::7]:8443 HTTP/1.1", Target{"2001:db8::7", 8443}},
		{"C: CONNECT 198.51.100.7:443", Target{"198.51.100.7", 443}},
		{"C: CONNECT " + long + ":65535 HTTP/1.1", Target{long, 65535}},
		{"C: CONNECT " + long + "a:1 HTTP/1.1", Target{}},
		{"C: CONNECT " + long + long + ":1 HTTP/1.1", Target{}},
		{"C: CONNECT server.example HTTP/1.1", Target{}},
		{"C: CONNECT server.example:65536 HTTP/1.1", Target{}},
		{"C: CONNECT :443 HTTP/1.1", Target{}},
		{`C< "\x04\x01\x01\xbb\xc6\x33\x64\x07user\x00"`, Target{"198.51.100.7", 443}},
		{`C< "\x04\x01\x01\xbb\x00\x00\x00\x01\x00server.example\x00"`, Target{"server.example", 443}},
		{`C< "\x04\x01\x01\xbb\x00\x00\x00\x01\x00` + long + long + `\x00"`, Target{long, 443}},
		{`C< "\x05\x01\x00\x05\x01\x00\x01\xc6\x33\x64\x07\x01\xbb"`, Target{"198.51.100.7", 443}},
		{`C< "\x05\x01\x00\x05\x01\x00\x03\xff` + long + `\x01\xbb"`, Target{long, 443}},
		{`C< "\x05\x01\x00\x05\x01\x00\x04\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07\x01\xbb"`, Target{"2001:db8::7", 443}},
	} {
		if c := run(t, tt.text); c.Tunnel != tt.want {
			t.Errorf("%.60q: %v, want %v", tt.text, c.Tunnel, tt.want)
		}
	}
}

func TestProxied(t *testing.T) {
	of := func(source, destination string) Proxied {
		return Proxied{netip.MustParseAddrPort(source), netip.MustParseAddrPort(destination)}
	}
	const signature = `C< "\r\n\r\n\x00\r\nQUIT\n`
	four, six := of("192.0.2.1:1025", "198.51.100.2:443"), of("[2001:db8::1]:1025", "[2001:db8::2]:443")
	for _, tt := range []struct {
		text string
		want Proxied
	}{
		{"C: PROXY TCP4 192.0.2.1 198.51.100.2 1025 443", four},
		{"C: PROXY TCP6 2001:db8::1 2001:db8::2 1025 443", six},
		{"C: PROXY UNKNOWN ffff::1 ffff::2 1 2", Proxied{}},
		{"C: PROXY TCP4 192.0.2.1 198.51.100.2 1025 65536\n= clear", Proxied{}},
		{"C: PROXY TCP4 192.0.2.1 198.51.100.2 1025 " + strings.Repeat("0", 100) + "443\n= clear", Proxied{}},
		{signature + `\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x02\x04\x01\x01\xbb"`, four},
		{signature + `\x21\x11\x00\x0f\xc0\x00\x02\x01\xc6\x33\x64\x02\x04\x01\x01\xbb\x04\x00\x00"`, four},
		{signature + `\x20\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x02\x04\x01\x01\xbb"`, Proxied{}},
		{signature + `\x21\x11\x00\x02\xc0\x00"`, Proxied{}},
		{signature + `\x31\x11\x00\x02"` + "\n= clear", Proxied{}},
		{signature + `\x21\x21\x00\x24\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01` +
			`\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x04\x01\x01\xbb"`, six},
		{signature + `\x21\x31\xff\xff` + strings.Repeat("/", 65535) + `"` + "\nC* hello", Proxied{}},
	} {
		if c := run(t, tt.text); c.Proxied != tt.want {
			t.Errorf("%.60q: %v, want %v", tt.text, c.Proxied, tt.want)
		}
	}
}

// TestTooDeep: what is not followed is not let go either.
func TestTooDeep(t *testing.T) {
	layer := map[string]string{
		"connect":            "C: CONNECT a:1 HTTP/1.1\nC:\nS: HTTP/1.1 200 OK\nS:\n",
		"connect, pipelined": "C: CONNECT a:1 HTTP/1.1\nC:\n",
		"proxy":              "C: PROXY UNKNOWN\n",
	}
	for name, text := range layer {
		run(t, strings.Repeat(text, maxDepth))
		over := strings.TrimSuffix(strings.Repeat(text, maxDepth+1), "\nC:\n")
		over = strings.TrimSpace(over)
		if name == "connect" {
			over = strings.TrimSuffix(over, "\nS:") + "\nS:"
		}
		run(t, over+"\n= too_deep")
	}
}

// TestTwofold: a client that does not wait is refused where servers could differ
// in which hello they read.
func TestTwofold(t *testing.T) {
	inner := hello
	// A hello whose session id is another hello's beginning.
	nested := handshake(1, "\x03\x03"+strings.Repeat("r", 32)+"\x20"+(inner + strings.Repeat("x", 32))[:32]+"\x00\x02\xc0\x2f"+"\x01\x00")
	for _, tt := range []struct {
		name string
		turn []turn
		want Status
	}{
		{"a hello", []turn{{client, hello, true}}, TLS},
		{"two hellos", []turn{{client, hello + hello, true}}, Twofold},
		{"a hello in a hello", []turn{{client, nested, true}}, Twofold},
		{"half a hello", []turn{{client, hello[:20], true}}, Twofold},
		{"the header of another record", []turn{{client, hello + "\x17\x03\x03\x40\x00", true}}, Twofold},
	} {
		for _, d := range []struct{ before, reply string }{
			{"S: * OK\nC: a STARTTLS", "S: a OK"},
			{`C< "\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037"`, `S< "\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"`},
		} {
			turns := slices.Concat(parse(t, d.before).turns, tt.turn, parse(t, d.reply+"\nS* answer").turns)
			for name, cut := range splits(1) {
				var c Conn
				got := play(t, &c, turns, cut)
				if last := got[len(got)-1]; last.st != tt.want || last.from != server {
					t.Errorf("%s, %s: %v", tt.name, name, got)
				}
			}
		}
	}
}

// TestSkip: what was not seen does not end the watch, whatever it was part of.
func TestSkip(t *testing.T) {
	for _, text := range []string{
		"S: 220 mail.example ESMTP\nC: DATA",
		"C: CONNECT server.example:443 HTTP/1.1\nC: Host: x",
		`C< "\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4"`,
		`C< "\x30\x84\x00\x00\x10\x00\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"`,
		`C< "\x05\x01\x00\x05"`,
		`C< "\x00\x00\x00\x08\x04\xd2\x16\x2f"`,
		"C: something",
	} {
		for _, n := range []int{1, 1000, 100_000} {
			var c Conn
			play(t, &c, parse(t, text).turns, func(n int) int { return n })
			c.Skip(client, n)
			c.Consume(client, []byte("\r\n"))
			c.Turn()
			if _, st := c.Consume(client, []byte(hello)); st != TLS {
				t.Errorf("%.40q, %d bytes: %s", text, n, st)
			}
		}
	}
}

// TestUnheard: who only sends, and is never answered, is left alone one day.
func TestUnheard(t *testing.T) {
	var c Conn
	b := bulk(1000)
	for i := range 2000 {
		n, st := c.Consume(client, b)
		if st == Over {
			if i < maxUnheard/1000-1 {
				t.Errorf("over after %d bytes", i*1000)
			}
			return
		}
		if n != len(b) && st != Clear {
			t.Fatal(n, st)
		}
	}
	t.Error("never over")
}

// bulk is a mail's text as a client sends it.
func bulk(n int) []byte {
	line := "All work and no play makes Jack a dull boy, as the saying goes for ever.\r\n"
	return []byte(strings.Repeat(line, n/len(line)+1)[:n])
}

func watching(t testing.TB) *Conn {
	c := new(Conn)
	play(t, c, parse(t, "S: 220 mail.example ESMTP\nC: MAIL FROM:<a@example>\nS: 250 ok\nC: DATA\nS: 354 go").turns, func(n int) int { return n })
	return c
}

func TestNoAllocs(t *testing.T) {
	c := watching(t)
	b, reply := bulk(1460), []byte("250 ok\r\n")
	if n := testing.AllocsPerRun(100, func() {
		c.Consume(client, b)
		c.Consume(server, reply)
	}); n != 0 {
		t.Errorf("%v allocations while a mail is watched", n)
	}
	c.Reset()
	imap := parse(t, "S: * OK\nC: a CAPABILITY\nS: a OK\nC: b ID NIL\nS: b OK").turns
	if n := testing.AllocsPerRun(100, func() {
		c.Reset()
		for _, turn := range imap {
			c.Consume(turn.from, b[:copy(b, turn.bytes)])
		}
	}); n != 0 {
		t.Errorf("%v allocations in an IMAP dialogue", n)
	}
}

func BenchmarkMail(b *testing.B) {
	for _, size := range []int{1460, 64 << 10} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			c := watching(b)
			p := bulk(size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				c.Consume(client, p)
			}
		})
	}
}

// TestAhead: two hellos at once, before the server could answer, are known at once.
func TestAhead(t *testing.T) {
	for answered, want := range map[string]bool{"": true, "S: 250 EHLO": false} {
		var c Conn
		turns := parse(t, "S: 220 mail ESMTP\nC: EHLO x\nC: STARTTLS\n"+answered).turns
		play(t, &c, turns, func(n int) int { return n })
		if n, st := c.Consume(client, []byte(hello)); st != TLS {
			t.Fatal(n, st)
		}
		if c.Ahead([]byte(hello), true) {
			t.Error("one hello is two")
		}
		if got := c.Ahead([]byte(hello), true); got != want {
			t.Errorf("%q: %v, want %v", answered, got, want)
		}
	}
}
