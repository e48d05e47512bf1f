// Package capture reads and writes files of packets: pcap
// (draft-ietf-opsawg-pcap) and pcapng (draft-ietf-opsawg-pcapng), plain or
// compressed with gzip, and records packets from the interfaces of this host.
// What comes out, and what is written, are IP packets; the link layers that
// tcpdump meets on Linux are taken off.
//
// It does not know what is inside an IP packet beyond its length. Reading is
// not pcapgo's, whose link types have eight bits (LINKTYPE_LINUX_SLL2, which
// tcpdump -i any writes, has nine) and which files made for it can crash;
// writing is.
package capture

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/bits"
	"os"
	"strings"
)

// ErrTruncated: a file ends in the middle of a packet, as it does when the
// program that wrote it was killed. All packets before were read.
var ErrTruncated = errors.New("the file ends in the middle of a packet")

// Error is what is wrong with a file or an interface.
type Error struct {
	Op     string // "open", "read", "create", "write", "record"
	File   string // or interface
	Packet uint64 // the number of the packet, from 1, being read; 0 before the first
	Err    error
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "capture: %s %s: ", e.Op, e.File)
	if e.Packet > 0 {
		fmt.Fprintf(&b, "packet %d: ", e.Packet)
	}
	b.WriteString(e.Err.Error())
	return b.String()
}

// Unwrap returns what went wrong.
func (e *Error) Unwrap() error { return e.Err }

// fail makes an Error of err, whose own mention of the file is left out.
func fail(op, file string, packet uint64, err error) error {
	if err == nil {
		return nil
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return &Error{Op: op, File: file, Packet: packet, Err: err}
}

// Packet is one IP packet of a capture.
type Packet struct {
	// Data begins with the IP header; link layer padding may follow the packet.
	// It belongs to the Reader, until the next call of Next.
	Data []byte
	// Time is in nanoseconds since the Unix epoch, as the file has it: it may go
	// back. A packet that has none has that of the packet before it.
	Time int64
	// Interface is the name of the interface, "" if the file does not say.
	Interface string
	// Cut: the file does not hold the whole packet.
	Cut bool
}

// Reader reads the packets of files, one after the other, in memory bounded by
// the largest packet. It is not safe for concurrent use.
type Reader struct {
	paths   []string // still to be read, the one being read in front
	file    io.Closer
	source  source
	frame   frame // the last one read
	packet  uint64
	skipped uint64
	err     error
}

// source is one file: next fills f with a packet of any link type.
type source interface {
	next(f *frame) error
}

// frame is a packet as the file has it.
type frame struct {
	data      []byte
	time      int64
	link      uint16 // LINKTYPE_
	name      string
	truncated bool
}

// Open opens files that are read in the order given. The first is opened and
// its format checked at once, each other when it is reached.
func Open(paths ...string) (*Reader, error) {
	r := &Reader{paths: paths}
	if err := r.open(); err != nil && err != io.EOF {
		return nil, err
	}
	return r, nil
}

// open opens the file that comes next, or returns io.EOF.
func (r *Reader) open() error {
	if len(r.paths) == 0 {
		return io.EOF
	}
	f, err := os.Open(r.paths[0])
	if err != nil {
		return fail("open", r.paths[0], 0, err)
	}
	if r.source, err = newSource(f); err != nil {
		f.Close()
		return fail("read", r.paths[0], 0, err)
	}
	r.file, r.packet = f, 0
	return nil
}

// Next fills p with the next IP packet. Packets of other protocols are left
// out. At the end of the last file it returns io.EOF, of which no other error is
// a kind. After ErrTruncated it goes on with the file that follows; every other
// error is final.
func (r *Reader) Next(p *Packet) error {
	for r.err == nil {
		if r.source == nil {
			r.err = r.open()
			continue
		}
		f := &r.frame
		*f = frame{}
		err := r.source.next(f)
		if err == io.EOF {
			r.shut()
			r.paths = r.paths[1:]
			continue
		}
		r.packet++
		if err == nil && !supported(f.link) {
			err = fmt.Errorf("link type %d is not supported", f.link)
		}
		if err != nil {
			err = fail("read", r.paths[0], r.packet, err)
			if errors.Is(err, ErrTruncated) {
				r.shut()
				r.paths = r.paths[1:]
				return err
			}
			r.err = err
			break
		}
		ip := network(f.link, f.data)
		if ip == nil {
			r.skipped++
			continue
		}
		*p = Packet{Data: ip, Time: f.time, Interface: f.name, Cut: f.truncated && !whole(ip)}
		return nil
	}
	return r.err
}

// Skipped returns how many packets were left out because they are not IP.
func (r *Reader) Skipped() uint64 { return r.skipped }

// Close closes the file being read. Next returns an error from then on.
func (r *Reader) Close() error {
	r.shut()
	if r.err == nil {
		r.err = fs.ErrClosed
	}
	return nil
}

// shut closes a file; what closing a file that was only read says is of no use.
func (r *Reader) shut() {
	if r.file != nil {
		r.file.Close()
	}
	r.file, r.source = nil, nil
}

// newSource finds out what the file is by its first bytes.
func newSource(file io.Reader) (source, error) {
	in := &input{Reader: bufio.NewReaderSize(file, 64<<10)}
	if magic, _ := in.Peek(2); len(magic) == 2 && magic[0] == 0x1f && magic[1] == 0x8b { // RFC 1952, Section 2.3.1
		z, err := gzip.NewReader(in.Reader)
		if err != nil {
			return nil, err
		}
		in.Reader = bufio.NewReaderSize(z, 64<<10)
	}
	magic, err := in.Peek(4)
	switch {
	case len(magic) == 0 && err == io.EOF:
		return nil, errors.New("the file is empty")
	case err != nil && err != io.EOF:
		return nil, err
	case len(magic) < 4:
		return nil, errNotCapture
	case binary.BigEndian.Uint32(magic) == blockSection:
		return newPcapng(in)
	}
	return newPcap(in)
}

var (
	errNotCapture = errors.New("neither pcap nor pcapng")
	errHeader     = errors.New("the file ends in its header")
)

// headerError says of a file that ends too early that it has no packets.
func headerError(err error) error {
	if err == ErrTruncated {
		return errHeader
	}
	return err
}

// maxPacket bounds the length of a packet, and so the memory one can take: more
// than four times what tcpdump writes, twice the longest packet Linux makes.
const maxPacket = 1 << 20

// input reads a file in pieces.
type input struct {
	*bufio.Reader
	buf []byte
}

// bytes returns the next n bytes, in buf, until it is called again. At the end
// of the file it returns io.EOF, in the middle of the n bytes ErrTruncated.
func (in *input) bytes(n uint32) ([]byte, error) {
	if n > maxPacket {
		return nil, fmt.Errorf("%d bytes in one piece, at most %d are read", n, maxPacket)
	}
	if int(n) > len(in.buf) {
		in.buf = make([]byte, max(2048, 1<<bits.Len32(n-1)))
	}
	if _, err := io.ReadFull(in, in.buf[:n]); err != nil {
		if err == io.ErrUnexpectedEOF {
			err = ErrTruncated
		}
		return nil, err
	}
	return in.buf[:n], nil
}

// rest is bytes in the middle of something: the end of the file truncates it.
func (in *input) rest(n uint32) ([]byte, error) {
	b, err := in.bytes(n)
	if err == io.EOF {
		err = ErrTruncated
	}
	return b, err
}

// skip passes over n bytes in the middle of something.
func (in *input) skip(n uint32) error {
	for n > 0 {
		k, err := in.Discard(int(min(n, 1<<30)))
		n -= uint32(k)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			err = ErrTruncated
		}
		if err != nil {
			return err
		}
	}
	return nil
}
