package tlswire

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// record frames a body as one record.
func record(t ContentType, version uint16, body []byte) []byte {
	b := append([]byte{byte(t)}, byte(version>>8), byte(version))
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	return append(b, body...)
}

// records frames handshake bytes as records of at most size bytes.
func records(version uint16, msg []byte, size int) []byte {
	var b []byte
	for chunk := range slices.Chunk(msg, size) {
		b = append(b, record(RecordTypeHandshake, version, chunk)...)
	}
	return b
}

// message frames a handshake message.
func message(t HandshakeType, body []byte) []byte {
	n := len(body)
	return append([]byte{byte(t), byte(n >> 16), byte(n >> 8), byte(n)}, body...)
}

// An ext is an extension of a hello built by a test.
type ext struct {
	id   uint16
	data []byte
}

// clientHello builds a ClientHello message.
func clientHello(suites []uint16, exts ...ext) []byte {
	var b cryptobyte.Builder
	b.AddUint16(VersionTLS12)
	b.AddBytes(make([]byte, 32))
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(make([]byte, 32)) })
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, s := range suites {
			b.AddUint16(s)
		}
	})
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddUint8(0) })
	addExtensions(&b, exts)
	return message(TypeClientHello, b.BytesOrPanic())
}

// serverHello builds a ServerHello message.
func serverHello(version, suite uint16, exts ...ext) []byte {
	var b cryptobyte.Builder
	b.AddUint16(version)
	b.AddBytes(make([]byte, 32))
	b.AddUint8(0)
	b.AddUint16(suite)
	b.AddUint8(0)
	addExtensions(&b, exts)
	return message(TypeServerHello, b.BytesOrPanic())
}

// serverHello13 builds a TLS 1.3 ServerHello message.
func serverHello13(suite uint16) []byte {
	return serverHello(VersionTLS12, suite, ext{extensionSupportedVersions, []byte{3, 4}})
}

// retryRequest builds a HelloRetryRequest.
func retryRequest(suite uint16) []byte {
	m := serverHello13(suite)
	copy(m[6:], helloRetryRequestRandom[:])
	return m
}

// certificateList builds the body of a Certificate message.
func certificateList(certificates ...[]byte) []byte {
	var b cryptobyte.Builder
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, der := range certificates {
			b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(der) })
		}
	})
	return b.BytesOrPanic()
}

func addExtensions(b *cryptobyte.Builder, exts []ext) {
	if len(exts) == 0 {
		return
	}
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, e := range exts {
			b.AddUint16(e.id)
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(e.data) })
		}
	})
}

func serverName(name string) ext {
	var b cryptobyte.Builder
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		b.AddUint8(0)
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(name)) })
	})
	return ext{extensionServerName, b.BytesOrPanic()}
}

// chromeHello is a ClientHello as Chrome sends it: GREASE everywhere, an ML-KEM
// share, ECH, ALPN, a compressed certificate.
func chromeHello() []byte {
	share := append([]byte{0x04, 0xed, 0x0a, 0x0a, 0x00, 0x01, 0x00, 0x11, 0xec, 0x04, 0xc0}, make([]byte, 1216)...)
	share = append(append(share, 0x00, 0x1d, 0x00, 0x20), make([]byte, 32)...)
	ech := append([]byte{0, 0, 1, 0, 1, 7, 0, 32}, make([]byte, 32)...)
	ech = append(append(ech, 0, 208), make([]byte, 208)...)
	return clientHello(
		[]uint16{0x2a2a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x9c, 0x9d, 0x2f, 0x35},
		ext{0x3a3a, nil},
		ext{extensionRenegotiationInfo, []byte{0}},
		ext{extensionSignatureAlgorithms, []byte{0, 16, 4, 3, 8, 4, 4, 1, 5, 3, 8, 5, 5, 1, 8, 6, 6, 1}},
		serverName("api.bank.example"),
		ext{17613, []byte{0, 3, 2, 'h', '2'}},
		ext{27, []byte{2, 0, 2}},
		ext{extensionALPN, []byte("\x00\x0c\x02h2\x08http/1.1")},
		ext{extensionPSKModes, []byte{1, 1}},
		ext{extensionStatusRequest, []byte{1, 0, 0, 0, 0}},
		ext{extensionEncryptedClientHello, ech},
		ext{extensionKeyShare, share},
		ext{extensionSupportedGroups, []byte{0, 10, 0x0a, 0x0a, 0x11, 0xec, 0, 29, 0, 23, 0, 24}},
		ext{extensionECPointFormats, []byte{1, 0}},
		ext{extensionSupportedVersions, []byte{6, 0x1a, 0x1a, 3, 4, 3, 3}},
		ext{extensionExtendedMasterSecret, nil},
		ext{extensionSCT, nil},
		ext{extensionSessionTicket, nil},
		ext{0x4a4a, []byte{0}},
	)
}

// A flight is bytes of one side, in the order in which they were sent.
type flight struct {
	from Side
	data []byte
}

// A story is what a Conn told of flights, in an order that does not depend on
// how they were cut.
type story struct {
	Events []string
	Opaque [2]string // one letter for each byte: o opaque, r read
	Bodies []string  // checksums of the messages that were read
}

// A cut says how many of the n bytes that are there to offer next.
type cut func(n int) int

func whole(n int) int   { return n }
func oneByte(n int) int { return 1 }

// tell feeds flights to c and holds Consume to its contract.
func tell(t testing.TB, c *Conn, flights []flight, next cut) story {
	t.Helper()
	var s story
	var opaque [2]strings.Builder
	var nothing [2]int // consumed, which may happen once
	twin := packedTwin(c)
	for _, f := range flights {
		for b := f.data; len(b) > 0; {
			piece := b[:max(1, min(len(b), next(len(b))))]
			b = b[len(piece):]
			for len(piece) > 0 {
				n, op, st := c.Consume(f.from, piece)
				twin.consume(t, c, f.from, piece, n, op, st)
				if n < 0 || n > len(piece) || st == NeedMore && n != len(piece) || st == Again && (n == 0 || n == len(piece)) {
					t.Fatalf("Consume(%v, %d bytes) = %d, %v, %v", f.from, len(piece), n, op, st)
				}
				if n == 0 {
					nothing[f.from]++
				}
				if n == 0 && (nothing[f.from] > 1 || st != Record && st != Malformed) {
					t.Fatalf("Consume(%v, %d bytes) consumed nothing: %v", f.from, len(piece), st)
				}
				if body := c.Message(); body != nil {
					if st != Message || len(body) != int(c.LastMessage.Length) {
						t.Fatalf("a body of %d bytes with %v of %d", len(body), st, c.LastMessage.Length)
					}
					s.Bodies = append(s.Bodies, fmt.Sprintf("%08x", crc32.ChecksumIEEE(body)))
				}
				letter := "r"
				if op {
					letter = "o"
				}
				opaque[f.from].WriteString(strings.Repeat(letter, n))
				piece = piece[n:]
				if e := event(c, f.from, st); e != "" && (st < NotTLS || !slices.Contains(s.Events, e)) {
					s.Events = append(s.Events, e)
				}
			}
		}
	}
	s.Opaque = [2]string{opaque[0].String(), opaque[1].String()}
	return s
}

// event describes what c tells with a status.
func event(c *Conn, from Side, st Status) string {
	switch st {
	case Record:
		h := c.Header[from]
		inferred := ""
		if h.Inferred {
			inferred = " inferred"
		}
		return fmt.Sprintf("%v record %d %#04x %d %v%s", from, h.Type, h.Version, h.Length, h.Content, inferred)
	case Message:
		return fmt.Sprintf("%v message %d %d", from, c.LastMessage.Type, c.LastMessage.Length)
	case Alert:
		return fmt.Sprintf("%v alert %+v", from, c.LastAlert)
	case NotTLS:
		return fmt.Sprintf("%v not TLS %v", from, c.Protocol)
	case Malformed:
		return fmt.Sprintf("%v malformed %v %d", from, c.Fault.Field, c.Fault.Offset)
	}
	return ""
}

// A tape records what the two ends of a connection write, in order.
type tape struct {
	mu      sync.Mutex
	flights []flight
}

// A tapedConn writes through an unbounded queue, so that two ends which both
// write first do not wait for each other.
type tapedConn struct {
	net.Conn
	tape  *tape
	side  Side
	queue chan []byte
	done  chan struct{}
	once  sync.Once
}

// tapedPipe returns the two ends of a net.Pipe, recorded.
func tapedPipe(t *tape) (client, server *tapedConn) {
	a, b := net.Pipe()
	return newTapedConn(t, a, Client), newTapedConn(t, b, Server)
}

func newTapedConn(t *tape, c net.Conn, side Side) *tapedConn {
	tc := &tapedConn{Conn: c, tape: t, side: side, queue: make(chan []byte, 1024), done: make(chan struct{})}
	go func() {
		defer close(tc.done)
		for b := range tc.queue {
			tc.Conn.SetWriteDeadline(time.Now().Add(time.Second))
			tc.Conn.Write(b)
		}
		tc.Conn.Close()
	}()
	return tc
}

func (c *tapedConn) Write(b []byte) (int, error) {
	c.tape.mu.Lock()
	defer c.tape.mu.Unlock()
	b = slices.Clone(b)
	c.tape.flights = append(c.tape.flights, flight{c.side, b})
	c.queue <- b
	return len(b), nil
}

func (c *tapedConn) SetWriteDeadline(time.Time) error { return nil }

func (c *tapedConn) Close() error {
	c.once.Do(func() { close(c.queue) })
	<-c.done
	return nil
}
