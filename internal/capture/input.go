package capture

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxPacket bounds the length of a packet, and so the memory one can take: more
// than four times what tcpdump writes, twice the longest packet Linux makes.
const (
	maxPacket = 1 << 20
	maxBlock  = 2 * maxPacket // with its options
)

const (
	readAhead = 256 << 10 // of a file
	inflated  = 256 << 10 // of what is decompressed

	// maxWindow bounds the memory that a compressed file can ask for: what zstd
	// itself takes without being told to.
	maxWindow = 128 << 20
)

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

// truncated is what the end of a file, or of what was compressed in it, means
// in the middle of something.
func truncated(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return ErrTruncated
	}
	return err
}

// input reads a file in pieces.
type input struct {
	*bufio.Reader
	raw  *bufio.Reader // the file, if it is compressed
	done func()
	buf  []byte
	at   int64 // bytes read
	mark int64 // where the packet or block begins that is being read
}

func newInput(file io.Reader) *input {
	return &input{Reader: bufio.NewReaderSize(file, readAhead), done: func() {}}
}

func (in *input) close() { in.done() }

// idle reports that the next byte is not in memory.
func (in *input) idle() bool {
	return in.Buffered() == 0 && (in.raw == nil || in.raw.Buffered() == 0)
}

// decompress finds out by its first bytes whether a file is compressed.
func (in *input) decompress() error {
	magic, _ := in.Peek(4)
	switch {
	case len(magic) >= 2 && magic[0] == 0x1f && magic[1] == 0x8b: // RFC 1952, Section 2.3.1
		z, err := gzip.NewReader(in.Reader)
		if err != nil {
			return compressionError(err)
		}
		in.raw, in.Reader = in.Reader, bufio.NewReaderSize(z, inflated)
	case len(magic) == 4 && binary.LittleEndian.Uint32(magic) == 0xfd2fb528: // RFC 8878, Section 3.1.1
		z, err := zstd.NewReader(in.Reader, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return compressionError(err)
		}
		in.raw, in.Reader, in.done = in.Reader, bufio.NewReaderSize(z, inflated), z.Close
	}
	return nil
}

// compressionError says of a compressed file that it ends too early, in words
// of this room.
func compressionError(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errHeader
	}
	return err
}

// newSource finds out what the file is by its first bytes. To drops is added what
// the file says is missing from it.
func newSource(in *input, drops *uint64) (source, error) {
	if err := in.decompress(); err != nil {
		return nil, err
	}
	magic, err := in.Peek(4)
	switch {
	case len(magic) == 0 && err == io.EOF:
		return nil, errors.New("the file is empty")
	case err == io.ErrUnexpectedEOF:
		return nil, errHeader
	case err != nil && err != io.EOF:
		return nil, err
	case len(magic) < 4:
		return nil, errNotCapture
	case binary.BigEndian.Uint32(magic) == blockSection:
		return newPcapng(in, drops)
	}
	return newPcap(in)
}

// bytes returns the next n bytes, until it is called again. At the end of the
// file it returns io.EOF, in the middle of the n bytes ErrTruncated. They begin
// a packet or block.
func (in *input) bytes(n uint32) ([]byte, error) {
	in.mark = in.at
	return in.take(n)
}

func (in *input) take(n uint32) ([]byte, error) {
	if n > maxBlock {
		return nil, tooLong(n)
	}
	if int(n) <= in.Size() {
		b, err := in.Peek(int(n))
		if err != nil {
			if len(b) > 0 {
				err = truncated(err)
			} else if err == io.ErrUnexpectedEOF {
				err = ErrTruncated
			}
			return nil, err
		}
		in.Discard(int(n))
		in.at += int64(n)
		return b[:n:n], nil
	}
	if int(n) > len(in.buf) {
		in.buf = make([]byte, 1<<bits.Len32(n-1))
	}
	k, err := io.ReadFull(in, in.buf[:n])
	in.at += int64(k)
	if err == io.ErrUnexpectedEOF {
		err = ErrTruncated
	}
	return in.buf[:n], err
}

func tooLong(n uint32) error {
	return fmt.Errorf("%d bytes in one piece, at most %d are read", n, maxPacket)
}

// rest is bytes in the middle of something: the end of the file truncates it.
func (in *input) rest(n uint32) ([]byte, error) {
	b, err := in.take(n)
	return b, truncated(err)
}

// skip passes over n bytes in the middle of something.
func (in *input) skip(n uint32) error {
	for n > 0 {
		k, err := in.Discard(int(min(n, 1<<30)))
		n -= uint32(k)
		in.at += int64(k)
		if err != nil {
			return truncated(err)
		}
	}
	return nil
}
