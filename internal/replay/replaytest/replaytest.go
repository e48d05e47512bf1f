// Package replaytest makes captures of TLS connections, as long as one likes, in
// little memory: handshakes that crypto/tls made, and records of application data
// that nobody encrypted, in packets of an Ethernet that never was.
package replaytest

import (
	"encoding/binary"
	"io"
	"math/rand/v2"
	"time"
)

// Options say what a capture holds. The zero Options are usable.
type Options struct {
	Packets int           // at least; the connections open then go on to their end. Default 10000.
	Open    int           // connections at the same time: 64
	Data    int           // bytes of application data in each, most of them the server's: 16 KiB
	MSS     int           // 1448
	Pace    time.Duration // from one packet to the next: 1 µs
	Seed    uint64
}

func (o Options) withDefaults() Options {
	or := func(v *int, def int) {
		if *v <= 0 {
			*v = def
		}
	}
	or(&o.Packets, 10000)
	or(&o.Open, 64)
	or(&o.Data, 16<<10)
	or(&o.MSS, 1448)
	if o.Pace < time.Microsecond {
		o.Pace = time.Microsecond
	}
	return o
}

// Capture is the file, to be read. Two of the same Options are the same but for
// what crypto/tls chose in the handshakes, which one process makes once.
type Capture struct {
	Connections int // begun so far
	Frames      int // made so far

	o     Options
	rand  *rand.Rand
	open  []*conversation
	time  int64 // microseconds
	buf   []byte
	given int
}

// New returns a capture.
func New(o Options) *Capture {
	c := &Capture{o: o.withDefaults(), time: 1_795_253_400_000_000}
	c.rand = rand.New(rand.NewPCG(c.o.Seed, 1))
	c.buf = fileHeader(c.buf)
	return c
}

// Read implements io.Reader.
func (c *Capture) Read(p []byte) (int, error) {
	for c.given == len(c.buf) {
		c.buf, c.given = c.buf[:0], 0
		if !c.more() {
			return 0, io.EOF
		}
	}
	n := copy(p, c.buf[c.given:])
	c.given += n
	return n, nil
}

// more appends packets to buf, and reports whether there were any left.
func (c *Capture) more() bool {
	for len(c.open) < c.o.Open && c.Frames+len(c.open) < c.o.Packets {
		c.open = append(c.open, c.conversation())
	}
	for range 256 {
		if len(c.open) == 0 {
			break
		}
		i := c.rand.IntN(len(c.open))
		if !c.open[i].next(c) {
			c.open[i] = c.open[len(c.open)-1]
			c.open = c.open[:len(c.open)-1]
		}
	}
	return len(c.buf) > 0
}

// Files gives the capture in n files, one after the other as a recorder rotates
// them: connections go on from one to the next.
func Files(o Options, n int) [][]byte {
	all, err := io.ReadAll(New(o))
	if err != nil {
		panic(err)
	}
	head, rest := all[:24], all[24:]
	files := make([][]byte, 0, n)
	for size := len(rest)/n + 1; len(rest) > 0; {
		end := 0
		for end < size && end < len(rest) {
			end += 16 + int(binary.LittleEndian.Uint32(rest[end+8:]))
		}
		files = append(files, append(head[:24:24], rest[:end]...))
		rest = rest[end:]
	}
	return files
}

func fileHeader(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, 0xa1b2c3d4)
	b = le.AppendUint16(le.AppendUint16(b, 2), 4)
	b = append(b, make([]byte, 8)...)
	return le.AppendUint32(le.AppendUint32(b, 262144), 1)
}
