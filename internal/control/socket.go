package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/user"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// SocketError is a control socket that cannot be had.
type SocketError struct {
	Path string
	Err  error
	Help string
}

func (e *SocketError) Error() string { return fmt.Sprintf("control socket %s: %v", e.Path, e.Err) }

func (e *SocketError) Unwrap() error { return e.Err }

// Hint says what an administrator can do about it.
func (e *SocketError) Hint() string { return e.Help }

const otherSocket = `choose another path: control.socket in the policy, or --socket PATH; "none" for no control socket`

// Listen makes the socket: for root and the group, "" for none. What a dead
// daemon has left there is taken away; a live daemon's is not.
func Listen(path, group string) (net.Listener, error) {
	fail := func(err error, hint string) (net.Listener, error) {
		return nil, &SocketError{path, err, hint}
	}
	gid := -1
	if group != "" {
		g, err := user.LookupGroup(group)
		if err != nil {
			return fail(fmt.Errorf("there is no group %q", group), "control.group in the policy names it")
		}
		gid, _ = strconv.Atoi(g.Gid)
	}
	if err := clearStale(path); err != nil {
		return fail(err, otherSocket)
	}
	// The socket is nobody's until it is the group's: unix_bind takes the mode that
	// the descriptor has (af_unix.c:unix_bind_bsd), whatever the umask.
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		cerr := raw.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), 0o600) })
		return errors.Join(cerr, err)
	}}
	l, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return fail(bare(err), otherSocket)
	}
	own := &ownSocket{Listener: l, path: path}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if own.info, err = os.Lstat(path); err == nil && gid >= 0 {
		err = os.Lchown(path, -1, gid)
	}
	if err == nil {
		err = os.Chmod(path, 0o660)
	}
	if err != nil {
		own.Close()
		return fail(bare(err), "root may give the socket to any group; others only to one of their own")
	}
	return own, nil
}

// clearStale takes a socket away that nobody listens at.
func clearStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return bare(err)
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("something is there that is no socket")
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		c.Close()
		return errors.New("another daemon listens there")
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("somebody else's socket is there: %w", bare(err))
	}
	return bare(os.Remove(path))
}

// bare leaves out what the message says already.
func bare(err error) error {
	var no syscall.Errno
	if errors.As(err, &no) {
		return no
	}
	return err
}

// ownSocket takes the socket away when it is closed, if it is still ours.
type ownSocket struct {
	net.Listener
	path string
	info fs.FileInfo
}

func (s *ownSocket) Close() error {
	err := s.Listener.Close()
	if now, serr := os.Lstat(s.path); serr == nil && s.info != nil && os.SameFile(now, s.info) {
		os.Remove(s.path)
	}
	return err
}

// crowded turns away whom there is no room for, instead of letting him wait.
type crowded struct {
	net.Listener
	room chan struct{}
	// gate is the room for those who are being told why; others are not told.
	gate   chan struct{}
	leaves *sync.WaitGroup
}

const turnedAway = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Type: application/json\r\n\r\n" +
	`{"error":"too many clients at the control socket"}` + "\n"

func (l *crowded) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.room <- struct{}{}:
			return &guest{Conn: c, room: l.room}, nil
		default:
		}
		select {
		case l.gate <- struct{}{}:
			l.leaves.Go(func() {
				turnAway(c.(*net.UnixConn))
				<-l.gate
			})
		default:
			c.Close()
		}
	}
}

// turnAway says why, and lets the client say what it has to say: closed before,
// the connection would be reset, and the reason lost. Who is answered before he has
// begun to ask takes it for somebody else's answer (net/http does), so he has a moment
// for that.
func turnAway(c *net.UnixConn) {
	defer c.Close()
	now := time.Now()
	c.SetDeadline(now.Add(farewell / 2))
	if _, err := c.Read(make([]byte, 1)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return
	}
	c.SetDeadline(now.Add(farewell))
	io.WriteString(c, turnedAway)
	c.CloseWrite()
	io.Copy(io.Discard, io.LimitReader(c, maxHeader))
}

// guest gives its room back once.
type guest struct {
	net.Conn
	room chan struct{}
	left sync.Once
}

func (g *guest) Close() error {
	g.left.Do(func() { <-g.room })
	return g.Conn.Close()
}
