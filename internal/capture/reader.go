// Package capture reads and writes files of packets: pcap
// (draft-ietf-opsawg-pcap) and pcapng (draft-ietf-opsawg-pcapng), plain or
// compressed with gzip or Zstandard, and records packets from the interfaces of
// this host. What comes out, and what is written, are IP packets: link layers
// and tunnels are taken off, and datagrams in fragments are put together.
//
// It does not know what is inside an IP packet that is no tunnel. Reading is
// not pcapgo's, whose link types have eight bits (LINKTYPE_LINUX_SLL2, which
// tcpdump -i any writes, has nine) and which files made for it can crash;
// writing is.
package capture

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// ErrTruncated: a file ends in the middle of a packet, as it does when the
// program that wrote it was killed. All packets before were read.
var ErrTruncated = errors.New("the file ends in the middle of a packet")

// ErrLinkType is wrapped by errors that name a link type which is not read.
var ErrLinkType = errors.New("link type")

// Error is what is wrong with a file or an interface.
type Error struct {
	Op     string // "open", "read", "create", "write", "record"
	File   string // or interface
	Packet uint64 // the number of the packet, from 1, being read; 0 before the first
	Offset int64  // where in the file, not compressed, that packet or its block begins
	Err    error
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "capture: %s %s: ", e.Op, e.File)
	if e.Packet > 0 {
		fmt.Fprintf(&b, "packet %d, offset %d: ", e.Packet, e.Offset)
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

// Counts says what became of the packets of all files so far that Next did not
// give as they stand.
type Counts struct {
	Skipped   uint64 // not IP, or of a link type that is not read
	Fragments uint64
	Assembled uint64 // datagrams made of them, given as one packet each
	Lost      uint64 // datagrams of which fragments are missing, cut or contradict each other
	Dropped   uint64 // that the files say they lack: whoever recorded was too slow
	Tunnelled uint64 // packets given without the tunnel they were in
}

// Reader reads the packets of files, one after the other, in memory bounded by
// the largest packet and by what is kept of fragments. It is not safe for
// concurrent use, but for Position.
type Reader struct {
	files     files
	source    source
	in        *input
	frame     frame  // the last one read
	packet    uint64 // of this file
	fragments fragments
	counts    Counts
	refused   map[uint16]bool // link types of this file that were complained of
	closed    bool
}

// source is one file: next fills f with a packet of any link type.
type source interface {
	next(f *frame) error
}

// frame is a packet as the file has it.
type frame struct {
	data []byte
	sent uint32 // length on the wire
	time int64
	link uint16 // LINKTYPE_
	name string
}

// Open opens files that are read in the order given; "-" is standard input. The
// first is opened and its format checked at once, each other when it is reached.
func Open(paths ...string) (*Reader, error) {
	r := &Reader{files: files{paths: paths}}
	if err := r.open(); err != nil && err != io.EOF {
		return nil, err
	}
	return r, nil
}

// open opens the file that comes next, or returns io.EOF.
func (r *Reader) open() error {
	f, err := r.files.open()
	if err != nil {
		return err
	}
	r.in, r.packet, r.refused = newInput(f), 0, nil
	if r.source, err = newSource(r.in, &r.counts.Dropped); err != nil {
		err = fail("read", r.files.name, 0, err)
		r.shut()
		return err
	}
	return nil
}

// Next fills p with the next IP packet. Packets of other protocols are left
// out. At the end of the last file it returns io.EOF, and once the Reader is
// closed fs.ErrClosed, of which no other error is a kind. Every other error is
// about one file: what came before it counts, and Next goes on with the packets
// of the file that can still be found, or with the file that follows.
func (r *Reader) Next(p *Packet) error {
	for {
		if r.closed {
			return fs.ErrClosed
		}
		if r.source == nil {
			if err := r.open(); err != nil {
				return err
			}
		}
		f := &r.frame
		*f = frame{}
		err := r.source.next(f)
		if err == io.EOF {
			r.shut()
			continue
		}
		r.packet++
		if err != nil {
			err = r.fail(err)
			r.shut()
			return err
		}
		if !supported(f.link) {
			r.counts.Skipped++
			if !r.refused[f.link] {
				if r.refused == nil {
					r.refused = map[uint16]bool{}
				}
				r.refused[f.link] = true
				return r.fail(fmt.Errorf("%w, such packets are left out", linkError(f.link)))
			}
			continue
		}
		if r.take(f, p) {
			return nil
		}
	}
}

func (r *Reader) fail(err error) error {
	return &Error{Op: "read", File: r.files.name, Packet: r.packet, Offset: r.in.mark, Err: err}
}

// take makes a packet of a frame, and reports whether there is one to give.
func (r *Reader) take(f *frame, p *Packet) bool {
	ip := network(f.link, f.data)
	if ip == nil {
		r.counts.Skipped++
		return false
	}
	cut := uint64(len(f.data)) < uint64(f.sent)
	measured(ip, len(ip)+int(f.sent)-len(f.data))
	for tunnels := 0; ; tunnels++ {
		ip = r.fragments.add(ip, f.time, cut && !whole(ip))
		if ip == nil {
			return false
		}
		inner := tunnelled(ip, cut && !whole(ip))
		if inner == nil || tunnels == maxTunnels {
			break
		}
		if tunnels == 0 {
			r.counts.Tunnelled++
		}
		ip = inner
	}
	*p = Packet{Data: ip, Time: f.time, Interface: f.name, Cut: cut && !whole(ip)}
	return true
}

// Idle reports that the next packet has to be waited for, perhaps: nothing of it
// is in memory yet.
func (r *Reader) Idle() bool { return r.in == nil || r.in.idle() }

// Counts returns the counters.
func (r *Reader) Counts() Counts {
	c, f := r.counts, &r.fragments
	c.Fragments, c.Assembled, c.Lost = f.seen, f.given, f.lost+uint64(len(f.held))
	return c
}

// Position returns how many bytes of how many were read of all files, as they
// lie on the disk; total is 0 if one of them has no size. Safe for concurrent use.
func (r *Reader) Position() (read, total int64) { return r.files.position() }

// Close closes the file being read. Next returns an error from then on.
func (r *Reader) Close() error {
	r.closed = true
	r.shut()
	return nil
}

// shut closes a file; what closing a file that was only read says is of no use.
func (r *Reader) shut() {
	if r.in != nil {
		r.in.close()
	}
	r.files.close()
	r.in, r.source = nil, nil
}
