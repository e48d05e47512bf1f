package nfq

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var backends = []string{BackendBatch, BackendGoNFQueue}

// mail is a namespace in which datagrams to port 9 pass a queue on their way.
type mail struct {
	namespace
	in  *net.UDPConn
	out *net.UDPConn
}

const mailQueue = 7

func newMail(t testing.TB) mail {
	t.Helper()
	m := mail{namespace: newNamespace(t)}
	m.do(t, func() (err error) {
		if err = address("lo", "198.18.0.1/32", "2001:db8::1/128"); err != nil {
			return err
		}
		if m.in, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IP{198, 18, 0, 1}, Port: 9}); err != nil {
			return err
		}
		m.in.SetReadBuffer(4 << 20)
		if m.out, err = net.DialUDP("udp4", nil, m.in.LocalAddr().(*net.UDPAddr)); err != nil {
			return err
		}
		m.out.SetWriteDeadline(time.Now().Add(time.Minute))
		return m.out.SetWriteBuffer(4 << 20) // what waits in the queue is in it
	})
	t.Cleanup(func() { m.in.Close(); m.out.Close() })
	m.run(t, "iptables", "-t", "mangle", "-A", "OUTPUT", "-p", "udp", "--dport", "9",
		"-j", "NFQUEUE", "--queue-num", fmt.Sprint(mailQueue))
	return m
}

// send sends the numbers from 0 to n-1, each in a datagram of this size. What
// the kernel drops at once is an error to the sender that does not matter here.
func (m mail) send(n, size int) {
	for i := range n {
		b := make([]byte, size)
		copy(b, fmt.Sprint(i))
		m.out.Write(b)
	}
}

// received returns how many datagrams arrive until none has for a while.
func (m mail) received() (n int) {
	b := make([]byte, 64<<10)
	for {
		m.in.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if _, err := m.in.Read(b); err != nil {
			return n
		}
		n++
	}
}

func TestIntegrationBatch(t *testing.T) {
	for _, backend := range backends {
		t.Run(backend, func(t *testing.T) {
			m := newMail(t)
			q := m.open(t, Config{Number: mailQueue, Backend: backend})
			m.send(64, 100)
			time.Sleep(100 * time.Millisecond) // for go-nfqueue's goroutine
			batch := make([]Packet, 64)
			n, err := q.Recv(batch, time.Second)
			if n != 64 || err != nil {
				t.Fatalf("Recv: %d packets, %v; want 64", n, err)
			}
			for i, p := range batch {
				if p.ID != uint32(i+1) || p.Hook != Output || len(p.Payload) != 128 || p.OutDev != 1 {
					t.Fatalf("packet %d: %+v", i, p)
				}
				q.Verdict(p.ID, Verdict(i%2), 0, nil) // every second is dropped
			}
			if err := q.Flush(); err != nil {
				t.Fatal(err)
			}
			if n := m.received(); n != 32 {
				t.Errorf("%d datagrams arrived, want 32", n)
			}
			s := q.Stats()
			if s.Received != 64 || s.Verdicts != 64 || s.Waiting != 0 || s.Unreadable || s.VerdictErrors != nil {
				t.Errorf("%+v", s)
			}
		})
	}
}

// A batch shorter than what one system call has read loses nothing.
func TestIntegrationSmallBatch(t *testing.T) {
	m := newMail(t)
	q := m.open(t, Config{Number: mailQueue})
	m.send(10, 100)
	batch := make([]Packet, 3)
	var ids []uint32
	for len(ids) < 10 {
		n, err := q.Recv(batch, time.Second)
		if n == 0 || err != nil {
			t.Fatalf("after %v: %d, %v", ids, n, err)
		}
		for _, p := range batch[:n] {
			ids = append(ids, p.ID)
		}
	}
	if got := fmt.Sprint(ids); got != "[1 2 3 4 5 6 7 8 9 10]" {
		t.Errorf("ids %s", got)
	}
}

func TestIntegrationKernelQueueFull(t *testing.T) {
	for _, backend := range backends {
		t.Run(backend, func(t *testing.T) {
			m := newMail(t)
			q := m.open(t, Config{Number: mailQueue, Backend: backend, MaxLen: 4})
			m.send(20, 100)
			s := q.Stats()
			if s.KernelDropped != 16 || s.Waiting != 4 || s.UserDropped != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestIntegrationSocketFull(t *testing.T) {
	for _, backend := range backends {
		for _, failOpen := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/fail open %t", backend, failOpen), func(t *testing.T) {
				const sent = 600
				m := newMail(t)
				q := m.open(t, Config{Number: mailQueue, Backend: backend, ReceiveBuffer: 64 << 10, FailOpen: failOpen})
				m.send(sent, 1000)
				if !failOpen {
					answers(q, func(*Packet) (Verdict, uint32, []byte) { return Accept, 0, nil })
				} else {
					answers(q, func(*Packet) (Verdict, uint32, []byte) { return Drop, 0, nil })
				}
				arrived := m.received()
				m.send(1, 1000) // its number shows what was left out before it
				arrived += m.received()
				s := q.Stats()
				if s.Overruns == 0 || s.Missed == 0 || s.Received+s.Missed != sent+1 {
					t.Errorf("%+v", s)
				}
				if !failOpen && (s.UserDropped != s.Missed || arrived != int(s.Received)) {
					t.Errorf("%d arrived, %+v", arrived, s)
				}
				if failOpen && (s.UserDropped != 0 || arrived != int(s.Missed)) {
					t.Errorf("%d arrived, %+v", arrived, s)
				}
			})
		}
	}
}

func TestIntegrationFailOpenQueueFull(t *testing.T) {
	m := newMail(t)
	m.open(t, Config{Number: mailQueue, MaxLen: 4, FailOpen: true})
	m.send(20, 100)
	if n := m.received(); n != 16 {
		t.Errorf("%d datagrams passed, want 16", n)
	}
}

func TestIntegrationTaken(t *testing.T) {
	m := newMail(t)
	m.open(t, Config{Number: mailQueue})
	for _, backend := range backends {
		err := m.try(func() error {
			_, err := Open(Config{Number: mailQueue, Backend: backend})
			return err
		})
		if !errors.Is(err, ErrTaken) || !strings.Contains(err.Error(), "by process ") {
			t.Errorf("%s: %v", backend, err)
		}
	}
}

func TestIntegrationNoPermission(t *testing.T) {
	m := newMail(t)
	for _, backend := range backends {
		err := m.try(func() error {
			if err := dropCapabilities(); err != nil {
				return err
			}
			_, err := Open(Config{Number: mailQueue, Backend: backend})
			return err
		})
		var e *Error
		if !errors.Is(err, ErrPermission) || !errors.As(err, &e) || !strings.Contains(e.Hint, "CAP_NET_ADMIN") {
			t.Errorf("%s: %v", backend, err)
		}
	}
}

func TestIntegrationClose(t *testing.T) {
	for _, backend := range backends {
		t.Run(backend, func(t *testing.T) {
			m := newMail(t)
			q := m.open(t, Config{Number: mailQueue, Backend: backend})
			woken := make(chan error)
			go func() {
				_, err := q.Recv(make([]Packet, 1), time.Minute)
				woken <- err
			}()
			time.Sleep(50 * time.Millisecond)
			if err := q.Close(); err != nil {
				t.Error(err)
			}
			select {
			case err := <-woken:
				if !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
			case <-time.After(5 * time.Second):
				t.Fatal("Recv still waits")
			}
			if _, err := q.Recv(make([]Packet, 1), 0); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Recv: %v", err)
			}
			q.Verdict(1, Accept, 0, nil)
			if err := q.Flush(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Flush: %v", err)
			}
			if err := q.Inject(make([]byte, 40), 0); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Inject: %v", err)
			}
			if err := q.Close(); err != nil {
				t.Error(err)
			}
			q.Stats()
			m.open(t, Config{Number: mailQueue, Backend: backend}) // it is free again
		})
	}
}

// A receiver that waits does not keep verdicts waiting, and verdicts nobody
// sends do not keep a receiver waiting.
func TestIntegrationStalled(t *testing.T) {
	for _, backend := range backends {
		t.Run(backend, func(t *testing.T) {
			m := newMail(t)
			q := m.open(t, Config{Number: mailQueue, Backend: backend})
			m.send(4, 100)
			for got := 0; got < 4; {
				n, err := q.Recv(make([]Packet, 4), time.Second)
				if n == 0 || err != nil {
					t.Fatal(n, err)
				}
				got += n
			}
			next := make(chan int)
			go func() {
				n, _ := q.Recv(make([]Packet, 4), time.Minute)
				next <- n
			}()
			time.Sleep(50 * time.Millisecond)
			flushed := make(chan error)
			go func() {
				q.Verdict(1, Accept, 0, nil)
				flushed <- q.Flush()
			}()
			select {
			case err := <-flushed:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(5 * time.Second):
				t.Fatal("Flush waits for Recv")
			}
			if n := m.received(); n != 1 {
				t.Errorf("%d arrived, want 1", n)
			}
			m.send(1, 100) // 2, 3 and 4 are still not answered
			select {
			case n := <-next:
				if n != 1 {
					t.Errorf("Recv: %d", n)
				}
			case <-time.After(5 * time.Second):
				t.Fatal("Recv waits for Flush")
			}
		})
	}
}

func TestIntegrationTimeout(t *testing.T) {
	for _, backend := range backends {
		m := newMail(t)
		q := m.open(t, Config{Number: mailQueue, Backend: backend})
		start := time.Now()
		n, err := q.Recv(make([]Packet, 1), 50*time.Millisecond)
		if d := time.Since(start); n != 0 || err != nil || d < 45*time.Millisecond || d > 2*time.Second {
			t.Errorf("%s: %d, %v after %v", backend, n, err, d)
		}
	}
}

func TestIntegrationUnknownPacket(t *testing.T) {
	for _, backend := range backends {
		m := newMail(t)
		q := m.open(t, Config{Number: mailQueue, Backend: backend})
		q.Verdict(1234, Accept, 0, make([]byte, 60000))
		q.Verdict(1235, Drop, 0, nil)
		if err := q.Flush(); err != nil {
			t.Fatal(err)
		}
		q.Recv(make([]Packet, 1), 100*time.Millisecond)
		if s := q.Stats(); s.VerdictErrors[unix.ENOENT] != 2 || s.Malformed != 0 {
			t.Errorf("%s: %+v", backend, s)
		}
	}
}

// More verdicts than one system call takes.
func TestIntegrationManyVerdicts(t *testing.T) {
	m := newMail(t)
	q := m.open(t, Config{Number: mailQueue})
	const sent = 200
	m.send(sent, 8000)
	batch := make([]Packet, sent)
	for got := 0; got < sent; {
		n, err := q.Recv(batch, time.Second)
		if n == 0 || err != nil {
			t.Fatal(got, n, err)
		}
		for _, p := range batch[:n] {
			changed := bytes.Clone(p.Payload)
			changed[26], changed[27] = 0, 0 // no UDP checksum: the kernel does not add it to a changed packet
			q.Verdict(p.ID, Accept, 0, changed)
		}
		got += n
	}
	if err := q.Flush(); err != nil {
		t.Fatal(err)
	}
	if n := m.received(); n != sent {
		t.Errorf("%d arrived, want %d; %+v", n, sent, q.Stats())
	}
}

// A queue may be opened while packets come, and be left with packets in it.
func TestIntegrationOpenUnderLoad(t *testing.T) {
	for _, backend := range backends {
		t.Run(backend, func(t *testing.T) {
			m := newMail(t)
			stop := make(chan struct{})
			var sender sync.WaitGroup
			sender.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						m.send(10, 100)
						time.Sleep(time.Millisecond)
					}
				}
			})
			defer sender.Wait()
			defer close(stop)
			for range 20 {
				q := m.open(t, Config{Number: mailQueue, Backend: backend})
				if n, err := q.Recv(make([]Packet, 1), 5*time.Second); n != 1 || err != nil {
					t.Errorf("Recv: %d, %v", n, err)
				}
				if s := q.Stats(); s.Missed != 0 && backend == BackendBatch {
					t.Errorf("%+v", s)
				}
				q.Close()
			}
		})
	}
}
