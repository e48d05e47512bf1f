// Package replay gives the packets of captures to the engine, on the clock of
// the capture: the very walk a packet of the kernel's queue takes, and the same
// events for the same files every time.
package replay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"tlsgate/internal/capture"
	"tlsgate/internal/engine"
	"tlsgate/nfq"
	"tlsgate/tlsrules"
)

// Config says how captures are replayed. The zero Config is usable.
type Config struct {
	Engine engine.Config // Interface, Inject, Offload and Recorded are replay's own
	// VerifyChecksums drops packets with a wrong checksum, as their receiver
	// would. A capture taken where checksums are computed by the network card
	// is full of them, so the default is to believe every packet.
	VerifyChecksums bool
	// Blocked, if not nil, is given every packet that would not have passed.
	Blocked func(ip []byte, time int64) error
	// Workers is how many processors are made use of; what is told does not
	// depend on it. One reads nothing ahead.
	Workers int
	// Before, if not nil, is given every packet first.
	Before *Side
	// Position, if not nil, is called once, with a function that says from any
	// goroutine how many bytes of how many were read; 0 if that is not known.
	Position func(position func() (read, total int64))
	// Idle, if not nil, is called when a pipe has nothing to be read, for what was
	// told so far to be shown.
	Idle func()
}

// Side is another policy that the same packets are judged by.
type Side struct {
	Engine engine.Config
	Policy *tlsrules.Policy
}

// Summary counts what was replayed.
type Summary struct {
	Packets uint64 // as they came to the engine: IP, out of tunnels and fragments
	Cut     uint64 // packets the capture holds only in part
	Jumps   uint64 // times the clock of the capture went back, and all began anew
	Capture capture.Counts
	// Problems are what is wrong with files, in their order. What could be read
	// of them was; the first of them stand here, the others are counted.
	Problems []error
	More     uint64
	Stats    engine.Stats
}

const (
	// tickEvery turns the engine's clock this often, in nanoseconds of the capture.
	tickEvery = 100_000_000

	// jump is how far the clock of a capture goes back before the packets are
	// taken to be of another time. Below that it stands still instead: packets of
	// several queues and interfaces are not in order, and clocks are corrected.
	jump = int64(time.Minute)

	latest = int64(1) << 62 // of what a clock can say, in 2116

	maxProblems   = 100
	maxInterfaces = 1 << 16 // names; those of more are not told
)

// Run replays files one after the other through one engine. When ctx is done it
// ends as it would at the end of the files, and returns ctx's error.
func Run(ctx context.Context, cfg Config, policy *tlsrules.Policy, files []string) (Summary, error) {
	r := &run{cfg: cfg, names: map[string]uint32{}}
	r.engine = r.judge(cfg.Engine, policy)
	r.engines = []*engine.Engine{r.engine}
	if side := cfg.Before; side != nil {
		r.engines = []*engine.Engine{r.judge(side.Engine, side.Policy), r.engine}
	}
	live := slices.ContainsFunc(files, mayWait)
	if cfg.Idle == nil || !live {
		r.cfg.Idle = func() {}
	}
	src, err := open(ctx, files)
	if err != nil {
		return r.sum, err
	}
	if cfg.Position != nil {
		cfg.Position(src.Position)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f := newFeed(ctx, src, cfg.Workers != 1 || live)
	defer f.stop()
	err = r.all(ctx, f)
	r.close()
	r.sum.Stats = r.engine.Stats()
	return r.sum, err
}

type run struct {
	cfg     Config
	engine  *engine.Engine
	engines []*engine.Engine // that one last
	sum     Summary
	now     int64
	ticked  int64
	begun   bool
	names   map[string]uint32 // interfaces of all files, numbered as they come
	list    []string
}

// judge makes an engine that judges a capture.
func (r *run) judge(cfg engine.Config, p *tlsrules.Policy) *engine.Engine {
	cfg.Interface = r.name
	cfg.Inject = nil
	cfg.Offload = false // every packet is in the file
	cfg.Recorded = true
	cfg.Limits.Stories = -1
	return engine.New(cfg, p)
}

// close ends every connection.
func (r *run) close() {
	for _, e := range r.engines {
		e.Close(r.now)
	}
}

func (r *run) all(ctx context.Context, f *feed) error {
	var b *batch
	for {
		var err error
		if b, err = f.next(ctx, b, r.cfg.Idle); err != nil {
			return err
		}
		for i := range b.items {
			k := &b.items[i]
			if k.err != nil {
				r.problem(k.err)
				continue
			}
			k.packet.Data = b.data(k)
			if err := r.packet(&k.packet); err != nil {
				return fmt.Errorf("writing blocked packets: %w", err)
			}
		}
		r.sum.Capture = b.counts
		if b.end {
			return nil
		}
	}
}

func (r *run) problem(err error) {
	if len(r.sum.Problems) == maxProblems {
		r.sum.More++
		return
	}
	r.sum.Problems = append(r.sum.Problems, err)
}

func (r *run) packet(p *capture.Packet) error {
	r.sum.Packets++
	r.tell(p.Time)
	q := nfq.Packet{
		Payload:            p.Data,
		InDev:              r.index(p.Interface),
		ChecksumUnverified: r.cfg.VerifyChecksums,
	}
	if p.Cut {
		r.sum.Cut++
		q.CapLen = uint32(len(p.Data))
	}
	var last engine.Result
	for _, e := range r.engines {
		last = e.Packet(&q, r.now)
	}
	if last.Verdict == nfq.Drop && r.cfg.Blocked != nil {
		return r.cfg.Blocked(p.Data, p.Time)
	}
	return nil
}

// tell turns the clock to the time of a packet. It goes back only for packets of
// another time, with which no connection goes on.
func (r *run) tell(t int64) {
	t = min(max(t, 0), latest)
	if r.begun && t < r.now-jump {
		r.close()
		r.sum.Jumps++
		r.now, r.ticked = t, t
	}
	r.begun = true
	r.now = max(r.now, t)
	if r.now >= r.ticked+tickEvery {
		r.ticked = r.now
		for _, e := range r.engines {
			e.Tick(r.now)
		}
	}
}

func (r *run) index(name string) uint32 {
	if name == "" {
		return 0
	}
	n, ok := r.names[name]
	if !ok {
		if len(r.list) == maxInterfaces {
			return 0
		}
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

// Harmless reports whether a problem of a file is only that it ends too early,
// or has packets of a kind that is not read.
func Harmless(err error) bool {
	return errors.Is(err, capture.ErrTruncated) || errors.Is(err, capture.ErrLinkType)
}
