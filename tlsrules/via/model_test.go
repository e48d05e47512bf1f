package via

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"tlsgate/tlsrules/tlswire"
)

// mailServer is an honest SMTP server, as servers differ: it throws away what
// came before its answer to STARTTLS or does not, ends mails leniently or not,
// and takes a bare CR for the end of a line or not.
type mailServer struct {
	discards, lenient, cr bool

	stream  []byte // all that came
	at      int    // of it, how much was processed
	seen    int    // of it, how much was read from the network
	mail    bool   // a MAIL was taken
	data    bool   // the text of a mail comes
	chunk   int    // bytes of a mail's chunk that are still to come
	tls     bool
	tlsFrom int
}

// read takes n bytes more of what came, and answers.
func (m *mailServer) read(n int) (answer string) {
	m.seen = min(len(m.stream), m.seen+n)
	for !m.tls {
		rest := m.stream[m.at:m.seen]
		if m.chunk > 0 {
			k := min(m.chunk, len(rest))
			m.at += k
			if m.chunk -= k; m.chunk > 0 {
				return answer
			}
			answer += "250 ok\r\n"
			continue
		}
		if m.data {
			ends := []string{"\r\n.\r\n"}
			if m.lenient {
				ends = append(ends, "\n.\n", "\n.\r\n")
			}
			at, size := -1, 0
			for _, end := range ends {
				if i := bytes.Index(rest, []byte(end)); i >= 0 && (at < 0 || i < at) {
					at, size = i, len(end)
				}
			}
			if at < 0 {
				return answer
			}
			m.at += at + size
			m.data = false
			answer += "250 queued\r\n"
			continue
		}
		end := bytes.IndexByte(rest, '\n')
		if m.cr {
			end = bytes.IndexAny(rest, "\r\n")
		}
		if end < 0 {
			return answer
		}
		line := strings.ToUpper(strings.TrimSpace(string(rest[:end])))
		m.at += end + 1
		answer += m.command(line)
	}
	return answer
}

func (m *mailServer) command(line string) string {
	word, argument, _ := strings.Cut(line, " ")
	switch word {
	case "":
		return ""
	case "EHLO", "NOOP":
		return "250-x\r\n250 STARTTLS\r\n"
	case "MAIL":
		m.mail = true
		return "250 ok\r\n"
	case "DATA":
		if !m.mail {
			return "503 no\r\n"
		}
		// The end of the line is the first of the text's.
		m.data, m.at = true, m.at-1
		return "354 go\r\n"
	case "BDAT":
		var n int
		fmt.Sscan(argument, &n)
		m.chunk = max(0, n)
		return ""
	case "STARTTLS":
		if m.discards {
			m.at = m.seen
		}
		m.tls, m.tlsFrom = true, m.at
		return "220 go\r\n"
	}
	return "500 what\r\n"
}

// evil is a hello that must not be read by the server and not by us.
var evil = handshake(1, "\x03\x03"+strings.Repeat("E", 32)+"\x00"+"\x00\x02\xc0\x2f"+"\x01\x00")

// around is a hello with room for n bytes: its session id, or an extension.
func around(inner string) string {
	n := len(inner) + 4
	return handshake(1, "\x03\x03"+strings.Repeat("r", 32)+"\x00"+"\x00\x02\xc0\x2f"+"\x01\x00"+
		string([]byte{byte(n >> 8), byte(n), 0xfa, 0xce, byte(len(inner) >> 8), byte(len(inner))})+inner)
}

// words are what a client that is up to something says.
var words = []string{
	"EHLO x\r\n", "STARTTLS\r\n", "starttls\n", "STARTTLS\r", "NOOP\r\n", "MAIL FROM:<>\r\n", "DATA\r\n", ".\r\n", "\n.\n", "\r\n.\r\n", "text\r\n",
	"BDAT 1\r\n", "BDAT 5\r\n", "BDAT 60\r\n", "BDAT 200\r\n", "\r\n", "\n", "\r", "x", "\x16", "\x16\x03", "\x17\x03\x03\x00\x50", "\x14\x03\x03\x00\x01\x01", "\x15\x03\x03\x00\x02\x01\x00",
	hello, evil, hello[:20], hello[20:], evil[:5], evil[5:], around(evil), around("\r\nSTARTTLS\r\n"), around(evil)[:70], "\x17\x03\x03\x00\x32" + evil,
	"STARTTLS\r\n" + evil, "STARTTLS\r\n" + hello, "XYZZY\r\n",
}

// duel lets a client talk to a server past us, and reports whether the server
// read the evil hello and we did not.
func duel(m *mailServer, next func(n int) int) (lost bool, story []string) {
	var c Conn
	var tls tlswire.Conn
	judged := false
	read := func(b []byte) {
		for len(b) > 0 {
			n, _, st := tls.Consume(client, b)
			b = b[n:]
			if st == tlswire.Message && tls.ClientHello.Random[0] == 'E' {
				judged = true
			}
			// What is no TLS any more is refused, as what is judged is.
			judged = judged || st == tlswire.Malformed || st == tlswire.NotTLS
		}
	}
	hear := func(from tlswire.Side, b []byte) bool {
		for len(b) > 0 {
			if c.Began(from) {
				if from == client {
					read(b)
					judged = judged || c.Ahead(b, tls.Between(client))
				}
				return true
			}
			n, st := c.Consume(from, b)
			b = b[n:]
			switch st {
			case TLS:
				tls.Begin(from)
				if from == client {
					read(c.Opening(from))
					judged = judged || c.Ahead(c.Opening(from), tls.Between(client))
				}
			case Twofold:
				judged = true
				return true
			case Over, TooDeep:
				return false
			}
		}
		return true
	}
	hear(server, []byte("220 mail.example ESMTP\r\n"))
	for range 4 + next(12) {
		word := words[next(len(words))]
		story = append(story, fmt.Sprintf("C %.24q", word))
		if !hear(client, []byte(word)) {
			return true, append(story, "over")
		}
		if judged {
			return false, story
		}
		m.stream = append(m.stream, word...)
		if next(3) > 0 {
			n := 1 + next(400)
			if i := bytes.Index(m.stream[m.seen:], []byte(evil)); i > 0 && next(2) == 0 {
				n = i // the rest comes while it answers
			}
			answer := m.read(n)
			story = append(story, fmt.Sprintf("S reads %d: %q", n, answer))
			if !hear(server, []byte(answer)) {
				return true, append(story, "over")
			}
		}
		if m.tls && strings.HasPrefix(string(m.stream[m.tlsFrom:]), evil) {
			return !judged, append(story, "the server answers")
		}
	}
	return false, story
}

// TestModel: whatever a client says to whichever server, no hello is answered that
// was not read.
func TestModel(t *testing.T) {
	answered := 0
	for seed := range uint64(200_000) {
		r := rand.New(rand.NewPCG(seed, 7))
		m := &mailServer{discards: seed&1 != 0, lenient: seed&2 != 0, cr: seed&4 != 0}
		lost, story := duel(m, r.IntN)
		if lost {
			t.Fatalf("seed %d, %v %v %v:\n%s", seed, m.discards, m.lenient, m.cr, strings.Join(story, "\n"))
		}
		if m.tls {
			answered++
		}
	}
	if answered < 10_000 {
		t.Errorf("only %d servers came to TLS", answered)
	}
}

// FuzzModel is the same, guided.
func FuzzModel(f *testing.F) {
	f.Add([]byte{0, 1, 1, 1, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 {
			return
		}
		m := &mailServer{discards: b[0]&1 != 0, lenient: b[0]&2 != 0, cr: b[0]&4 != 0}
		b = b[1:]
		lost, story := duel(m, func(n int) int {
			if len(b) == 0 {
				return 0
			}
			v := int(b[0])
			b = b[1:]
			return v % n
		})
		if lost {
			t.Fatalf("%v %v %v:\n%s", m.discards, m.lenient, m.cr, strings.Join(story, "\n"))
		}
	})
}
