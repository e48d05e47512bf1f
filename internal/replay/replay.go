// Package replay gives the packets of captures to the engine, on the clock of
// the capture: the very walk a packet of the kernel's queue takes, and the same
// events for the same files every time.
package replay

import (
	"context"
	"errors"
	"fmt"
	"io"

	"tlsgate/internal/capture"
	"tlsgate/internal/engine"
	"tlsgate/nfq"
	"tlsgate/tlsrules"
)

// Config says how captures are replayed. The zero Config is usable.
type Config struct {
	Engine engine.Config // Interface and Inject are replay's own
	// VerifyChecksums drops packets with a wrong checksum, as their receiver
	// would. A capture taken where checksums are computed by the network card
	// is full of them, so the default is to believe every packet.
	VerifyChecksums bool
	// Blocked, if not nil, is given every packet that would not have passed.
	Blocked func(ip []byte, time int64) error
}

// Summary counts what was replayed.
type Summary struct {
	Packets uint64
	Cut     uint64 // packets the capture holds only in part: dropped unread
	Skipped uint64 // packets that are not IP
	// Truncated says which files end in the middle of a packet, nil for none.
	Truncated error
	Stats     engine.Stats
}

// tickEvery turns the engine's clock this often, in nanoseconds of the capture.
const tickEvery = 100_000_000

// Run replays files one after the other through one engine.
func Run(ctx context.Context, cfg Config, policy *tlsrules.Policy, files []string) (Summary, error) {
	r := &run{cfg: cfg, names: map[string]uint32{}}
	cfg.Engine.Interface = r.name
	cfg.Engine.Inject = nil
	r.engine = engine.New(cfg.Engine, policy)
	src, err := capture.Open(files...)
	if err != nil {
		return r.sum, err
	}
	defer src.Close()
	if err := r.all(ctx, src); err != nil {
		return r.sum, err
	}
	r.sum.Skipped = src.Counts().Skipped
	r.engine.Close(r.now)
	r.sum.Stats = r.engine.Stats()
	return r.sum, nil
}

type run struct {
	cfg    Config
	engine *engine.Engine
	sum    Summary
	now    int64
	ticked int64
	names  map[string]uint32 // interfaces of all files, numbered as they come
	list   []string
}

func (r *run) all(ctx context.Context, src *capture.Reader) error {
	var p capture.Packet
	for {
		if r.sum.Packets%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		err := src.Next(&p)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, capture.ErrTruncated): // what came before it counts
			r.sum.Truncated = errors.Join(r.sum.Truncated, err)
			continue
		case err != nil:
			return err
		}
		if err := r.packet(&p); err != nil {
			return fmt.Errorf("writing blocked packets: %w", err)
		}
	}
}

func (r *run) packet(p *capture.Packet) error {
	r.sum.Packets++
	r.now = max(r.now, p.Time)
	if r.now >= r.ticked+tickEvery {
		r.ticked = r.now
		r.engine.Tick(r.now)
	}
	q := nfq.Packet{
		Payload:            p.Data,
		InDev:              r.index(p.Interface),
		ChecksumUnverified: r.cfg.VerifyChecksums,
	}
	if p.Cut {
		r.sum.Cut++
		q.CapLen = uint32(len(p.Data))
	}
	if r.engine.Packet(&q, r.now).Verdict == nfq.Drop && r.cfg.Blocked != nil {
		return r.cfg.Blocked(p.Data, p.Time)
	}
	return nil
}

func (r *run) index(name string) uint32 {
	if name == "" {
		return 0
	}
	n, ok := r.names[name]
	if !ok {
		r.list = append(r.list, name)
		n = uint32(len(r.list))
		r.names[name] = n
	}
	return n
}

func (r *run) name(index uint32) string {
	if index == 0 || int(index) > len(r.list) {
		return ""
	}
	return r.list[index-1]
}
