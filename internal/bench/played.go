package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"tlsgate/internal/lab"
	"tlsgate/internal/replay/replaytest"
)

const (
	streamRate   = "packets judged/s, stream"
	streamCPU    = "CPU µs per connection, stream"
	streamBusy   = "CPUs busy with the firewall, stream"
	streamLost   = "packets lost, stream"
	playedQueued = "packets queued per connection, stream"
	playedMemory = "peak memory, stream"
	drainRate    = "packets judged/s, full queue emptied"
	drainCPU     = "CPU µs per packet, full queue emptied"
	drainLost    = "packets lost, full queue emptied"

	together = 256  // connections played at the same time
	onTheWay = 2048 // packets that may wait for a verdict in a stream
	// burst is how many connections fill the queue: the socket's buffer takes their
	// packets.
	burst = 512
)

// recordings are handshakes of TLS 1.2 and 1.3 with RSA and ECDSA, each of them once in
// full and once resumed, with a request and a kilobyte in return.
func recordings() ([][]lab.Recorded, error) {
	const kinds = 8
	c := replaytest.New(replaytest.Options{Packets: kinds * 60, Open: 1, Data: 1 << 10, MSS: 1428})
	file, err := io.ReadAll(c)
	if err != nil {
		return nil, err
	}
	var all [][]lab.Recorded
	for b := file[24:]; len(b) > 0; {
		size := int(binary.LittleEndian.Uint32(b[8:]))
		frame := b[16 : 16+size]
		b = b[16+size:]
		tcp := frame[14+20:]
		if tcp[13] == 2 { // SYN
			if len(all) == kinds {
				return all, nil
			}
			all = append(all, nil)
		}
		all[len(all)-1] = append(all[len(all)-1], lab.Recorded{FromServer: frame[5] == 0, TCP: tcp})
	}
	return nil, fmt.Errorf("%d kinds recorded", len(all))
}

// playedRows are those that handshakes are played through.
func playedRows() []firewall {
	var all []firewall
	for _, f := range rows() {
		if f.name != none {
			all = append(all, f)
		}
	}
	return append(all, row(passing), row(accepting2), row(deciding2))
}

// newPlayer is a lab of its own with a player in it: connection tracking in the gateway
// is not to be full of what else was measured.
func newPlayer(ctx context.Context) (*lab.Lab, *lab.Player, error) {
	l, err := lab.New(ctx, lab.Options{Sysctls: map[string]string{}})
	if err != nil {
		return nil, nil, err
	}
	all, err := recordings()
	if err != nil {
		l.Close()
		return nil, nil, err
	}
	p, err := l.Player(all)
	if err != nil {
		l.Close()
		return nil, nil, err
	}
	return l, p, nil
}

// measurePlayed plays recorded handshakes through the gateway: in a stream that never
// lets the queue run empty and never lets it run over, and in bursts that fill the
// queue while the firewall stands still. In the first the generator takes one CPU,
// in the second all CPUs are the firewall's.
func measurePlayed(ctx context.Context, s settings, r *results) error {
	l, player, err := newPlayer(ctx)
	if err != nil {
		return err
	}
	defer l.Close()
	defer player.Close()
	w, err := watchQueues(l)
	if err != nil {
		return err
	}
	defer w.close()
	for n := range s.rounds {
		if s.over(ctx, n) {
			break
		}
		for _, f := range s.turns(playedRows(), r) {
			p, err := f.start(s, l)
			if err != nil {
				return err
			}
			err = errors.Join(stream(s, p, player, w, r), drainQueue(s, p, player, w, r))
			r.add(playedMemory, f.name, p.peak())
			if err = errors.Join(err, p.stop()); err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
		}
	}
	return nil
}

// room waits until the queue has room for packets.
func room(w *watch) func(int) error {
	left := 0 // that may be sent before the table is to be read again
	return func(packets int) error {
		for end := time.Now().Add(patience); left < packets; {
			q, err := w.read()
			if err != nil {
				return err
			}
			if left = onTheWay - q.waiting; left < packets {
				if time.Now().After(end) {
					return fmt.Errorf("%d packets wait for ever", q.waiting)
				}
				nap(20 * time.Microsecond)
			}
		}
		left -= packets
		return nil
	}
}

// empty waits until every packet is judged.
func empty(w *watch) (q queued, err error) {
	for end := time.Now().Add(patience); ; nap(20 * time.Microsecond) {
		if q, err = w.read(); err != nil || q.waiting == 0 {
			return q, err
		}
		if time.Now().After(end) {
			return q, fmt.Errorf("%d packets are not judged", q.waiting)
		}
	}
}

func stream(s settings, p *process, player *lab.Player, w *watch, r *results) error {
	if _, err := player.Play(together, together, room(w)); err != nil { // it is warm now
		return err
	}
	before, err := empty(w)
	if err != nil {
		return err
	}
	cpu, start := p.cpu(), time.Now()
	sent, err := player.Play(s.played, together, room(w))
	if err != nil {
		return err
	}
	after, err := empty(w)
	took, cpu := time.Since(start).Seconds(), p.cpu()-cpu
	if after.bound != p.firewall.queues {
		return errors.Join(err, fmt.Errorf("it has ended: %s", p.said))
	}
	name, judged := p.firewall.name, after.judged()-before.judged()
	r.add(streamRate, name, float64(judged)/took)
	r.add(streamCPU, name, cpu.Seconds()*1e6/float64(s.played))
	r.add(streamBusy, name, cpu.Seconds()/took)
	r.add(playedQueued, name, float64(after.given-before.given)/float64(s.played))
	lost := after.lost() - before.lost()
	if name != offloaded { // where the kernel keeps some to itself
		lost = sent - judged
	}
	r.add(streamLost, name, float64(lost))
	return err
}

// drainQueue fills the queue while the firewall is stopped, and lets it go.
func drainQueue(s settings, p *process, player *lab.Player, w *watch, r *results) error {
	var took, cpu time.Duration
	judged, lost := 0, 0
	for range s.bursts {
		before, err := empty(w)
		if err != nil {
			return err
		}
		if err := p.signal(syscall.SIGSTOP); err != nil {
			return err
		}
		_, err = player.Play(burst, together, func(int) error { return nil })
		was, start := p.cpu(), time.Now()
		if err := errors.Join(err, p.signal(syscall.SIGCONT)); err != nil {
			return err
		}
		after, err := empty(w)
		if err != nil {
			return err
		}
		took, cpu = took+time.Since(start), cpu+p.cpu()-was
		judged, lost = judged+after.judged()-before.judged(), lost+after.lost()-before.lost()
	}
	r.add(drainRate, p.firewall.name, float64(judged)/took.Seconds())
	r.add(drainCPU, p.firewall.name, cpu.Seconds()*1e6/float64(judged))
	r.add(drainLost, p.firewall.name, float64(lost))
	return nil
}
