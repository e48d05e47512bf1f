package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"tlsgate/config"
	"tlsgate/internal/engine"
	"tlsgate/internal/events"
	"tlsgate/nfq"
)

func newRunCommand() *cobra.Command {
	var file, eventsPath, socket, stateFile string
	var installRules bool
	cmd := &cobra.Command{
		Use:   "run -c FILE",
		Short: "The daemon: judge the packets of the kernel's queue",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(file)
			if err != nil {
				return err
			}
			adjust := func(c *config.Config) {
				if eventsPath != "" {
					c.Log.Events = eventsPath
				}
				if socket != "" {
					c.Control.Socket, c.Control.Asked = socket, true
				}
				if stateFile != "" {
					c.State.File, c.State.Asked = stateFile, true
				}
			}
			adjust(c)
			return runDaemon(cmd.Context(), c, installRules, adjust, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "policy file (required)")
	cmd.Flags().BoolVar(&installRules, "install-rules", false, "put the iptables rules in place and take them away again at the end")
	cmd.Flags().StringVar(&eventsPath, "events", "", `where events go: a file, "-" for standard output, "none" (default: the policy's log.events)`)
	cmd.Flags().StringVar(&socket, "socket", "", `the control socket: a path, "none" for none (default: the policy's control.socket)`)
	cmd.Flags().StringVar(&stateFile, "state", "", `the file of what outlives a restart: a path, "none" for none (default: the policy's state.file)`)
	cmd.MarkFlagRequired("config")
	return cmd
}

// worker is one queue and the engine that answers it.
type worker struct {
	queue  *nfq.Queue
	engine *engine.Engine
	last   atomic.Pointer[nfq.Stats] // of a queue that was closed: the kernel forgets them
}

func (w *worker) close() error {
	last := w.queue.Stats()
	w.last.Store(&last)
	return w.queue.Close()
}

func (w *worker) queueStats() nfq.Stats {
	if last := w.last.Load(); last != nil {
		return *last
	}
	return w.queue.Stats()
}

// runDaemon serves until ctx ends. Queues are open before rules send packets
// to them, and rules are gone before queues close.
func runDaemon(ctx context.Context, c *config.Config, installRules bool, adjust func(*config.Config), stdout, stderr io.Writer) (err error) {
	// From here on SIGHUP asks for the policy file to be read again.
	hangup := make(chan os.Signal, 1)
	signal.Reset(syscall.SIGHUP)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	ctx, end := context.WithCancel(ctx)
	defer end()

	// A reader of standard output that went away costs events, not the daemon.
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)
	defer signal.Stop(pipe)

	// The socket goes last: whoever reads events reads the last ones too.
	closeControl := func() error { return nil }
	defer func() { err = errors.Join(err, closeControl()) }()

	log, closeLog, err := openEvents(c.Log.Events, stdout)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeLog()) }()

	clock := engine.Clock()
	start := clock()
	wall := engine.NewWall(clock)
	kept := newRemembered(c, wall)
	devices := &links{}
	workers, err := openWorkers(ctx, c, kept, devices, log)
	if errors.Is(err, context.Canceled) {
		return nil // told to end before it had begun
	}
	if err != nil {
		return err
	}
	var running sync.WaitGroup
	failed := make(chan error, len(workers))
	reloads := newReloader(c, workers, kept.pins, installRules, adjust, wall, stderr)
	watching := &watchman{workers: workers, first: c.Queue.Number, failOpen: c.Queue.FailOpen, wall: wall, devices: devices, stderr: stderr,
		sessions: kept.sessions, buffered: func() int { return reloads.config().Limits.Buffered }}
	if err = kept.open(c, clock, stderr); err == nil {
		closeControl, err = openControl(c, workers, kept, reloads, watching, log, clock, start)
		if err != nil && !c.Control.Asked {
			fmt.Fprintf(stderr, "tlsgate: warning: %v: running without a control socket\n", err)
			err = nil
		}
	}
	if err != nil {
		kept.keeper.Release()
		for _, w := range workers {
			w.queue.Close()
		}
		return err
	}
	for _, w := range workers {
		running.Go(func() {
			if err := w.engine.Run(w.queue, clock); err != nil {
				failed <- err
			}
		})
	}
	kept.keeper.Start()
	defer func() {
		for _, w := range workers {
			err = errors.Join(err, w.close())
		}
		running.Wait()
		err = errors.Join(err, kept.close(), reportBugs(workers))
		log.Stats(statsOf(workers, reloads, log, wall, start))
	}()

	if installRules {
		rules, rerr := rulesOf(c)
		if rerr != nil {
			return rerr
		}
		remove := func() error { // also when ctx is over
			end, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			return rules.Remove(end)
		}
		if err := noRivals(ctx, rules); err != nil && ctx.Err() == nil {
			return err
		}
		if err := rules.Install(ctx); ctx.Err() != nil {
			return remove() // told to end before it had begun
		} else if err != nil {
			return err
		}
		defer func() {
			if err != nil { // as after kill -9: no failure of ours lets pass what is not decided
				fmt.Fprintf(stderr, "tlsgate: warning: the iptables rules stay: until tlsgate runs again, what is not decided %s; tlsgate rules down takes them away\n", passes(c.Queue.FailOpen))
				return
			}
			err = remove()
		}()
	}
	watching.lookAtLinks()
	if warning := limitMemory(c); warning != "" {
		watching.say("%s", warning)
	}
	fmt.Fprintf(stderr, "tlsgate: running: %s\n", describe(c, len(workers)))
	running.Go(func() { reloads.onHangup(ctx, hangup, terminals(), end) })
	running.Go(func() { watching.run(ctx) })
	defer end()
	defer reloads.close() // before rules are taken away
	return serve(ctx, workers, reloads, log, wall, start, failed)
}

// serve writes stats until the daemon is told to end or a worker fails.
func serve(ctx context.Context, workers []*worker, reloads *reloader, log *events.Log, wall *engine.Wall, start int64, failed <-chan error) error {
	every := time.NewTicker(reloads.config().Log.Stats)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case <-reloads.changed:
			every.Reset(reloads.config().Log.Stats)
		case <-every.C:
			log.Stats(statsOf(workers, reloads, log, wall, start))
		}
	}
}

func describe(c *config.Config, workers int) string {
	last := int(c.Queue.Number) + workers - 1
	queues := fmt.Sprintf("queue %d", c.Queue.Number)
	if workers > 1 {
		queues = fmt.Sprintf("queues %d-%d", c.Queue.Number, last)
	}
	return fmt.Sprintf("%s, %d rules, backend %s", queues, c.Policy.Len(), c.Queue.Backend)
}

// openWorkers opens every queue of the policy, or none.
func openWorkers(ctx context.Context, c *config.Config, kept *remembered, devices *links, sink engine.Sink) (_ []*worker, err error) {
	var workers []*worker
	defer func() {
		if err != nil {
			for _, w := range workers {
				w.queue.Close()
			}
		}
	}()
	n := workerCount(c)
	if last := int(c.Queue.Number) + n - 1; last >= 1<<16 {
		return nil, &config.Error{
			File: c.Path, Key: "queue.number", Hint: "lower number or set workers",
			Msg: fmt.Sprintf("with %d workers the last queue would be %d, and 65535 is the highest", n, last),
		}
	}
	marks, err := nfq.NewMarks(c.Intercept.Mark)
	if err != nil {
		return nil, err
	}
	for i := range n {
		q, err := openQueue(ctx, nfq.Config{
			Number:     c.Queue.Number + uint16(i),
			Backend:    c.Queue.Backend,
			FailOpen:   c.Queue.FailOpen,
			BusyPoll:   c.Queue.BusyPoll,
			InjectMark: marks.Pass(),
			RefuseMark: marks.Refused(),
			ClearMark:  marks.Clear(),
			InOrder:    true, // as engine.Run answers them
		})
		if err != nil {
			return nil, err
		}
		settings := engineConfig(c, n)
		settings.Marks = marks
		settings.Sessions, settings.Pins = kept.sessions, kept.pins
		settings.Gates, settings.Wall = kept.gates, kept.wall
		settings.FirstID, settings.StepID = uint64(i)+1, uint64(n)
		settings.Generation = generation(c, marks)
		settings.Interface = devices.names()
		settings.Inject = func(ip []byte, ifindex uint32) error {
			// Packets judged before go first: a reset must not overtake the ACK
			// that makes its receiver's connection.
			return errors.Join(q.Flush(), q.Inject(ip, ifindex))
		}
		settings.Refuse = func(ip []byte, ifindex uint32) error {
			return errors.Join(q.Flush(), q.Refuse(ip, ifindex))
		}
		settings.Clear = func(ip []byte, ifindex uint32) error {
			// What packets judged before say of the mark comes first.
			return errors.Join(q.Flush(), q.Clear(ip, ifindex))
		}
		if c.Log.Events != "none" || c.Control.Socket != "none" {
			settings.Sink = sink
		}
		workers = append(workers, &worker{queue: q, engine: engine.New(settings, c.Policy)})
	}
	return workers, nil
}

func workerCount(c *config.Config) int {
	if c.Queue.Workers > 0 {
		return c.Queue.Workers
	}
	return runtime.NumCPU()
}

// rulesOf gives the iptables rules of a policy.
func rulesOf(c *config.Config) (nfq.Rules, error) {
	marks, err := nfq.NewMarks(c.Intercept.Mark)
	if err != nil {
		return nfq.Rules{}, err
	}
	return nfq.Rules{
		Queue: c.Queue.Number, Workers: workerCount(c), FailOpen: c.Queue.FailOpen,
		Hooks: bothWays(c.Intercept.Hooks), Ports: c.Intercept.Ports, InInterfaces: c.Intercept.InInterfaces,
		Mark: c.Intercept.Mark, Generation: generation(c, marks), Offload: c.Intercept.Offload,
	}, nil
}

// bothWays completes hooks: what this host sends passes output, and the answers
// pass input. One without the other would show us half of every connection.
func bothWays(hooks []nfq.Hook) []nfq.Hook {
	in, out := slices.Contains(hooks, nfq.Input), slices.Contains(hooks, nfq.Output)
	switch {
	case in && !out:
		return append(slices.Clone(hooks), nfq.Output)
	case out && !in:
		return append(slices.Clone(hooks), nfq.Input)
	}
	return hooks
}

// generation gives the policy's number in the mark: the same for the same
// file, so that a restart leaves decided connections in the kernel.
func generation(c *config.Config, m nfq.Marks) uint32 {
	return binary.BigEndian.Uint32(c.Hash[:]) % m.Generations()
}

// openEvents opens where events go; "none" gives a log nobody reads.
func openEvents(path string, stdout io.Writer) (*events.Log, func() error, error) {
	switch path {
	case "-":
		log := events.NewLive(stdout)
		return log, log.Close, nil
	case "none":
		log := events.NewSilent()
		return log, log.Close, nil
	}
	f, err := openEventsFile(path)
	if err != nil {
		return nil, nil, err
	}
	log := events.NewLive(f)
	return log, func() error { return errors.Join(log.Close(), f.Close()) }, nil
}

// reportBugs turns a panic that a packet caused into an error at the end.
func reportBugs(workers []*worker) error {
	for _, w := range workers {
		if bug := w.engine.Bug(); bug != "" {
			return fmt.Errorf("judging a packet panicked, please report this: %s", bug)
		}
	}
	return nil
}

// What the policy's words are to the engine.
var (
	midstreams = [...]engine.Midstream{
		config.MidstreamDrop:    engine.MidstreamDrop,
		config.MidstreamReset:   engine.MidstreamReset,
		config.MidstreamInspect: engine.MidstreamInspect,
		config.MidstreamAccept:  engine.MidstreamAccept,
	}
	mptcps = [...]engine.MPTCP{
		config.MPTCPRefuse: engine.MPTCPRefuse,
		config.MPTCPStrip:  engine.MPTCPStrip,
		config.MPTCPAccept: engine.MPTCPAccept,
	}
)

// engineConfig gives the engine's part of a policy, for one of n workers.
func engineConfig(c *config.Config, n int) engine.Config {
	return engine.Config{
		Default: engine.Defaults{
			Malformed: c.Default.Malformed,
			Ambiguous: c.Default.Ambiguous,
			Midstream: midstreams[c.Default.Midstream],
			Undecided: c.Default.Undecided,
			Observe:   c.Default.Observe,
			RefuseFor: c.Default.RefuseFor,
		},
		Overload: c.Default.Overload,
		MPTCP:    mptcps[c.Default.MPTCP],
		Limits: engine.Limits{
			Connections:   share(c.Limits.Connections, n),
			HalfOpen:      share(c.Limits.HalfOpen, n),
			Buffered:      share(c.Limits.Buffered, n),
			PerConnection: c.Limits.PerConnection,
			Hello:         c.Limits.Hello,
			Refused:       share(c.Limits.Refused, n),
			Stories:       share(c.Limits.Stories, n),
			Decide:        c.Limits.Decide,
		},
		Grace:   c.Default.Grace,
		Lossy:   c.Queue.FailOpen,
		Offload: c.Intercept.Offload,
	}
}

// statsOf sums the counters of all workers.
func statsOf(workers []*worker, reloads *reloader, log *events.Log, wall *engine.Wall, start int64) *events.Stats {
	now := wall.Now()
	s := &events.Stats{
		Time: wall.Time(now), Uptime: (now - start) / int64(time.Second), Workers: len(workers), Lost: log.Lost(), Process: processOf(),
		Policy: reloads.told(),
	}
	for _, w := range workers {
		e, q := w.engine.Stats(), w.queueStats()
		s.Engine.Add(&e)
		s.Queue.Add(&q)
	}
	return s
}

// share divides a limit of the policy among workers, rounding up.
func share(total, workers int) int { return (total + workers - 1) / workers }
