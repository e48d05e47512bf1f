package via

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"tlsgate/tlsrules/tlswire"
)

const (
	client = tlswire.Client
	server = tlswire.Server
)

// hello and answer are the beginnings of TLS: a ClientHello and a ServerHello of
// TLS 1.2, whole.
var (
	hello  = handshake(1, "\x03\x03"+strings.Repeat("r", 32)+"\x00"+"\x00\x02\xc0\x2f"+"\x01\x00")
	answer = handshake(2, "\x03\x03"+strings.Repeat("R", 32)+"\x00"+"\xc0\x2f\x00")
)

func handshake(kind byte, body string) string {
	n := len(body)
	msg := string([]byte{kind, byte(n >> 16), byte(n >> 8), byte(n)}) + body
	return string([]byte{22, 3, 1, byte(len(msg) >> 8), byte(len(msg))}) + msg
}

// A turn is what one side says. tls: it begins to speak TLS with it.
type turn struct {
	from  tlswire.Side
	bytes string
	tls   bool
}

// A told is what Consume tells: within, or before, which turn.
type told struct {
	turn int
	from tlswire.Side
	st   Status
}

// A script is a dialogue and what is to be told of it.
type script struct {
	turns []turn
	want  []told
}

// parse reads a dialogue, a line each:
//
//	C: text      the client says text and CRLF
//	C< "quoted"  the client says just that
//	C* name      the client begins TLS, with hello or answer
//	C~ name      the same, which is not taken for TLS
//	= clear      told of the last line
//
// and S for the server.
func parse(t testing.TB, text string) (s script) {
	t.Helper()
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		mark, rest, _ := strings.Cut(line, " ")
		from := client
		if mark[0] == 'S' {
			from = server
		}
		last := len(s.turns) - 1
		switch mark[1:] {
		case ":":
			s.turns = append(s.turns, turn{from, rest + "\r\n", false})
		case "<":
			q, err := strconv.Unquote(rest)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			s.turns = append(s.turns, turn{from, q, false})
		case "*", "~":
			b := map[string]string{"hello": hello, "answer": answer}[rest]
			if b == "" {
				t.Fatal(line)
			}
			s.turns = append(s.turns, turn{from, b, mark[1:] == "*"})
			if mark[1:] == "*" {
				s.want = append(s.want, told{last + 1, from, TLS})
			}
		case "":
			st := Status(slices.Index(statusNames[:], rest))
			s.want = append(s.want, told{last, s.turns[last].from, st})
		default:
			t.Fatal(line)
		}
	}
	return s
}

// play gives a dialogue to a Conn in pieces, whose lengths cut chooses.
func play(t testing.TB, c *Conn, turns []turn, cut func(n int) int) (got []told) {
	t.Helper()
	var tls tlswire.Conn
	// Where each turn of a side ends in its stream.
	var ends [2][]int
	var index [2][]int
	var at, base [2]int
	for i, turn := range turns {
		base[turn.from] += len(turn.bytes)
		ends[turn.from] = append(ends[turn.from], base[turn.from])
		index[turn.from] = append(index[turn.from], i)
	}
	tell := func(from tlswire.Side, st Status, at int) {
		k, _ := slices.BinarySearch(ends[from], at)
		got = append(got, told{index[from][min(k, len(index[from])-1)], from, st})
	}
	read := func(from tlswire.Side, b []byte) {
		for len(b) > 0 {
			n, _, _ := tls.Consume(from, b)
			b = b[n:]
		}
	}
	for i := 0; i < len(turns); {
		from := turns[i].from
		var b []byte
		for ; i < len(turns) && turns[i].from == from; i++ {
			b = append(b, turns[i].bytes...)
		}
		for len(b) > 0 {
			piece := b[:cut(len(b))]
			b = b[len(piece):]
			for len(piece) > 0 {
				if c.Began(from) {
					read(from, piece)
					if from == client && !c.Began(server) {
						c.Ahead(piece, tls.Between(from))
					}
					if from == server && !c.Began(client) {
						c.Turn()
					}
					break
				}
				n, st := c.Consume(from, piece)
				if n < len(piece) && st == NeedMore {
					t.Fatalf("Consume took %d of %d bytes: %s", n, len(piece), st)
				}
				piece = piece[n:]
				at[from] += n
				switch st {
				case NeedMore:
				case TLS:
					opening := c.Opening(from)
					tell(from, st, at[from]-len(opening)+1)
					tls.Begin(from)
					read(from, opening)
					if from == client {
						c.Ahead(opening, tls.Between(from))
					}
				default:
					told := at[from]
					if n == 0 { // at the byte to come
						told++
					}
					tell(from, st, told)
					if st == Over || st == TooDeep || st == Twofold {
						return got
					}
				}
			}
		}
	}
	return got
}

// splits are ways to cut what is said.
func splits(seed uint64) map[string]func(int) int {
	r := rand.New(rand.NewPCG(seed, 1))
	return map[string]func(int) int{
		"whole":    func(n int) int { return n },
		"one byte": func(int) int { return 1 },
		"random":   func(n int) int { return 1 + r.IntN(min(n, 20)) },
		"halves":   func(n int) int { return (n + 1) / 2 },
	}
}

// run plays a dialogue in every way and compares what is told.
func run(t *testing.T, text string) (c Conn) {
	t.Helper()
	s := parse(t, text)
	for name, cut := range splits(uint64(len(text))) {
		for range 20 {
			c = Conn{}
			if got := play(t, &c, s.turns, cut); !slices.Equal(got, s.want) {
				t.Fatalf("%s:\n got %s\nwant %s", name, show(s, got), show(s, s.want))
			}
			if name != "random" {
				break
			}
		}
	}
	return c
}

func show(s script, list []told) string {
	var all []string
	for _, x := range list {
		all = append(all, fmt.Sprintf("%s at %s %.30q", x.st, x.from, s.turns[x.turn].bytes))
	}
	return strings.Join(all, "; ")
}
