package events

import (
	"bytes"
	"io"
)

// enough is how many bytes are written at once.
const enough = 4096

// lines gathers whole lines and writes them. Unlike a bufio.Writer it tries again
// after an error: a disk that was full has room some day. Lines that could not be
// written are lost, but for the rest of one of which the beginning was. The zero
// lines has no writer and is not usable.
type lines struct {
	w    io.Writer
	buf  []byte
	rest int // bytes of buf that go on a line already begun
}

// put adds a line, and returns how many lines were lost by that.
func (l *lines) put(line []byte) (lost int, err error) {
	l.buf = append(l.buf, line...)
	if len(l.buf) < enough {
		return 0, nil
	}
	return l.flush()
}

// flush writes what was gathered, and returns how many lines were lost.
func (l *lines) flush() (lost int, err error) {
	if len(l.buf) == 0 {
		return 0, nil
	}
	n, err := l.w.Write(l.buf)
	if n = min(max(n, 0), len(l.buf)); err == nil && n < len(l.buf) {
		err = io.ErrShortWrite
	}
	if err == nil {
		l.buf, l.rest = l.buf[:0], 0
		return 0, nil
	}
	// What is left of the line that n lies in; a line that has not begun has none.
	left, begun := l.buf[n:], n > 0 && l.buf[n-1] != '\n' || n == 0 && l.rest > 0
	l.rest = 0
	if begun {
		l.rest = bytes.IndexByte(left, '\n') + 1
	}
	lost = bytes.Count(left[l.rest:], []byte{'\n'})
	l.buf = append(l.buf[:0], left[:l.rest]...)
	return lost, err
}
