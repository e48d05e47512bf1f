package nfq

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// transfer sends this many bytes from client to server and wants them to arrive
// as they are.
func (n network) transfer(t testing.TB, address string, size int) time.Duration {
	t.Helper()
	l := n.server.listen(t, address)
	defer l.Close()
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = byte(i * 7 >> 3)
	}
	done := make(chan error, 1)
	go func() {
		done <- func() error {
			c, err := l.Accept()
			if err != nil {
				return err
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(time.Minute))
			got := make([]byte, len(block))
			for range size / len(block) {
				if _, err := io.ReadFull(c, got); err != nil {
					return err
				}
				if !bytes.Equal(got, block) {
					return fmt.Errorf("bytes have changed")
				}
			}
			return nil
		}()
	}()
	c, err := n.client.dial(address, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	start := time.Now()
	for range size / len(block) {
		if _, err := c.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return time.Since(start)
}

func TestIntegrationGSO(t *testing.T) {
	for _, backend := range backends {
		for _, f := range families {
			t.Run(fmt.Sprintf("%s/IPv%d", backend, f), func(t *testing.T) {
				n := newNetwork(t)
				n.gateway.install(t, Rules{Hooks: []Hook{Forward}, Mark: ourBits})
				q := n.gateway.open(t, Config{Backend: backend})
				var large, notReady, wrong atomic.Int64
				answers(q, func(p *Packet) (Verdict, uint32, []byte) {
					if p.GSO && len(p.Payload) > 1500 {
						large.Add(1)
					}
					if p.ChecksumNotReady {
						notReady.Add(1)
					}
					if p.CapLen != 0 || (len(p.Payload) > 1500) != p.GSO {
						wrong.Add(1)
					}
					return Repeat, ourMarks.Pass(), nil
				})
				_, _, address := n.place(Forward, f)
				n.transfer(t, address, 16<<20)
				if large.Load() == 0 || notReady.Load() == 0 || wrong.Load() != 0 {
					t.Errorf("%d GSO packets, %d without checksum, %d wrong", large.Load(), notReady.Load(), wrong.Load())
				}
			})
		}
	}
}

// What a payload is replaced by is what arrives, of the same length or another.
func TestIntegrationReplace(t *testing.T) {
	for _, backend := range backends {
		for _, f := range families {
			t.Run(fmt.Sprintf("%s/IPv%d", backend, f), func(t *testing.T) {
				n := newNetwork(t)
				n.gateway.install(t, Rules{Hooks: []Hook{Forward}, Mark: ourBits})
				q := n.gateway.open(t, Config{Backend: backend})
				answers(q, func(p *Packet) (Verdict, uint32, []byte) {
					if !bytes.Contains(p.Payload, []byte("hello")) {
						return Repeat, ourMarks.Pass(), nil
					}
					changed := bytes.ReplaceAll(p.Payload, []byte("hello"), []byte("HELLO"))
					seal(changed)
					return Repeat, ourMarks.Pass(), changed
				})
				_, server, address := n.place(Forward, f)
				go echo(server.listen(t, address))
				c, err := n.client.dial(address, 5*time.Second)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if err := exchange(c, "say hello", 5*time.Second); err == nil || err.Error() != `got "say HELLO", want "say hello"` {
					t.Error(err)
				}
			})
		}
	}
}

// A GSO packet may be replaced by one as long; a reset in its place would not
// leave, so each end is sent one of our own.
func TestIntegrationReplaceGSO(t *testing.T) {
	for _, f := range families {
		t.Run(fmt.Sprintf("IPv%d", f), func(t *testing.T) {
			n := newNetwork(t)
			n.gateway.install(t, Rules{Hooks: []Hook{Forward}, Mark: ourBits})
			q := n.gateway.open(t, Config{InjectMark: ourMarks.Pass()})
			var large atomic.Int64
			answers(q, func(p *Packet) (Verdict, uint32, []byte) {
				if !p.GSO {
					return Repeat, ourMarks.Pass(), nil
				}
				if large.Add(1) > 3 {
					q.Inject(resetForSender(p.Payload), 0)
					q.Inject(resetForReceiver(p.Payload), 0)
					return Drop, 0, nil
				}
				changed := bytes.Clone(p.Payload)
				seal(changed)
				return Repeat, ourMarks.Pass(), changed
			})
			_, server, address := n.place(Forward, f)
			l := server.listen(t, address)
			fate := make(chan error, 1)
			var arrived int64
			go func() {
				c, err := l.Accept()
				if err == nil {
					c.SetDeadline(time.Now().Add(5 * time.Second))
					arrived, err = io.Copy(io.Discard, c)
				}
				fate <- err
			}()
			c, err := n.client.dial(address, 5*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(5 * time.Second))
			for err == nil {
				_, err = c.Write(make([]byte, 1<<20))
			}
			if !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("client: %v", err)
			}
			if err := <-fate; !errors.Is(err, syscall.ECONNRESET) || arrived < 3*1500 {
				t.Errorf("server: %v after %d bytes", err, arrived)
			}
		})
	}
}

// BenchmarkForward is a TCP stream through the gateway, the reader of the queue
// being on a thread of its own.
func BenchmarkForward(b *testing.B) {
	for _, size := range []string{"gso", "mtu"} {
		b.Run(size+"/no-queue", func(b *testing.B) { benchmarkForward(b, size, "", 0) })
		for _, backend := range backends {
			for _, v := range []Verdict{Accept, Repeat} {
				b.Run(fmt.Sprintf("%s/%s/%v", size, backend, v), func(b *testing.B) { benchmarkForward(b, size, backend, v) })
			}
		}
	}
}

func benchmarkForward(b *testing.B, size, backend string, v Verdict) {
	n := newNetwork(b)
	if size == "mtu" {
		n.client.do(b, func() error {
			link, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			return netlink.LinkSetGSOMaxSegs(link, 1)
		})
	}
	var packets int64
	cpu := make(chan time.Duration, 1)
	stop := func() {}
	if backend != "" {
		n.gateway.install(b, Rules{Hooks: []Hook{Forward}, Ports: []PortRange{{443, 443}}, Mark: ourBits, Offload: true})
		q := n.gateway.open(b, Config{Backend: backend})
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			batch := make([]Packet, 64)
			for {
				n, err := q.Recv(batch, 100*time.Millisecond)
				if err != nil {
					break
				}
				for i := range batch[:n] {
					q.Verdict(batch[i].ID, v, ourMarks.Pass(), nil)
				}
				packets += int64(n)
				q.Flush()
			}
			var usage unix.Rusage
			unix.Getrusage(unix.RUSAGE_THREAD, &usage)
			cpu <- time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
		}()
		stop = func() { q.Close() }
	}
	_, _, address := n.place(Forward, IPv4)
	const stream = 64 << 20
	b.SetBytes(stream)
	b.ResetTimer()
	for range b.N {
		n.transfer(b, address, stream)
	}
	b.StopTimer()
	stop()
	if backend != "" {
		b.ReportMetric(float64(<-cpu)/float64(time.Microsecond)/float64(packets), "µs-cpu/packet")
		b.ReportMetric(float64(packets)/b.Elapsed().Seconds(), "packets/s")
	}
}
