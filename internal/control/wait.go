package control

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// replyWait is how long a client waits for an answer to begin, and, if it is no
// listing and no stream of events, to end. A reload may take longer.
const replyWait = 10 * time.Second

// waitFor is how long an answer may take.
func (c *Client) waitFor(path string) time.Duration {
	switch {
	case c.wait > 0:
		return c.wait
	case path == "/v1/reload":
		return reloadWait + replyWait
	}
	return replyWait
}

// endless are the answers that take as long as there is something to tell.
var endless = map[string]bool{"/v1/conns": true, "/v1/events": true, "/v1/pins": true}

// withPatience sends q and waits for its answer no longer than that.
func (c *Client) withPatience(q *http.Request) (*http.Response, error) {
	wait := c.waitFor(q.URL.Path)
	ctx, cancel := context.WithCancelCause(q.Context())
	late := time.AfterFunc(wait, func() { cancel(context.DeadlineExceeded) })
	r, err := c.http.Do(q.WithContext(ctx))
	if err != nil {
		late.Stop()
		cancel(nil)
		return nil, err
	}
	if q.Method == "GET" && endless[q.URL.Path] {
		late.Stop()
	}
	r.Body = &answerBody{r.Body, func() { late.Stop(); cancel(nil) }}
	return r, nil
}

// answerBody ends the waiting with the answer.
type answerBody struct {
	io.ReadCloser
	end func()
}

func (b *answerBody) Close() error {
	err := b.ReadCloser.Close()
	b.end()
	return err
}

// peer is the process that a client has reached last. The zero peer is none.
type peer struct{ pid atomic.Int32 }

// note asks the kernel who listens at the other end of a Unix socket.
func (p *peer) note(c net.Conn) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			p.pid.Store(cred.Pid)
		}
	})
}

// String says which process it is, and whether it runs: "" if that is not known.
func (p *peer) String() string {
	pid := p.pid.Load()
	if pid <= 0 { // of another process namespace
		return ""
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return fmt.Sprintf("its process %d is gone", pid)
	}
	// The state follows the name, which may hold anything (proc(5)).
	_, after, _ := bytes.Cut(stat[max(0, bytes.LastIndexByte(stat, ')')):], []byte(" "))
	if len(after) > 0 && (after[0] == 'T' || after[0] == 't') {
		return fmt.Sprintf("its process %d is stopped (kill -CONT %d)", pid, pid)
	}
	return fmt.Sprintf("its process %d is there, and has no time", pid)
}
