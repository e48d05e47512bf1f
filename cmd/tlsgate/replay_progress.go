package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	progressAfter = time.Second // what is over sooner needs no bar
	progressEvery = 200 * time.Millisecond
	progressWidth = 30
	eraseLine     = "\r\x1b[K"
)

// progress draws on a terminal how far files were read. On anything else it does
// nothing. Its zero value does nothing.
type progress struct {
	w    io.Writer // nil: no terminal
	done chan struct{}
	wait sync.WaitGroup

	mu    sync.Mutex
	drawn bool
}

func newProgress(w io.Writer) *progress {
	if !isTerminal(w) {
		return &progress{}
	}
	return &progress{w: w}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// start draws from now on.
func (p *progress) start(position func() (read, total int64)) {
	if p.w == nil {
		return
	}
	p.done = make(chan struct{})
	p.wait.Go(func() {
		begun := time.Now()
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			select {
			case <-p.done:
				return
			case now := <-tick.C:
				if gone := now.Sub(begun); gone >= progressAfter {
					read, total := position()
					p.draw(progressLine(read, total, gone))
				}
			}
		}
	})
}

func (p *progress) draw(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	io.WriteString(p.w, eraseLine+line)
	p.drawn = true
}

// stop takes the bar away.
func (p *progress) stop() {
	if p.done == nil {
		return
	}
	close(p.done)
	p.wait.Wait()
	p.done = nil
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
}

func (p *progress) erase() {
	if p.drawn {
		io.WriteString(p.w, eraseLine)
		p.drawn = false
	}
}

// beside returns a writer for w that the bar does not disturb when both are the
// same terminal.
func (p *progress) beside(w io.Writer) io.Writer {
	if p.w == nil || !isTerminal(w) {
		return w
	}
	return &besideProgress{p: p, w: w}
}

// besideProgress writes whole lines, with the bar away.
type besideProgress struct {
	p    *progress
	w    io.Writer
	line []byte // not ended yet
}

func (b *besideProgress) Write(text []byte) (int, error) {
	b.line = append(b.line, text...)
	end := bytes.LastIndexByte(b.line, '\n') + 1
	if end == 0 {
		return len(text), nil
	}
	b.p.mu.Lock()
	defer b.p.mu.Unlock()
	b.p.erase()
	_, err := b.w.Write(b.line[:end])
	b.line = append(b.line[:0], b.line[end:]...)
	if err != nil {
		return 0, err
	}
	return len(text), nil
}

// progressLine is the bar, no longer than a terminal is wide.
func progressLine(read, total int64, gone time.Duration) string {
	if total <= 0 || read > total {
		return fmt.Sprintf("tlsgate: %s read", size(read))
	}
	full := int(read * progressWidth / total)
	left := ""
	if read > 0 {
		rest := time.Duration(float64(gone) * float64(total-read) / float64(read))
		left = fmt.Sprintf(", %s left", rest.Round(time.Second))
	}
	return fmt.Sprintf("tlsgate: [%s%s] %d%% of %s%s", strings.Repeat("#", full), strings.Repeat(".", progressWidth-full),
		read*100/total, size(total), left)
}

// size writes a number of bytes as people read it.
func size(n int64) string {
	units := []string{"kB", "MB", "GB", "TB"}
	v, i := float64(n)/1000, 0
	for v >= 999.5 && i < len(units)-1 {
		v, i = v/1000, i+1
	}
	return fmt.Sprintf("%.3g %s", v, units[i])
}
