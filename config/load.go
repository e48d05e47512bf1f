package config

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"tlsgate/nfq"
	"tlsgate/tlsrules"
)

// Load reads a policy file. Its errors are an *Error or, when there are
// several, Errors.
func Load(path string) (*Config, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, &Error{File: path, Msg: systemText(err), Err: err}
	}
	return Parse(path, data, filepath.Dir(path))
}

// Parse reads the text of a policy. name stands in errors, and the files of
// sets are relative to dir. Errors are those of Load.
func Parse(name string, data []byte, dir string) (*Config, error) {
	l := &loader{file: name, dir: dir, lines: scanLines(data), hash: sha256.New()}
	l.hash.Write(data)
	root := &table{l: l}
	if _, err := toml.Decode(string(data), &root.m); err != nil {
		return nil, syntaxError(name, err)
	}
	c := &Config{Path: name, lines: l.lines}
	l.sets = sets{l: l, tables: root.table("sets")}
	c.Sets = l.sets.all()
	c.Queue = readQueue(root.table("queue"))
	c.Intercept = readIntercept(root.table("intercept"))
	c.Default = readDefault(root.table("default"))
	c.Limits = readLimits(root.table("limits"))
	c.Log = readLog(root.table("log"))
	c.Control = readControl(root.table("control"))
	c.State = readState(root.table("state"), c.Queue)
	rules := l.rules(root)
	tests := root.tables("test")
	root.finish()
	if err := l.errs.err(); err != nil {
		return nil, err
	}
	c.Policy = l.policy(rules, c.Default)
	if err := l.errs.err(); err != nil {
		return nil, err
	}
	c.Tests = l.tests(tests, c)
	if err := l.errs.err(); err != nil {
		return nil, err
	}
	c.Warnings = l.warnings(c)
	l.hash.Sum(c.Hash[:0])
	return c, nil
}

// loader is one file being read, and what was found wrong with it.
type loader struct {
	file  string
	dir   string
	lines lines
	hash  hash.Hash
	sets  sets
	errs  Errors
}

func (l *loader) fail(key, hint, format string, args ...any) {
	l.errs = append(l.errs, &Error{
		File: l.file, Line: l.lines.of(key), Key: key, Hint: hint, Msg: fmt.Sprintf(format, args...),
	})
}

func syntaxError(name string, err error) error {
	e := &Error{File: name, Msg: err.Error(), Err: err}
	var syntax toml.ParseError
	if errors.As(err, &syntax) {
		e.Line, e.Msg = syntax.Position.Line, syntax.Message
		e.Key = syntax.LastKey
	}
	return e
}

// maxFile bounds a policy, and each file of a set.
const maxFile = 16 << 20

// readFile reads a file that is one, and no larger than maxFile.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &os.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("larger than %d MiB", maxFile>>20)
	}
	if after, e := f.Stat(); err == nil && e == nil && (after.Size() != int64(len(data)) || !after.ModTime().Equal(info.ModTime())) {
		err = errors.New("changed while it was read: somebody is writing it")
	}
	return data, err
}

// systemText leaves out the path, which the message has already.
func systemText(err error) string {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// mostBusyPoll is long enough for whatever comes soon, and short enough that a worker
// looks after the rest of its work.
const mostBusyPoll = time.Millisecond

func readQueue(t *table) Queue {
	q := Queue{
		Number:   uint16(t.integer("number", 0, 1<<16-1)),
		Workers:  t.integer("workers", 0, 1024),
		FailOpen: t.boolean("fail_open", false),
	}
	backends := []string{"batch", "go-nfqueue"}
	q.Backend = backends[t.oneOf("backend", 0, backends)]
	switch q.BusyPoll = t.duration("busy_poll", 0, time.Microsecond); {
	case q.BusyPoll > mostBusyPoll:
		t.fail("busy_poll", "50us is much", "is %s, more than %s", q.BusyPoll, mostBusyPoll)
	case q.BusyPoll > 0 && q.Backend != "batch":
		t.fail("busy_poll", `leave it out, or backend = "batch"`, "backend %q always sleeps", q.Backend)
	}
	if last := int(q.Number) + q.Workers - 1; last >= 1<<16 {
		t.fail("workers", "lower number or workers", "the last queue would be %d, and 65535 is the highest", last)
	}
	t.finish()
	return q
}

func readIntercept(t *table) Intercept {
	i := Intercept{Offload: t.boolean("offload", true)}
	seen := map[nfq.Hook]bool{}
	hooks := t.list("hooks", []string{"forward"})
	for _, name := range hooks {
		h, ok := nfq.ParseHook(strings.ToLower(name))
		if !ok {
			t.fail("hooks", `known are "forward", "input", "output"`, "%q is not a hook", name)
		} else if !seen[h] {
			i.Hooks = append(i.Hooks, h)
		}
		seen[h] = true
	}
	if len(hooks) == 0 {
		t.fail("hooks", `a gateway wants "forward", a host "input" and "output"`, "is empty: nothing would be intercepted")
	}
	i.Ports = readPorts(t)
	for _, name := range t.list("in_interfaces", nil) {
		if _, err := tlsrules.ParseCondition(tlsrules.KeyInInterface, []string{name}); err != nil {
			t.l.value(t.key("in_interfaces"), "", err)
		}
		i.InInterfaces = append(i.InInterfaces, name)
	}
	i.Mark = readMark(t)
	t.finish()
	return i
}

func readDefault(t *table) Default {
	const accept, reset, alert, refuse = tlsrules.Accept, tlsrules.Reset, tlsrules.Alert, tlsrules.Refuse
	d := Default{
		Action:    t.action("action", accept, accept, alert, refuse),
		NotTLS:    t.alertless("not_tls", "only TLS has alerts", accept, accept, refuse),
		Malformed: t.action("malformed", reset, accept, alert, refuse),
		Ambiguous: t.action("ambiguous", reset, accept, alert, refuse),
		Undecided: t.action("undecided", reset, accept, alert, refuse),
		Overload:  t.alertless("overload", "what is too much is not known to be TLS", tlsrules.Drop, accept),
		RefuseFor: t.duration("refuse_for", 60*time.Second, leastTime),
		Observe:   t.oneOf("mode", 0, []string{"enforce", "observe"}) == 1,
		MPTCP:     MPTCP(t.oneOf("mptcp", int(MPTCPStrip), mptcpNames)),
		Midstream: Midstream(t.oneOf("midstream", int(MidstreamAccept), midstreamNames)),
	}
	d.Grace = t.duration("grace", 0, leastTime)
	t.finish()
	return d
}

// leastTime is below what anybody uses in earnest, labs with small bounds included: less
// is a slip of the pen.
const leastTime = 10 * time.Millisecond

func readLimits(t *table) Limits {
	const most = 1 << 30
	l := Limits{
		Connections:   orDefault(t.integer("connections", 0, most), 262144),
		Buffered:      t.size("buffered", 256<<20, 16<<10),
		PerConnection: t.size("per_connection", 96<<10, 1<<10),
		Hello:         t.size("hello", 64<<10, 256),
		Sessions:      orDefault(t.integer("sessions", 0, 1<<24), 65536),
		Pins:          orDefault(t.integer("pins", 0, 1<<20), 65536),
		Stories:       orDefault(t.integer("stories", 0, 1<<20), 4096),
		Refused:       orDefault(t.integer("refused", 0, 1<<24), 16384),
		Decide:        t.duration("decide", 30*time.Second, leastTime),
	}
	l.HalfOpen = orDefault(t.integer("half_open", 0, most), min(65536, l.Connections))
	for _, p := range []struct {
		key, than   string
		value, most int
	}{
		{"half_open", "connections", l.HalfOpen, l.Connections},
		{"hello", "per_connection", l.Hello, l.PerConnection},
		{"per_connection", "buffered", l.PerConnection, l.Buffered},
	} {
		if p.value > p.most {
			t.fail(p.key, "raise "+p.than+" or lower "+p.key, "is %d, more than %s, which is %d", p.value, p.than, p.most)
		}
	}
	t.finish()
	return l
}

func readLog(t *table) Log {
	l := Log{
		Events: t.str("events", "-"),
		Stats:  t.duration("stats", 60*time.Second, 10*leastTime),
	}
	if l.Events == "" {
		t.fail("events", `write a path, "-" for standard output, or "none"`, "is empty")
	}
	t.finish()
	return l
}

// DefaultSocket is where a daemon listens unless its policy says otherwise.
const DefaultSocket = "/run/tlsgate.sock"

// maxSocket is the longest path of a socket: unix(7), sun_path.
const maxSocket = 107

func readControl(t *table) Control {
	c := Control{Asked: t.m["socket"] != nil || t.m["group"] != nil}
	c.Socket, c.Group = t.str("socket", DefaultSocket), t.str("group", "")
	switch {
	case c.Socket == "none":
	case !filepath.IsAbs(c.Socket):
		t.fail("socket", `write a path that begins with "/", or "none"`, "%q is not a path from the root", c.Socket)
	case len(c.Socket) > maxSocket || strings.ContainsRune(c.Socket, 0):
		t.fail("socket", fmt.Sprintf("a socket's path has at most %d bytes", maxSocket), "cannot be the path of a socket")
	}
	if strings.ContainsAny(c.Group, ":/\x00\n") {
		t.fail("group", "", "%q is not the name of a group", c.Group)
	}
	t.finish()
	return c
}

// DefaultState is where the daemon of a queue keeps its state unless its policy says
// otherwise.
func DefaultState(queue uint16) string {
	return fmt.Sprintf("/var/lib/tlsgate/queue-%d.state", queue)
}

// maxPath is the longest path of a file that has room for the names beside it:
// limits.h, PATH_MAX and NAME_MAX.
const maxPath = 4000

func readState(t *table, q Queue) State {
	s := State{Asked: t.m["file"] != nil}
	s.File, s.Every = t.str("file", DefaultState(q.Number)), t.duration("every", time.Minute, time.Second)
	switch {
	case s.File == "none":
	case !filepath.IsAbs(s.File) || strings.HasSuffix(s.File, "/"):
		t.fail("file", `write a path that begins with "/", or "none"`, "%q is not the path of a file from the root", s.File)
	case len(s.File) > maxPath || len(filepath.Base(s.File)) > 200 || strings.ContainsRune(s.File, 0):
		t.fail("file", "a name has at most 200 bytes", "cannot be the path of a file")
	}
	t.finish()
	return s
}
