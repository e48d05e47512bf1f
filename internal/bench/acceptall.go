package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"tlsgate/nfq"
)

// acceptAllName is the argument that makes this program the firewall that accepts all.
const acceptAllName = "accept-all"

// acceptAll answers every packet without looking at it, until it is told to end: the
// limit of what any firewall on this queue can reach. Rules, marks and verdicts are
// those of tlsgate.
func acceptAll(args []string) error {
	if len(args) != 4 {
		return errors.New("want a backend, the number of workers, a verdict, and for how long to ask for packets before sleeping")
	}
	verdict := nfq.Repeat
	if args[2] == nfq.Accept.String() {
		verdict = nfq.Accept
	}
	workers, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	busy, err := time.ParseDuration(args[3])
	if err != nil {
		return err
	}
	rules := nfq.Rules{Workers: workers, Hooks: []nfq.Hook{nfq.Forward}, Ports: []nfq.PortRange{{First: 443, Last: 443}}, Mark: 0x00ff0000}
	marks, err := nfq.NewMarks(rules.Mark)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var answering sync.WaitGroup
	defer answering.Wait()
	for i := range workers {
		q, err := nfq.Open(nfq.Config{Number: uint16(i), Backend: args[0], BusyPoll: busy, InOrder: true})
		if err != nil {
			return err
		}
		defer q.Close()
		answering.Go(func() { answer(q, verdict, marks.Pass()) })
	}
	if err := rules.Install(ctx); err != nil {
		return err
	}
	defer rules.Remove(context.Background())
	fmt.Fprintln(os.Stderr, "accept-all: running")
	<-ctx.Done()
	return nil
}

func answer(q *nfq.Queue, verdict nfq.Verdict, mark uint32) {
	batch := make([]nfq.Packet, 64)
	for {
		n, err := q.Recv(batch, time.Second)
		for i := range batch[:n] {
			q.Verdict(batch[i].ID, verdict, mark, nil)
		}
		q.Flush()
		if errors.Is(err, net.ErrClosed) {
			return
		}
	}
}
