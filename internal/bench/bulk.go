package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"tlsgate/internal/lab"
)

var streamCounts = []int{1, 8, 64}

func bulkColumn(streams int) string { return fmt.Sprintf("bulk Gbit/s, %d streams", streams) }

const (
	bulkCPU    = "CPU s per GB"
	bulkMemory = "peak memory, bulk"
	bulkQueued = "packets queued per MB"
	pairRatio  = "offloaded of none, pair by pair"
	pairSpeed  = "bulk Gbit/s, pairs"
)

// measureBulk downloads through every firewall, over one connection and over many.
func measureBulk(ctx context.Context, s settings, r *results) error {
	l, server, err := labOfRecords(ctx)
	if err != nil {
		return err
	}
	defer l.Close()
	for n := range s.rounds {
		if s.over(ctx, n) {
			break
		}
		for _, f := range s.turns(append([]firewall{row(tracked)}, rows()...), r) {
			if err := bulkRow(s, l, f, server, r); err != nil {
				return err
			}
		}
	}
	return nil
}

func bulkRow(s settings, l *lab.Lab, f firewall, server string, r *results) error {
	p, err := f.start(s, l)
	if err != nil {
		return err
	}
	for _, streams := range streamCounts {
		before := p.cpu()
		queue, _ := p.queue()
		speed, err := download(l, server, s.bulk, streams)
		if err != nil {
			return errors.Join(fmt.Errorf("%s: %w", f.name, err), p.stop())
		}
		r.add(bulkColumn(streams), f.name, speed)
		if streams == 1 {
			r.add(bulkCPU, f.name, (p.cpu()-before).Seconds()*1e9/float64(s.bulk))
			after, _ := p.queue()
			r.add(bulkQueued, f.name, float64(after.given-queue.given)*1e6/float64(s.bulk))
		}
	}
	r.add(bulkMemory, f.name, p.peak())
	return p.stop()
}

// measurePairs compares downloads that are left to the kernel with plain forwarding,
// in many pairs of which each takes the first turn in every second one: on a machine
// that others use too a few long ones say little.
func measurePairs(ctx context.Context, s settings, r *results) error {
	l, server, err := labOfRecords(ctx)
	if err != nil {
		return err
	}
	defer l.Close()
	for pair := range s.pairs {
		if s.over(ctx, pair) {
			break
		}
		speeds := map[string]float64{}
		order := []string{none, offloaded, tracked}
		if pair%2 == 1 {
			slices.Reverse(order)
		}
		for _, name := range order {
			p, err := row(name).start(s, l)
			if err != nil {
				return err
			}
			speeds[name], err = download(l, server, s.pairBytes, 1)
			if err = errors.Join(err, p.stop()); err != nil {
				return err
			}
			r.add(pairSpeed, name, speeds[name])
		}
		r.add(pairRatio, offloaded, speeds[offloaded]/speeds[none])
		r.add(pairRatio, tracked, speeds[tracked]/speeds[none])
	}
	return nil
}

// labOfRecords is a lab whose server has serveRecords.
func labOfRecords(ctx context.Context) (l *lab.Lab, server string, err error) {
	if l, err = lab.New(ctx, lab.Options{}); err != nil {
		return nil, "", err
	}
	if server, err = serveRecords(l); err != nil {
		l.Close()
		return nil, "", err
	}
	return l, server, nil
}

// serveRecords answers each connection with a TLS 1.2 handshake, and then with as many
// records of application data as are asked for, which nobody encrypts: the firewall is
// what is to limit.
func serveRecords(l *lab.Lab) (address string, err error) {
	cert, err := l.Certificate(lab.KeyRSA)
	if err != nil {
		return "", err
	}
	listener, err := l.Server.Listen("tcp", "198.18.2.2:443")
	if err != nil {
		return "", err
	}
	record := make([]byte, 5+16384)
	copy(record, []byte{23, 3, 3, 0x40, 0})
	many := slices.Repeat(record, 16)
	go func() {
		for {
			raw, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer raw.Close()
				conn := tls.Server(raw, &tls.Config{Certificates: []tls.Certificate{cert}, MaxVersion: tls.VersionTLS12})
				var size int64
				if _, err := fmt.Fscanln(conn, &size); err != nil {
					return
				}
				for size > 0 {
					n, err := raw.Write(many)
					if err != nil {
						return
					}
					size -= int64(n)
				}
			}()
		}
	}()
	return listener.Addr().String(), nil
}

// download returns the speed of a download over some connections at once, in Gbit/s.
// Handshakes are not in the time.
func download(l *lab.Lab, server string, size int64, streams int) (float64, error) {
	conns := make([]*tls.Conn, streams)
	for i := range conns {
		raw, err := l.Client.Dial("tcp", server)
		if err != nil {
			return 0, err
		}
		defer raw.Close()
		conns[i] = tls.Client(raw, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
		if err := conns[i].Handshake(); err != nil {
			return 0, err
		}
	}
	each := size / int64(streams)
	failed := make(chan error, streams)
	start := time.Now()
	for _, c := range conns {
		go func() { failed <- drain(c, each) }()
	}
	var err error
	for range conns {
		err = errors.Join(err, <-failed)
	}
	return float64(each*int64(streams)) * 8 / time.Since(start).Seconds() / 1e9, err
}

func drain(c *tls.Conn, size int64) error {
	c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := fmt.Fprintln(c, size); err != nil {
		return err
	}
	n, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{c.NetConn()}, make([]byte, 1<<18))
	if err == nil && n < size {
		err = fmt.Errorf("%d of %d bytes: %w", n, size, io.ErrUnexpectedEOF)
	}
	return err
}
