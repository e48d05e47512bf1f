package nfq

import (
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// socket is what both backends have of one.
type socket interface {
	syscall.Conn
	io.Closer
}

// conn is the socket of a queue.
func (q *Queue) conn() socket {
	if b, ok := q.backend.(*batchQueue); ok {
		return b.file
	}
	return q.backend.(*goQueue).nf.Con
}

// descriptor calls f with the socket's.
func (q *Queue) descriptor(t *testing.T, f func(fd int) error) {
	t.Helper()
	raw, err := q.conn().SyscallConn()
	if err == nil {
		raw.Control(func(fd uintptr) { err = f(int(fd)) })
	}
	if err != nil {
		t.Fatal(err)
	}
}

// unbind gives the queue back behind q's back.
func (q *Queue) unbind(t *testing.T) {
	t.Helper()
	const commandUnbind = 2 // NFQNL_CFG_CMD_UNBIND
	q.descriptor(t, func(fd int) error {
		m := appendHeader(nil, msgConfig, mailQueue)
		m = append(appendAttribute(m, configCommand, 4), commandUnbind, 0, 0, 0)
		m[0] = byte(len(m))
		_, err := unix.Write(fd, m)
		return err
	})
}

// TestIntegrationGone: whatever takes the queue away, who reads it is told, and why,
// after the next probe at the latest.
func TestIntegrationGone(t *testing.T) {
	for _, backend := range backends {
		for _, tt := range []struct {
			name string
			take func(t *testing.T, m mail, q *Queue)
			want error
			says string
		}{
			{"unbound", func(t *testing.T, _ mail, q *Queue) { q.unbind(t) }, ErrGone, "has unbound it"},
			{"taken", func(t *testing.T, m mail, q *Queue) {
				q.unbind(t)
				m.open(t, Config{Number: mailQueue})
			}, ErrGone, "it is bound by "},
			{"another file in its place", func(t *testing.T, _ mail, q *Queue) {
				q.descriptor(t, func(fd int) error {
					other, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
					if err != nil {
						return err
					}
					defer unix.Close(other)
					p, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
					if err != nil {
						return err
					}
					defer unix.Close(p)
					return unix.Dup3(p, fd, unix.O_CLOEXEC)
				})
			}, unix.ENOTSOCK, "socket operation"},
		} {
			t.Run(backend+"/"+tt.name, func(t *testing.T) {
				m := newMail(t)
				q := m.open(t, Config{Number: mailQueue, Backend: backend})
				batch := make([]Packet, 8)
				m.send(1, 100)
				for range 3 { // a queue that is there says nothing of it
					if err := q.Probe(); err != nil {
						t.Fatal(err)
					}
				}
				n, err := q.Recv(batch, time.Second)
				if n != 1 || err != nil {
					t.Fatal(n, err)
				}
				q.Verdict(batch[0].ID, Accept, 0, nil)
				if err := q.Flush(); err != nil {
					t.Fatal(err)
				}
				if n, err := q.Recv(batch, 300*time.Millisecond); n != 0 || err != nil {
					t.Fatalf("probed, and nothing wrong: %d, %v", n, err)
				}
				if n := m.received(); n != 1 {
					t.Errorf("%d arrived", n)
				}

				tt.take(t, m, q)
				began := time.Now()
				for err = nil; err == nil && time.Since(began) < 5*time.Second; {
					q.Probe() // says no more than Recv
					_, err = q.Recv(batch, 100*time.Millisecond)
				}
				var e *Error
				if !errors.Is(err, tt.want) || !errors.As(err, &e) || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("got %v", err)
				}
				if errors.Is(err, ErrGone) && e.Hint == "" {
					t.Error("no hint")
				}
				if _, again := q.Recv(batch, 100*time.Millisecond); again == nil {
					t.Error("Recv waits for packets of a queue that is gone")
				}
			})
		}
	}
}

// TestIntegrationGoneInBatch: packets that came before the queue was gone are still
// handed out, and who answers them is not told of an error that matters.
func TestIntegrationGoneInBatch(t *testing.T) {
	for _, backend := range backends {
		m := newMail(t)
		q := m.open(t, Config{Number: mailQueue, Backend: backend})
		m.send(20, 100)
		time.Sleep(100 * time.Millisecond)
		q.unbind(t)
		q.Probe()
		batch, got := make([]Packet, 3), 0
		for {
			n, err := q.Recv(batch, time.Second)
			got += n
			if err != nil {
				if !errors.Is(err, ErrGone) {
					t.Errorf("%s: %v", backend, err)
				}
				break
			}
			for _, p := range batch[:n] {
				q.Verdict(p.ID, Accept, 0, nil)
			}
			q.Flush()
		}
		if backend == BackendBatch && got != 20 {
			t.Errorf("%s: %d of 20 packets", backend, got)
		}
		if n := m.received(); n != 0 {
			t.Errorf("%s: %d packets have passed", backend, n)
		}
	}
}
