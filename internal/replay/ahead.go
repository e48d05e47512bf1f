package replay

import (
	"context"
	"io"
	"io/fs"
	"os"

	"tlsgate/internal/capture"
)

const (
	batchPackets = 1024
	batchBytes   = 512 << 10 // a packet may carry a batch beyond it
	batches      = 4         // in flight
)

// batch is packets in the order of the files, and the errors between them. It
// owns its memory, which serves again.
type batch struct {
	items  []item
	bytes  []byte
	counts capture.Counts // as of its end
	end    bool           // nothing follows
}

// item is a packet, whose Data is bytes [from, to) of its batch; or an error.
type item struct {
	packet   capture.Packet
	from, to int
	err      error
}

func (b *batch) data(i *item) []byte { return b.bytes[i.from:i.to:i.to] }

// fill reads until the batch is full, or the next packet would have to be waited
// for.
func (b *batch) fill(src *capture.Reader) {
	b.items, b.bytes, b.end = b.items[:0], b.bytes[:0], false
	for len(b.items) < batchPackets && len(b.bytes) < batchBytes && (len(b.items) == 0 || !src.Idle()) {
		var i item
		i.err = src.Next(&i.packet)
		if i.err == io.EOF || i.err == fs.ErrClosed {
			b.end = true
			break
		}
		if i.err == nil {
			i.from = len(b.bytes)
			b.bytes = append(b.bytes, i.packet.Data...)
			i.to = len(b.bytes)
			i.packet.Data = nil
		}
		b.items = append(b.items, i)
	}
	b.counts = src.Counts()
}

// mayWait reports whether a file can keep its reader waiting for ever: a pipe, or
// whatever standard input is.
func mayWait(file string) bool {
	info, err := os.Stat(file)
	return file == capture.StandardInput || err == nil && !info.Mode().IsRegular()
}

// open opens files, of which the first may have to be waited for.
func open(ctx context.Context, files []string) (src *capture.Reader, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		src, err = capture.Open(files...)
	}()
	select {
	case <-done:
		return src, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// feed gives batches one after the other: read when they are asked for, or ahead
// by a goroutine of its own.
type feed struct {
	src   *capture.Reader
	one   batch
	full  chan *batch
	empty chan *batch
}

// newFeed takes over src.
func newFeed(ctx context.Context, src *capture.Reader, ahead bool) *feed {
	f := &feed{src: src}
	if !ahead {
		return f
	}
	f.full, f.empty = make(chan *batch, batches), make(chan *batch, batches)
	for range batches {
		f.empty <- &batch{}
	}
	go f.run(ctx)
	return f
}

// run reads ahead until there is nothing more or nobody takes it. Who waits for
// standard input may never come to look whether somebody still does.
func (f *feed) run(ctx context.Context) {
	defer f.src.Close()
	for {
		var b *batch
		select {
		case b = <-f.empty:
		case <-ctx.Done():
			return
		}
		b.fill(f.src)
		end := b.end
		f.full <- b // there is room for all
		if end {
			return
		}
	}
}

// next returns the next batch, valid until it is called again. It calls idle
// before it waits for one.
func (f *feed) next(ctx context.Context, done *batch, idle func()) (*batch, error) {
	if f.full == nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		f.one.fill(f.src)
		return &f.one, nil
	}
	if done != nil {
		f.empty <- done
	}
	select {
	case b := <-f.full:
		return b, ctx.Err()
	default:
		idle()
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case b := <-f.full:
		return b, nil
	}
}

// stop lets go of the files. A reader ahead does so itself.
func (f *feed) stop() {
	if f.full == nil {
		f.src.Close()
	}
}
