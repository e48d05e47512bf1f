package main

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tlsgate/internal/control"
	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

const pinPolicy = `
[queue]
workers = 2
[[rule]]
name  = "one"
match = { port = 443 }
pin   = { %s }
otherwise = "reset"
`

// pins asks who holds pins.
func (f *firewall) pins(l *lab.Lab) (list []control.Pin) {
	f.t.Helper()
	out, errs, code := f.ask(l, "pin", "--json")
	if code != 0 {
		f.t.Fatalf("pin: %d: %s", code, errs)
	}
	for line := range strings.Lines(out) {
		var p control.Pin
		if err := json.Unmarshal([]byte(line), &p); err != nil {
			f.t.Fatalf("%s: %v", line, err)
		}
		list = append(list, p)
	}
	return list
}

// alive reports whether an open connection is answered; first says that it is asked
// for the first time.
func alive(c net.Conn, first bool) bool {
	c.SetDeadline(time.Now().Add(5 * time.Second))
	defer c.SetDeadline(time.Time{})
	text := "alive?"
	if first {
		text = "echo\n" + text
	}
	if _, err := io.WriteString(c, text); err != nil {
		return false
	}
	b := make([]byte, len("alive?"))
	_, err := io.ReadFull(c, b)
	return err == nil && string(b) == "alive?"
}

// TestIntegrationPinOne is the wish that began it: of many connections at once, from
// several addresses and through both workers, exactly one passes; the operator moves
// the pin while they run, and the one that had it is reset.
func TestIntegrationPinOne(t *testing.T) {
	labtest.Program(t, "ip")
	l := labtest.New(t, lab.Options{})
	if _, err := l.Server.ServeTLS(":443", lab.ServerOptions{Key: lab.KeyRSA}); err != nil {
		t.Fatal(err)
	}
	sources := addresses(t, l.Client, l.Client.IPv4, 7)
	f := startFirewall(t, l, fmt.Sprintf(pinPolicy, ""))
	before := queued(t, l)
	race := func(version uint16) (passed []net.Conn) {
		t.Helper()
		var wait sync.WaitGroup
		var mu sync.Mutex
		for i := range 24 {
			c := dialFrom(t, l, sources[i%len(sources)], netip.AddrPortFrom(l.Server.IPv4, 443))
			wait.Go(func() {
				conn := tls.Client(c, &tls.Config{InsecureSkipVerify: true, ServerName: "server.lab.example", MinVersion: version, MaxVersion: version})
				c.SetDeadline(time.Now().Add(10 * time.Second))
				if err := conn.Handshake(); err == nil && alive(conn, true) {
					mu.Lock()
					defer mu.Unlock()
					passed = append(passed, conn)
				} else {
					conn.NetConn().Close()
				}
			})
		}
		wait.Wait()
		return passed
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		f.forget()
		passed := race(version)
		if len(passed) != 1 {
			t.Fatalf("%s: %d connections pass, want 1", tls.VersionName(version), len(passed))
		}
		holder := passed[0]
		list := f.pins(l)
		if len(list) != 1 || fmt.Sprintf("%s:%d", list[0].Source, list[0].SourcePort) != holder.LocalAddr().String() {
			t.Errorf("%s passes, and the pin is held by %+v", holder.LocalAddr(), list)
		}
		if !within(5*time.Second, func() bool { return len(f.drops()) == 23 }) {
			t.Errorf("%d refusals, want 23", len(f.drops()))
		}
		for _, e := range f.drops() {
			if e.Ours.Reason != "pin.taken" || e.Ours.Rule != "one" || !strings.Contains(e.Ours.Detail, fmt.Sprintf("connection %d from", list[0].FlowID)) {
				t.Errorf("refused: %+v", e)
			}
		}
		others := fmt.Sprintf("is held by others: connection %d, ", list[0].FlowID)
		if got := f.why(t, l, fmt.Sprint(f.drops()[0].FlowID)); !strings.Contains(got, others) {
			t.Errorf("why of a refused one lacks %q:\n%s", others, got)
		}
		if got := f.why(t, l, fmt.Sprint(list[0].FlowID)); !strings.Contains(got, "is held by this connection: ") {
			t.Errorf("why of the one that passes:\n%s", got)
		}
		// One waits with its hello; the operator gives it the pin.
		next := dialFrom(t, l, sources[3], netip.AddrPortFrom(l.Server.IPv4, 443))
		out, errs, code := f.ask(l, "pin", next.LocalAddr().String(), next.RemoteAddr().String())
		if code != 0 || !strings.Contains(out, "1 connection had it before") {
			t.Errorf("moving: %d: %s %s", code, out, errs)
		}
		holder.SetReadDeadline(time.Now().Add(5 * time.Second))
		_, err := holder.Read(make([]byte, 1))
		wasReset(t, "the one that had the pin", err)
		if e := f.wait("the move", func(e event) bool { return e.Type == "drop" && e.FlowID == list[0].FlowID }); e.Ours.Reason != "pin.taken" ||
			!strings.Contains(e.Ours.Detail, "the operator has given") {
			t.Errorf("moved: %+v", e)
		}
		conn := tls.Client(next, &tls.Config{InsecureSkipVerify: true, ServerName: "server.lab.example", MinVersion: version, MaxVersion: version})
		if err := conn.Handshake(); err != nil || !alive(conn, true) {
			t.Errorf("the one that was given the pin: %v", err)
		}
		if conns := f.conns(l, "--verdict", "accept", "--state", "ESTABLISHED"); len(conns) != 1 || conns[0].Pin != "one" || conns[0].Offloaded {
			t.Errorf("accepted: %+v", conns)
		}
		if passed := race(version); len(passed) != 0 {
			t.Errorf("%d others pass", len(passed))
		}
		conn.Close()
		if !within(5*time.Second, func() bool { return len(f.pins(l)) == 0 }) {
			t.Errorf("it has ended, and the pin is held by %+v", f.pins(l))
		}
	}
	after := queued(t, l)
	if after[0] <= before[0] || after[1] <= before[1] {
		t.Errorf("packets in the queues: %d before, %d after; want more in both of two", before, after)
	}
	if out, _, code := f.ask(l, "pin"); code != 0 || !strings.HasPrefix(out, "RULE") {
		t.Errorf("pin: %d: %s", code, out)
	}
	if _, errs, code := f.ask(l, "pin", "--rule", "two"); code != 1 || !strings.Contains(errs, `no rule "two"`) || !strings.Contains(errs, `rules with a pin: "one"`) {
		t.Errorf("pin --rule two: %d: %s", code, errs)
	}
}

// TestIntegrationPinSession resumes the session that has the pin, with openssl, from
// several connections at once; another session does not pass beside it.
func TestIntegrationPinSession(t *testing.T) {
	labtest.Program(t, "openssl")
	l := labtest.New(t, lab.Options{})
	for _, tt := range []struct {
		name           string
		server, client []string
		pin            string
		shares         bool
	}{
		{"session id", []string{"-no_ticket"}, []string{"-tls1_2"}, "", true},
		{"ticket", nil, []string{"-tls1_2"}, "", true},
		{"TLS 1.3, deny", nil, []string{"-tls1_3"}, "", false},
		{"TLS 1.3, same client", nil, []string{"-tls1_3"}, `, tls13 = "same-client"`, true},
		{"TLS 1.3, allow", nil, []string{"-tls1_3"}, `, tls13 = "allow"`, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := files(t, l, 1)
			startServer(t, l, dir, "openssl", append([]string{"s_server", "-accept", "443", "-www", "-cert", "rsa.pem", "-key", "rsa.key"}, tt.server...)...)
			began := filepath.Join(dir, "began")
			visit := func(args ...string) *said {
				args = append([]string{"s_client", "-connect", netip.AddrPortFrom(l.Server.IPv4, 443).String(), "-servername", "server.lab.example"}, args...)
				return runOn(t, l.Client, "GET / HTTP/1.0\r\n\r\n", "openssl", append(args, tt.client...)...)
			}
			f := startFirewall(t, l, fmt.Sprintf(pinPolicy, `to = "session", per = ["source", "destination"]`+tt.pin))
			if s := visit("-sess_out", began); s.exit != nil || !strings.Contains(s.out, "New, ") {
				t.Fatalf("the first: %s", s)
			}
			if !tt.shares {
				if s := visit(); s.exit != nil {
					t.Errorf("the pin is not free after its only connection: %s", s)
				}
				return
			}
			var wait sync.WaitGroup
			for range 4 {
				wait.Go(func() {
					if s := visit("-sess_in", began); s.exit != nil || !strings.Contains(s.out, "Reused, ") {
						t.Errorf("resumed: %s", s)
					}
				})
				wait.Go(func() {
					if s := visit(); s.exit == nil {
						t.Errorf("another session passes: %s", s)
					}
				})
			}
			wait.Wait()
			list := f.pins(l)
			if len(list) != 1 || list[0].To != "session" || list[0].Group["source"] != l.Client.IPv4.String() || list[0].Connections != 0 {
				t.Errorf("held by %+v", list)
			}
			if out, errs, code := f.ask(l, "pin", "--release", "--rule", "one", "--group", "source="+l.Client.IPv4.String()+",destination="+l.Server.IPv4.String()); code != 0 || !strings.Contains(out, "1 pin released") {
				t.Errorf("release: %d: %s %s", code, out, errs)
			}
			if s := visit(); s.exit != nil {
				t.Errorf("another session once it was released: %s", s)
			}
		})
	}
}

// TestIntegrationPinRestart kills the daemon and starts it again: the connection that
// had the pin goes on and has it, others do not pass.
func TestIntegrationPinRestart(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	if _, err := l.Server.ServeTLS(":443", lab.ServerOptions{Key: lab.KeyRSA}); err != nil {
		t.Fatal(err)
	}
	policy := fmt.Sprintf(pinPolicy, `per = ["source"]`) + "[default]\nmidstream = \"reset\"\n[state]\nevery = \"1s\"\n"
	path := filepath.Join(t.TempDir(), "state")
	f := startFirewall(t, l, policy, "--state", path)
	if out, err := program(t, l.Gateway, "rules", "up", "-c", f.policy).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var held []*tls.Conn
	for _, address := range []string{"198.18.2.2:443", "[2001:db8:2::2]:443"} {
		c := tlsClient(t, l, address, tls.VersionTLS13)
		if !alive(c, true) {
			t.Fatalf("%s: the first does not pass", address)
		}
		held = append(held, c)
	}
	if !within(10*time.Second, func() bool { return len(readPins(t, path)) == 2 }) {
		t.Fatalf("%d pins are written", len(readPins(t, path)))
	}
	for _, end := range []struct {
		name string
		f    func()
	}{{"kill", func() { f.kill() }}, {"stop", func() { f.stop() }}} {
		end.f()
		f = startFirewall(t, l, policy, "--state", path, "--install-rules=false")
		if list := f.pins(l); len(list) != 2 { // a late acknowledgement may have been heard by now
			t.Errorf("%s: %+v", end.name, list)
		}
		for i, c := range held {
			to := c.RemoteAddr().String()
			wasReset(t, end.name+": another", tlsClient(t, l, to, tls.VersionTLS13).Handshake())
			if !alive(c, false) {
				t.Errorf("%s: connection %d does not go on", end.name, i)
			}
			wasReset(t, end.name+": another", tlsClient(t, l, to, tls.VersionTLS12).Handshake())
		}
		if list := f.pins(l); len(list) != 2 || list[0].Awaits != "" || list[0].FlowID == 0 {
			t.Errorf("%s: %+v", end.name, list)
		}
	}
	for _, c := range held {
		to := c.RemoteAddr().String()
		c.Close()
		if !within(5*time.Second, func() bool { return alive(tlsClient(t, l, to, tls.VersionTLS12), true) }) {
			t.Errorf("it has ended, and nobody else passes: %+v", f.pins(l))
		}
	}
}

// readPins is what a state file holds of pins that a daemon writes.
func readPins(t testing.TB, path string) (pins []string) {
	t.Helper()
	out, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, `{"pin":`) {
			pins = append(pins, line)
		}
	}
	return pins
}
