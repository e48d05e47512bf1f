package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"tlsgate/conntrack/packet"
	"tlsgate/conntrack/seqnum"
	"tlsgate/internal/lab"
)

const (
	floodReader = "198.18.2.2:444"
	floodTalker = "198.18.2.2:445"
	// floodAnswers is where every hello is answered.
	floodAnswers = "198.18.2.2:447"
)

// floodRate in the environment has forged segments offered with TLSGATE_FLOOD at another
// rate than fullRate a second. Half of them come from each of fullSenders.
const (
	floodRate   = "TLSGATE_FLOOD_RATE"
	fullRate    = 200_000
	fullSenders = 2
)

// rateOf is how many segments a second are to be offered, and by how many senders, where
// bounded is what a short run has.
func rateOf(bounded int) (rate, senders int, err error) {
	if os.Getenv(floodTime) == "" {
		return bounded, 1, nil
	}
	rate = fullRate
	if s := os.Getenv(floodRate); s != "" {
		rate, err = strconv.Atoi(s)
	}
	return rate, fullSenders, err
}

// spoof sends segments from addresses of the client's network that are nobody's, so
// many a second, or as TLSGATE_FLOOD has it.
func spoof(ctx context.Context, l *lab.Lab, rate int, alter func(*packet.Segment)) error {
	return spoofTo(ctx, l, rate, l.Server.IPv4, func() func() netip.Addr {
		src := l.Client.IPv4.As4()
		return func() netip.Addr {
			src[3] = byte(10 + rand.IntN(240))
			return netip.AddrFrom4(src)
		}
	}, alter)
}

// spoof6 is spoof over IPv6, from any address of the client's /64.
func spoof6(ctx context.Context, l *lab.Lab, rate int, alter func(*packet.Segment)) error {
	return spoofTo(ctx, l, rate, l.Server.IPv6, func() func() netip.Addr {
		src := l.Client.IPv6.As16()
		return func() netip.Addr {
			binary.BigEndian.PutUint64(src[8:], rand.Uint64())
			return netip.AddrFrom16(src)
		}
	}, alter)
}

// offered counts what was sent by spoof.
var offered atomic.Uint64

// spoofTo is both; forger makes a source of addresses for each sender.
func spoofTo(ctx context.Context, l *lab.Lab, rate int, dst netip.Addr, forger func() func() netip.Addr, alter func(*packet.Segment)) error {
	rate, senders, err := rateOf(rate)
	if err != nil {
		return err
	}
	errs := make([]error, senders)
	var sending sync.WaitGroup
	for i := range errs {
		from, g := forger(), packet.Segment{Dst: dst, DstPort: 446, Window: 65535}
		sending.Go(func() {
			errs[i] = l.Client.Spray(ctx, rate/senders, &offered, func(ip []byte) []byte {
				g.Src, g.SrcPort = from(), uint16(1024+rand.IntN(60000))
				g.Seq, g.Ack = seqnum.Value(rand.Uint32()), seqnum.Value(rand.Uint32())
				alter(&g)
				return g.Append(ip)
			})
		})
	}
	sending.Wait()
	return errors.Join(errs...)
}

func floodSYNs(ctx context.Context, l *lab.Lab) error {
	return spoof(ctx, l, 50_000, func(g *packet.Segment) { g.Flags = packet.SYN })
}

// floodStray sends what looks like the middle of connections.
func floodStray(ctx context.Context, l *lab.Lab) error {
	return spoof(ctx, l, 15_000, func(g *packet.Segment) {
		g.Flags, g.Payload = packet.ACK|packet.PSH, []byte{22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}
	})
}

func floodSYNs6(ctx context.Context, l *lab.Lab) error {
	return spoof6(ctx, l, 50_000, func(g *packet.Segment) { g.Flags = packet.SYN })
}

func floodStray6(ctx context.Context, l *lab.Lab) error {
	return spoof6(ctx, l, 15_000, func(g *packet.Segment) {
		g.Flags, g.Payload = packet.ACK|packet.PSH, []byte{22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}
	})
}

// clients makes connections to a port of the server, a few at a time, and has each
// used until its user returns.
func clients(ctx context.Context, l *lab.Lab, address string, atOnce int, use func(ctx context.Context, c net.Conn)) error {
	var all sync.WaitGroup
	defer all.Wait()
	for range atOnce {
		all.Go(func() {
			for ctx.Err() == nil {
				dialing, cancel := context.WithTimeout(ctx, visitTime)
				c, err := l.Client.DialContext(dialing, "tcp", address)
				cancel()
				if err != nil {
					time.Sleep(10 * time.Millisecond)
					continue
				}
				hangUp := context.AfterFunc(ctx, func() { c.Close() })
				use(ctx, c)
				hangUp()
				c.Close()
			}
		})
	}
	return nil
}

// floodIdle has connections that say nothing, more than there may be.
func floodIdle(ctx context.Context, l *lab.Lab) error {
	return clients(ctx, l, floodReader, 1500, func(ctx context.Context, _ net.Conn) { <-ctx.Done() })
}

// greeting is the ClientHello of Go.
func greeting() []byte {
	here, there := net.Pipe()
	defer here.Close()
	go tls.Client(there, &tls.Config{ServerName: "server.lab.example", MaxVersion: tls.VersionTLS12, InsecureSkipVerify: true}).Handshake()
	head := make([]byte, 5)
	io.ReadFull(here, head)
	body := make([]byte, binary.BigEndian.Uint16(head[3:]))
	io.ReadFull(here, body)
	return append(head, body...)
}

func floodSlow(ctx context.Context, l *lab.Lab) error {
	hello := greeting()
	return clients(ctx, l, floodReader, 300, func(ctx context.Context, c net.Conn) {
		for i := range hello {
			if _, err := c.Write(hello[i : i+1]); err != nil || ctx.Err() != nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	})
}

// handshakeWithoutEnd is records of a handshake message that says it has 16 MiB.
func handshakeWithoutEnd(kind byte) []byte {
	const body = 1 << 14
	return append([]byte{22, 3, 3, body >> 8, 0, kind, 0xff, 0xff, 0xff}, make([]byte, body-4)...)
}

// goOn writes one thing after another until somebody ends it.
func goOn(ctx context.Context, c net.Conn, first, then []byte) {
	for ctx.Err() == nil {
		if _, err := c.Write(first); err != nil {
			return
		}
		first = then
	}
}

func floodEndless(ctx context.Context, l *lab.Lab) error {
	first := handshakeWithoutEnd(1)
	then := append([]byte{22, 3, 3, 1 << 6, 0}, make([]byte, 1<<14)...)
	return clients(ctx, l, floodReader, 32, func(ctx context.Context, c net.Conn) { goOn(ctx, c, first, then) })
}

// floodHoles sends all that may be kept but what comes first.
func floodHoles(ctx context.Context, l *lab.Lab) error {
	var all sync.WaitGroup
	defer all.Wait()
	for range 8 {
		all.Go(func() {
			for ctx.Err() == nil {
				c, err := l.Client.DialRaw(ctx, netip.MustParseAddrPort(floodReader), lab.Segmentation{})
				if err != nil {
					continue
				}
				for at := int64(1); at < 256<<10; at += 1400 {
					c.Inject(lab.Segment{Offset: at, Data: make([]byte, 1300)})
				}
				c.SetLinger(0)
				if rand.IntN(4) == 0 {
					c.Close()
				}
			}
		})
	}
	return nil
}

// floodTiny sends warnings, each in a record of its own, as many as it can.
func floodTiny(ctx context.Context, l *lab.Lab) error {
	tiny := bytes.Repeat([]byte{21, 3, 3, 0, 2, 1, 100}, 10_000)
	return clients(ctx, l, floodReader, 16, func(ctx context.Context, c net.Conn) { goOn(ctx, c, greeting(), tiny) })
}

func floodCertificates(ctx context.Context, l *lab.Lab) error {
	hello := greeting()
	return clients(ctx, l, floodTalker, 32, func(_ context.Context, c net.Conn) {
		c.Write(hello)
		io.Copy(io.Discard, c)
	})
}

// chainsName asks for a chain that nobody else gets.
const chainsName = "chains.lab.example"

// namedGreeting is greeting for a server of a name as long.
func namedGreeting(name string) []byte {
	return bytes.Replace(greeting(), []byte("server.lab.example"), []byte(name), 1)
}

// floodChains has a server send another chain of 170 kB on each connection, and the
// connection stays.
func floodChains(ctx context.Context, l *lab.Lab) error {
	hello := namedGreeting(chainsName)
	return clients(ctx, l, floodTalker, 100, func(ctx context.Context, c net.Conn) {
		c.Write(hello)
		io.Copy(io.Discard, c)
	})
}

// otherName is one of many as long as that of the server.
func otherName() string { return fmt.Sprintf("%06d.lab.example", rand.IntN(1e6)) }

// floodSessions begins sessions, each for another name.
func floodSessions(ctx context.Context, l *lab.Lab) error {
	return clients(ctx, l, "198.18.2.2:443", 4, func(_ context.Context, c net.Conn) {
		tls.Client(c, &tls.Config{ServerName: otherName(), InsecureSkipVerify: true}).Handshake()
	})
}

// floodPins takes pins, each of another group, and keeps them.
func floodPins(ctx context.Context, l *lab.Lab) error {
	return clients(ctx, l, floodAnswers, 200, func(ctx context.Context, c net.Conn) {
		c.Write(namedGreeting(otherName()))
		io.Copy(io.Discard, c)
	})
}

// talkHello answers a hello, and says no more.
func talkHello(c net.Conn) {
	if _, err := c.Read(make([]byte, 4096)); err == nil {
		c.Write(helloOfServer())
		io.Copy(io.Discard, c)
	}
}

// serverHello is one of TLS 1.2.
func helloOfServer() []byte {
	hello := append([]byte{22, 3, 3, 0, 44, 2, 0, 0, 40, 3, 3}, make([]byte, 32)...)
	return append(hello, 0, 0xc0, 0x2f, 0, 0, 0)
}

// talkChain sends certificates of 14 kB that nobody has seen before, and what says so.
func talkChain(c net.Conn) {
	var list []byte
	for range 12 {
		one := make([]byte, 14_000)
		for i := 0; i < len(one); i += 8 {
			binary.BigEndian.PutUint64(one[i:], rand.Uint64())
		}
		list = append(list, 0, byte(len(one)>>8), byte(len(one)&0xff))
		list = append(list, one...)
	}
	n := len(list)
	message := append([]byte{11, byte((n + 3) >> 16), byte((n + 3) >> 8), byte(n + 3), byte(n >> 16), byte(n >> 8), byte(n)}, list...)
	out := helloOfServer()
	for len(message) > 0 {
		part := min(len(message), 1<<14)
		out = append(out, 22, 3, 3, byte(part>>8), byte(part))
		out, message = append(out, message[:part]...), message[part:]
	}
	c.Write(out)
	io.Copy(io.Discard, c)
}

// talkCertificates answers a hello with TLS 1.2 and certificates without end.
func talkCertificates(c net.Conn) {
	asked := make([]byte, 4096)
	if n, err := c.Read(asked); err != nil {
		return
	} else if bytes.Contains(asked[:n], []byte(chainsName)) {
		talkChain(c)
		return
	}
	first := append(helloOfServer(), handshakeWithoutEnd(11)...)
	then := append([]byte{22, 3, 3, 1 << 6, 0}, make([]byte, 1<<14)...)
	goOn(context.Background(), c, first, then)
}
