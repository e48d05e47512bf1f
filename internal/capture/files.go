package capture

import (
	"io"
	"os"
	"sync/atomic"
)

// StandardInput is the name that stands for it.
const StandardInput = "-"

// files opens files one after the other, and knows how far they were read.
type files struct {
	paths []string // still to be opened
	name  string   // of the one that is open
	file  *os.File
	read  atomic.Int64
	total atomic.Int64 // unknown: negative
	sized bool
}

// open opens the next file, or returns io.EOF.
func (s *files) open() (io.Reader, error) {
	s.size()
	if len(s.paths) == 0 {
		return nil, io.EOF
	}
	s.name, s.paths = s.paths[0], s.paths[1:]
	if s.name == StandardInput {
		return s.counted(os.Stdin), nil
	}
	f, err := os.Open(s.name)
	if err != nil {
		return nil, fail("open", s.name, 0, err)
	}
	s.file = f
	return s.counted(f), nil
}

// size adds up the sizes of all files, before the first is opened.
func (s *files) size() {
	if s.sized {
		return
	}
	s.sized = true
	total := int64(0)
	for _, path := range s.paths {
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() || path == StandardInput {
			total = -1
			break
		}
		total += info.Size()
	}
	s.total.Store(total)
}

func (s *files) position() (read, total int64) { return s.read.Load(), max(s.total.Load(), 0) }

func (s *files) close() {
	if s.file != nil {
		s.file.Close()
		s.file = nil
	}
}

func (s *files) counted(r io.Reader) io.Reader { return &counted{r, &s.read} }

// counted counts what is read.
type counted struct {
	io.Reader
	n *atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}
