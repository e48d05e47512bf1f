package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Client asks the daemon at a control socket. It is made by Dial, and safe for
// concurrent use.
type Client struct {
	path string
	http http.Client
	peer peer
	wait time.Duration // for an answer; 0: answerWait
}

// Dial returns a client of the socket at path. It connects when it is used.
func Dial(path string) *Client {
	c := &Client{path: path}
	var d net.Dialer
	c.http.Transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			conn, err := d.DialContext(ctx, "unix", path)
			if err == nil {
				c.peer.note(conn)
			}
			return conn, err
		},
		DisableKeepAlives: true,
	}
	return c
}

// do asks, and returns the answer to what could be done.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, body any, fine ...int) (*http.Response, error) {
	var sent io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		sent = bytes.NewReader(b)
	}
	u := url.URL{Scheme: "http", Host: "tlsgate", Path: path, RawQuery: query.Encode()}
	q, err := http.NewRequestWithContext(ctx, method, u.String(), sent)
	if err != nil {
		return nil, err
	}
	r, err := c.withPatience(q)
	if err != nil {
		return nil, c.explain(err)
	}
	for _, status := range append(fine, http.StatusOK) {
		if r.StatusCode == status {
			return r, nil
		}
	}
	defer r.Body.Close()
	f := &Failure{Status: r.StatusCode}
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<16)).Decode(f); err != nil || f.Text == "" {
		f.Text = "the daemon answered " + r.Status
	}
	return nil, f
}

// explain says why nobody answers.
func (c *Client) explain(err error) error {
	var op *net.OpError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		who := c.peer.String()
		if who == "" {
			who = "it is stopped, or has no time"
		}
		return &SocketError{c.path, fmt.Errorf("the daemon has not answered in time: %w", context.DeadlineExceeded),
			who + ": what it has not judged waits, as queue.fail_open says"}
	case errors.Is(err, syscall.EAGAIN):
		return &SocketError{c.path, errors.New("as many wait there already as may: the daemon takes nobody in"),
			"tlsgate health says more, once they have given up"}
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTSOCK):
		return &SocketError{c.path, errors.New("no daemon listens there"), "start it (tlsgate run), or say where it listens: --socket PATH, as control.socket in its policy"}
	case errors.Is(err, fs.ErrPermission):
		return &SocketError{c.path, errors.New("permission denied"), "the socket is for " + owners(c.path)}
	case errors.As(err, &op) && op.Op == "dial":
		return &SocketError{c.path, bare(err), "say where the daemon listens: --socket PATH"}
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return fmt.Errorf("asking the daemon at %s: %w", c.path, err)
}

// owners says who may use a socket.
func owners(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return "root"
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || stat.Gid == 0 {
		return "root: use sudo, or name a group under control.group in the policy"
	}
	group := strconv.Itoa(int(stat.Gid))
	if g, err := user.LookupGroupId(group); err == nil {
		group = g.Name
	}
	return "root and the group " + group
}

// maxLine is the longest line there can be: an event with two chains of certificates.
const maxLine = 4 << 20

// lines calls f with every line of an answer.
func lines(r *http.Response, f func(line []byte) error) error {
	defer r.Body.Close()
	s := bufio.NewScanner(r.Body)
	s.Buffer(make([]byte, 0, 64<<10), maxLine)
	for s.Scan() {
		if err := f(s.Bytes()); err != nil {
			return err
		}
	}
	if err := s.Err(); errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the daemon broke off its answer")
	} else if err != nil {
		return fmt.Errorf("reading the daemon's answer: %w", err)
	}
	return nil
}

// Conns calls f with every connection that fits the filters, as JSON.
func (c *Client) Conns(ctx context.Context, filters url.Values, f func(line []byte) error) error {
	r, err := c.do(ctx, "GET", "/v1/conns", filters, nil)
	if err != nil {
		return err
	}
	return lines(r, f)
}

// Events calls f with every event of the given types, from now on, until ctx or
// the daemon ends. ready, if not nil, is called once nothing is missed any more.
func (c *Client) Events(ctx context.Context, types []string, ready func(), f func(line []byte) error) error {
	r, err := c.do(ctx, "GET", "/v1/events", url.Values{"type": types}, nil)
	if err != nil {
		return err
	}
	if ready != nil {
		ready()
	}
	return lines(r, f)
}

// Stats returns the counters, as a stats event.
func (c *Client) Stats(ctx context.Context) ([]byte, error) {
	r, err := c.do(ctx, "GET", "/v1/stats", nil, nil)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	line, err := io.ReadAll(io.LimitReader(r.Body, maxLine))
	if err != nil {
		return nil, c.explain(err)
	}
	return line, nil
}

// Health asks whether all is well.
func (c *Client) Health(ctx context.Context) (h Health, err error) {
	r, err := c.do(ctx, "GET", "/v1/health", nil, nil, http.StatusServiceUnavailable)
	if err != nil {
		return h, err
	}
	return h, c.answerOf(r, &h)
}

// Kill ends a connection.
func (c *Client) Kill(ctx context.Context, which Which) (k Killed, err error) {
	r, err := c.do(ctx, "POST", "/v1/kill", nil, which)
	if err != nil {
		return k, err
	}
	return k, c.answerOf(r, &k)
}

// Gates returns the gates of the policy.
func (c *Client) Gates(ctx context.Context) (g Gates, err error) {
	r, err := c.do(ctx, "GET", "/v1/gates", nil, nil)
	if err != nil {
		return g, err
	}
	return g, c.answerOf(r, &g)
}

// Open opens or closes a gate, or lets one connection through.
func (c *Client) Open(ctx context.Context, o Opening) (done Opened, err error) {
	r, err := c.do(ctx, "POST", "/v1/gates", nil, o)
	if err != nil {
		return done, err
	}
	return done, c.answerOf(r, &done)
}

// answerOf reads a JSON answer. A 503 that is no health is a failure.
func (c *Client) answerOf(r *http.Response, v any) error {
	defer r.Body.Close()
	b, err := io.ReadAll(io.LimitReader(r.Body, maxLine))
	if err != nil {
		return c.explain(err)
	}
	f := &Failure{Status: r.StatusCode}
	if json.Unmarshal(b, f) == nil && f.Text != "" {
		return f
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("the daemon's answer %q: %w", strings.TrimSpace(string(b)), err)
	}
	return nil
}

// Why asks for the story of a connection.
func (c *Client) Why(ctx context.Context, which Which) (y Why, err error) {
	query := url.Values{}
	if which.FlowID != 0 {
		query.Set("id", strconv.FormatUint(which.FlowID, 10))
	} else {
		query.Set("a", which.A.String())
		query.Set("b", which.B.String())
	}
	r, err := c.do(ctx, "GET", "/v1/why", query, nil)
	if err != nil {
		return y, err
	}
	return y, c.answerOf(r, &y)
}
