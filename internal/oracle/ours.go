package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// conn is what one side, we or an oracle, tells of one connection.
type conn struct {
	name        string // our flow_id, tshark's stream
	src, dst    netip.AddrPort
	start, last time.Time
	// tls: the connection has TLS in it, as far as this side can see.
	tls bool
	// syn: src is known to have sent the SYN.
	syn     bool
	via     string
	facts   map[string]string
	matched bool
}

// told is what one side told of a file.
type told struct {
	conns  []*conn
	fields map[string]bool // of which there was a word, in any connection
	took   time.Duration
	peak   int64 // memory, in bytes
	err    error // of the file: what came before it counts
}

// collector takes the lines of an event log and merges them by connection.
type collector struct {
	told
	open map[string]map[string]any // tls events of connections that have not ended
}

// programTime bounds a program's run over one file.
const programTime = 10 * time.Minute

// ours replays a file with the program itself, whose crash or hang is an error
// of the file like another.
func ours(ctx context.Context, tlsgate, file string) *told {
	c := &collector{open: map[string]map[string]any{}, told: told{fields: map[string]bool{}}}
	c.err = c.run(ctx, &lines{take: c.line}, tlsgate, "replay", "--json", file)
	return &c.told
}

// run runs a program whose standard output goes to out.
func (t *told) run(ctx context.Context, out io.Writer, name string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, programTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	said := &clipped{}
	cmd.Stdout, cmd.Stderr = out, said
	start := time.Now()
	err := cmd.Run()
	t.took = time.Since(start)
	if cmd.ProcessState != nil { // it was started
		if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
			t.peak = usage.Maxrss << 10
		}
	}
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%s does not end in %s", filepath.Base(name), programTime)
	case err != nil && len(said.b) > 0:
		return fmt.Errorf("%s: %w: %s", filepath.Base(name), err, bytes.TrimSpace(said.b))
	case err != nil:
		return fmt.Errorf("%s: %w", filepath.Base(name), err)
	}
	return nil
}

// broken reports whether a program did not end as its author meant it to.
func (t *told) broken() bool {
	if t.err == nil {
		return false
	}
	var exit *exec.ExitError
	text := t.err.Error()
	return errors.As(t.err, &exit) && !exit.Exited() || strings.Contains(text, "goroutine ") || strings.Contains(text, "does not end")
}

// clipped keeps the beginning of what a program has to complain about.
type clipped struct{ b []byte }

func (c *clipped) Write(b []byte) (int, error) {
	c.b = append(c.b, b[:min(len(b), 4000-len(c.b))]...)
	return len(b), nil
}

// lines gives what is written to take, line by line.
type lines struct {
	rest []byte
	take func(line []byte) error
}

func (l *lines) Write(b []byte) (int, error) {
	n := len(b)
	for {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			l.rest = append(l.rest, b...)
			return n, nil
		}
		l.rest = append(l.rest, b[:i]...)
		if err := l.take(l.rest); err != nil {
			return 0, err
		}
		l.rest, b = l.rest[:0], b[i+1:]
	}
}

// event reads an event, numbers as they are written.
func event(line []byte) (map[string]any, error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	var e map[string]any
	if err := d.Decode(&e); err != nil {
		return nil, fmt.Errorf("an event is not JSON: %w", err)
	}
	return e, nil
}

func (c *collector) line(line []byte) error {
	e, err := event(line)
	if err != nil {
		return err
	}
	number, _ := e["flow_id"].(json.Number)
	id := number.String()
	switch e["event_type"] {
	case "tls":
		c.open[id] = e
	case "flow":
		x, err := c.merge(c.open[id], e)
		if err != nil {
			return err
		}
		delete(c.open, id)
		x.name = id
		c.conns = append(c.conns, x)
	}
	return nil
}

// merge takes the handshake's facts from the tls event, and those that grow
// from the flow event.
func (c *collector) merge(tls, flow map[string]any) (*conn, error) {
	x := &conn{facts: map[string]string{}, tls: tls != nil, syn: at(flow, "tlsgate.midstream") == nil}
	var err [2]error
	x.src, err[0] = endpoint(flow, "src_ip", "src_port")
	x.dst, err[1] = endpoint(flow, "dest_ip", "dest_port")
	if err := errors.Join(err[:]...); err != nil {
		return nil, err
	}
	x.start, x.last = eveTime(at(flow, "flow.start")), eveTime(at(flow, "flow.end"))
	x.via, _ = at(tls, "tlsgate.via").(string)
	for _, name := range []string{"reason", "midstream", "cut"} { // for explanations
		x.facts[name] = text(at(flow, "tlsgate."+name))
	}
	for i := range fields {
		f := &fields[i]
		from := tls
		if f.final {
			from = flow
		}
		if at(from, f.parent) == nil {
			continue
		}
		v := at(from, f.path)
		if v != nil {
			c.fields[f.name] = true
		}
		x.facts[f.name] = f.ours(v)
	}
	return x, nil
}

// at returns what stands at a path such as a.b.c, nil if nothing does.
func at(e map[string]any, path string) any {
	var v any = e
	for key := range strings.SplitSeq(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[key]
	}
	return v
}

func endpoint(e map[string]any, ip, port string) (netip.AddrPort, error) {
	text, _ := e[ip].(string)
	number, _ := e[port].(json.Number)
	a, err := netip.ParseAddr(text)
	n, err2 := number.Int64()
	return netip.AddrPortFrom(a, uint16(n)), errors.Join(err, err2)
}

func eveTime(v any) time.Time {
	s, _ := v.(string)
	t, _ := time.Parse("2006-01-02T15:04:05.000000-0700", s)
	return t
}
