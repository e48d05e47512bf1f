package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"tlsgate/internal/lab"
)

const (
	latency50 = "added latency µs, p50"
	latency99 = "added latency µs, p99"
	load      = "packets/s beside the requests"
	loadBusy  = "CPUs busy with the firewall beside the requests"
	loadLost  = "packets lost beside the requests"
	bare50    = "latency µs of plain forwarding, p50"

	requestPause = 100 * time.Microsecond
	requestsTime = 10 * time.Second // in which they are done, or the firewall is too slow
)

// measureLatency measures how long 100 bytes take to the server and back on an open
// TLS connection, while recorded handshakes are played at half the rate that accept-all
// reaches. What a row adds is its time less the median of plain forwarding's, under the
// same load in the same round.
func measureLatency(ctx context.Context, s settings, r *results) error {
	l, player, err := newPlayer(ctx)
	if err != nil {
		return err
	}
	defer l.Close()
	defer player.Close()
	if _, err := l.Server.ServeTLS(":443", lab.ServerOptions{}); err != nil {
		return err
	}
	w, err := watchQueues(l)
	if err != nil {
		return err
	}
	defer w.close()
	rate, err := halfLoad(s, l, player, w)
	if err != nil {
		return err
	}
	for n := range s.rounds {
		if s.over(ctx, n) {
			break
		}
		var base time.Duration
		for _, f := range s.turns(latencyRows(), r) {
			if r.has(load, f.name) && !r.has(latency50, f.name) {
				continue // it did not carry the load the first time
			}
			times, err := latencyRow(s, l, f, player, w, rate, r)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				continue
			}
			if err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
			if f.name == none {
				base = percentile(times, 50)
				r.add(bare50, f.name, base.Seconds()*1e6)
			}
			r.add(latency50, f.name, (percentile(times, 50)-base).Seconds()*1e6)
			r.add(latency99, f.name, (percentile(times, 99)-base).Seconds()*1e6)
		}
	}
	return nil
}

// latencyRows are all, and two that ask for packets before they sleep.
func latencyRows() []firewall { return append(rows(), row(polled), row(polling)) }

// halfLoad is half of the packets that accept-all judges in a second.
func halfLoad(s settings, l *lab.Lab, player *lab.Player, w *watch) (float64, error) {
	p, err := row(accepting).start(s, l)
	if err != nil {
		return 0, err
	}
	var r results
	for range 3 {
		if err := stream(s, p, player, w, &r); err != nil {
			return 0, errors.Join(err, p.stop())
		}
	}
	return r.spread(streamRate, accepting).median / 2, p.stop()
}

func latencyRow(s settings, l *lab.Lab, f firewall, player *lab.Player, w *watch, rate float64, r *results) (times []time.Duration, err error) {
	p, err := f.start(s, l)
	if err != nil {
		return nil, err
	}
	before, err := w.read()
	if err != nil {
		return nil, errors.Join(err, p.stop())
	}
	var over atomic.Bool
	played := make(chan error, 1)
	var sent int
	cpu, start := p.cpu(), time.Now()
	go func() {
		var err error
		sent, err = player.Play(1<<30, 8, paced(rate, &over))
		if errors.Is(err, errOver) {
			err = nil
		}
		played <- err
	}()
	times, err = requests(l, s.requests)
	over.Store(true)
	err = errors.Join(err, <-played)
	took := time.Since(start).Seconds()
	after, werr := empty(w)
	r.add(loadBusy, f.name, (p.cpu()-cpu).Seconds()/took)
	r.add(load, f.name, float64(sent)/took)
	r.add(loadLost, f.name, float64(after.lost()-before.lost()))
	return times, errors.Join(err, werr, p.stop())
}

var errOver = errors.New("over")

// paced lets packets go at a rate, as evenly as sleeping allows.
func paced(rate float64, over *atomic.Bool) func(int) error {
	due := time.Now()
	return func(packets int) error {
		if over.Load() {
			return errOver
		}
		if wait := time.Until(due); wait > 0 {
			nap(wait)
		} else if wait < -10*time.Millisecond { // what cannot be made good is not made worse
			due = time.Now()
		}
		due = due.Add(time.Duration(float64(packets) / rate * 1e9))
		return nil
	}
}

// requests sends 100 bytes there and back, again and again for a while, on one
// connection, with a pause after each.
func requests(l *lab.Lab, d time.Duration) ([]time.Duration, error) {
	raw, err := l.Client.Dial("tcp", "198.18.2.2:443")
	if err != nil {
		return nil, err
	}
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(requestsTime))
	c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, ServerName: "server.lab.example"})
	if _, err := io.WriteString(c, "echo\n"); err != nil {
		return nil, err
	}
	buf := make([]byte, 100)
	var times []time.Duration
	warm := time.Now().Add(d / 10)
	for end := warm.Add(d); ; nap(requestPause) {
		start := time.Now()
		if _, err := c.Write(buf); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(c, buf); err != nil {
			return nil, err
		}
		now := time.Now()
		if now.After(end) && len(times) > 100 {
			return times, nil
		}
		if start.After(warm) {
			times = append(times, now.Sub(start))
		}
	}
}

func percentile(d []time.Duration, p int) time.Duration {
	slices.Sort(d)
	return d[len(d)*p/100]
}
