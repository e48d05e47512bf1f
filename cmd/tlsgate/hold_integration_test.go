package main

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"tlsgate/internal/control"
	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

const holdPolicy = `
[[rule]]
name   = "quarantine"
match  = { port = 443 }
action = "hold"
`

// heldTime bounds a connection that waits. Its sender takes the time that its data has
// waited for the time of a round trip, which after 0.8 s makes 2.9 s of the 0.2 s after
// which Linux sends again, and doubles that each time: where packets are lost three
// copies in a row, or their acknowledgements, take 20 s.
const heldTime = 90 * time.Second

// greeted is a TLS server that tells of each connection once its handshake is done.
func greeted(t testing.TB, l *lab.Lab) (w *witness, shook chan *visit) {
	t.Helper()
	certificate, err := l.Certificate(lab.KeyRSA)
	if err != nil {
		t.Fatal(err)
	}
	shook = make(chan *visit, 64)
	config := &tls.Config{Certificates: []tls.Certificate{certificate}}
	return watch(t, l.Server, ":443", func(v *visit, c net.Conn) error {
		c.SetDeadline(time.Now().Add(heldTime))
		conn := tls.Server(c, config)
		if err := conn.Handshake(); err != nil {
			return err
		}
		shook <- v
		if err := answer(bufio.NewReader(counted{conn, &v.read}), conn); err != nil {
			return err
		}
		return conn.Close()
	}), shook
}

// held opens a connection and says a request; the handshake is done, and nothing of
// the request comes.
func held(t *testing.T, l *lab.Lab, shook chan *visit, to netip.AddrPort, version uint16, say string) (*tls.Conn, *visit) {
	t.Helper()
	return heldTo(t, l, shook, to, "server.lab.example", version, say)
}

func heldTo(t *testing.T, l *lab.Lab, shook chan *visit, to netip.AddrPort, name string, version uint16, say string) (*tls.Conn, *visit) {
	t.Helper()
	c := dial(t, l, to)
	c.SetDeadline(time.Now().Add(heldTime))
	conn := tls.Client(c, &tls.Config{InsecureSkipVerify: true, ServerName: name, MinVersion: version, MaxVersion: version})
	if err := conn.Handshake(); err != nil {
		t.Fatalf("handshake: %v", err)
	}
	var v *visit
	select {
	case v = <-shook:
	case <-time.After(5 * time.Second):
		t.Fatal("the server's handshake is not done")
	}
	go io.WriteString(conn, say)
	time.Sleep(600 * time.Millisecond)
	if n := v.read.Load(); n != 0 {
		t.Fatalf("the server's application read %d bytes", n)
	}
	return conn, v
}

// comes waits for the first byte at the server's application.
func comes(t *testing.T, v *visit, at time.Time) {
	t.Helper()
	if !within(5*time.Second, func() bool { return v.read.Load() > 0 }) {
		t.Fatal("nothing comes 5 s after the gate was opened")
	}
	t.Logf("the first byte came %s after the command began", time.Since(at).Round(time.Millisecond))
}

// through checks that what waited is what came, and so is the answer.
func through(t *testing.T, conn *tls.Conn, w *witness, hear string) {
	t.Helper()
	heard, err := io.ReadAll(conn)
	if string(heard) != hear {
		t.Errorf("heard %d bytes of %d, %v", len(heard), len(hear), err)
	}
	conn.Close()
	if v := w.next(t); v.err != nil {
		t.Errorf("the server: %v", v.err)
	}
}

// TestIntegrationHold: the handshake is done, the request waits, the command lets it
// through, ten megabytes in both directions come as they were sent, and the kernel
// has the rest; with and without segmentation offload, and where packets are lost.
func TestIntegrationHold(t *testing.T) {
	for name, o := range map[string]struct {
		lab.Options
		n int64
	}{"offload": {lab.Options{}, 10 << 20}, "no offload": {lab.Options{NoOffload: true}, 2 << 20}, "loss": {lab.Options{Loss: 0.05}, 256 << 10}} {
		t.Run(name, func(t *testing.T) {
			l := labtest.New(t, o.Options)
			w, shook := greeted(t, l)
			f := startFirewall(t, l, holdPolicy)
			families(t, l, func(t *testing.T, server netip.Addr) {
				for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
					say, hear := request(o.n, o.n)
					conn, v := held(t, l, shook, netip.AddrPortFrom(server, 443), version, say)
					var list []control.Conn // of a network that loses packets the request may come late
					within(5*time.Second, func() bool {
						list = f.conns(l, "--verdict", "hold")
						return len(list) == 1 && list[0].Waited >= 0.3
					})
					if len(list) != 1 || list[0].Rule != "quarantine" || list[0].Waited < 0.3 || list[0].Offloaded {
						t.Fatalf("waits: %+v", list)
					}
					if out, _, code := f.ask(l, "open"); code != 0 || !strings.Contains(out, "quarantine") || !strings.Contains(out, "server.lab.example") {
						t.Errorf("open lists: %d\n%s", code, out)
					}
					id := fmt.Sprint(list[0].FlowID)
					if got := f.why(t, l, id); !strings.Contains(got, `the gate of rule "quarantine" is closed`) || !strings.Contains(got, "data waits: ") {
						t.Errorf("why, while it waits:\n%s", got)
					}
					at := time.Now()
					if out, errs, code := f.ask(l, "open", id); code != 0 || !strings.Contains(out, "on its way") {
						t.Fatalf("open: %d %s%s", code, out, errs)
					}
					comes(t, v, at)
					if got := f.why(t, l, id); !strings.Contains(got, "until somebody let this connection go: ") {
						t.Errorf("why, afterwards:\n%s", got)
					}
					through(t, conn, w, hear)
					if t.Failed() {
						stats, _, _ := f.ask(l, "stats")
						t.Fatalf("%+v\n%s", f.conns(l), stats)
					}
					e := eventOf(t, f, "drop", v)
					if e.Ours.Verdict != "hold" || e.Ours.Reason != "rule" || !strings.Contains(e.Ours.Detail, "opens by hand") {
						t.Errorf("event: %+v", e)
					}
				}
			})
			if d := f.drops(); len(d) != 4 {
				t.Errorf("%d drop events, want one a connection", len(d))
			}
			if list := f.conns(l, "--verdict", "accept"); len(list) != 4 || !list[0].Offloaded {
				t.Errorf("let through: %+v", list)
			}
		})
	}
}

// TestIntegrationHoldRule: the gate of the rule lets all through that wait, and those
// to come, until it is closed again.
func TestIntegrationHoldRule(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	w, shook := greeted(t, l)
	f := startFirewall(t, l, "[queue]\nworkers = 2\n"+holdPolicy)
	families(t, l, func(t *testing.T, server netip.Addr) {
		to := netip.AddrPortFrom(server, 443)
		say, hear := request(100_000, 100_000)
		var conns []*tls.Conn
		var visits []*visit
		for range 3 {
			c, v := held(t, l, shook, to, tls.VersionTLS13, say)
			conns, visits = append(conns, c), append(visits, v)
		}
		at := time.Now()
		out, errs, code := f.ask(l, "open", "--rule", "quarantine", "--json")
		var done control.Opened
		if err := json.Unmarshal([]byte(out), &done); err != nil || code != 0 || done.Gate == nil || done.Gate.Waiting != 0 || !done.Gate.Open {
			t.Fatalf("open: %d %s%s", code, out, errs)
		}
		for i, c := range conns {
			comes(t, visits[i], at)
			through(t, c, w, hear)
		}
		if _, err := exchange(dial(t, l, to), &tls.Config{}, 1000); err != nil {
			t.Errorf("behind an open gate: %v", err)
		}
		<-shook
		w.next(t)
		if out, _, code := f.ask(l, "open", "--rule", "quarantine", "--close"); code != 0 || !strings.Contains(out, "closed") {
			t.Errorf("close: %d %s", code, out)
		}
		c, _ := held(t, l, shook, to, tls.VersionTLS12, say)
		c.Close()
		if _, errs, code := f.ask(l, "kill", to.String(), c.LocalAddr().String()); code != 0 {
			t.Errorf("kill: %d: %s", code, errs)
		}
		if v := w.next(t); v.err == nil || v.read.Load() != 0 {
			t.Errorf("killed while it waited, the server read %d bytes and saw %v", v.read.Load(), v.err)
		}
	})
	for want, args := range map[string][]string{
		`no rule "nobody"`:  {"open", "--rule", "nobody"},
		"no connection 999": {"open", "999"},
		"give --rule":       {"open", "--close"},
		"not both":          {"open", "--rule", "quarantine", "7"},
	} {
		if _, errs, code := f.ask(l, args...); code == 0 || !strings.Contains(errs, want) {
			t.Errorf("%v: %d: %s", args, code, errs)
		}
	}
}

// TestIntegrationHoldTime: curl's request to nginx waits for its time.
func TestIntegrationHoldTime(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	const n = 10 << 20
	dir := files(t, l, n)
	startNginx(t, l, dir, "443 ssl")
	opens := time.Now().Add(4 * time.Second).Truncate(time.Second)
	startFirewall(t, l, fmt.Sprintf("[[rule]]\nname = \"quarantine\"\nhold = { what = \"application_data\", open = %q }\n", opens.Format(time.RFC3339)))
	families(t, l, func(t *testing.T, server netip.Addr) {
		late := time.Until(opens) < 0
		s := curl(t, l, fmt.Sprintf("https://%s/file", netip.AddrPortFrom(server, 443)))
		if s.exit != nil || s.out != pattern(n) {
			t.Errorf("%d bytes: %v %s", len(s.out), s.exit, s.err)
		}
		if took := s.ended.Sub(opens); !late && (took < 0 || took > 5*time.Second) {
			t.Errorf("it ended %s after the time", took)
		}
	})
}

// TestIntegrationHoldPatience: what has waited for too long is reset at both ends,
// and nobody was given a byte.
func TestIntegrationHoldPatience(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	dir := files(t, l, 10)
	startServer(t, l, dir, "openssl", "s_server", "-accept", "443", "-cert", "rsa.pem", "-key", "rsa.key", "-www")
	f := startFirewall(t, l, "[[rule]]\nname = \"quarantine\"\nhold = { patience = \"1s\" }\n")
	families(t, l, func(t *testing.T, address netip.Addr) {
		for _, version := range []string{"-tls1_2", "-tls1_3"} {
			f.take()
			began := time.Now()
			s := openssl(t, l, netip.AddrPortFrom(address, 443), "GET / HTTP/1.0\r\n\r\n", version)
			if took := s.ended.Sub(began); took < time.Second || took > 6*time.Second || s.exit == nil {
				t.Errorf("it ended after %s: %s", took, s)
			}
			e := f.wait("expired", func(e event) bool { return e.Type == "drop" && e.Ours.Reason == "hold.expired" })
			if e.Ours.Verdict != "reset" || e.Ours.Rule != "quarantine" || !strings.Contains(e.Ours.Detail, "1s") {
				t.Errorf("event: %+v", e)
			}
			if s.out != "" {
				t.Errorf("%s: the server has answered %q", version, s.out)
			}
		}
	})
}

// TestIntegrationHoldClosed: what a client has said before it closed comes through
// when the gate opens, and nothing before.
func TestIntegrationHoldClosed(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	w, shook := greeted(t, l)
	f := startFirewall(t, l, holdPolicy)
	families(t, l, func(t *testing.T, server netip.Addr) {
		say, _ := request(3000, 10)
		conn, v := held(t, l, shook, netip.AddrPortFrom(server, 443), tls.VersionTLS12, say)
		conn.Close()
		time.Sleep(time.Second)
		if n := v.read.Load(); n != 0 {
			t.Errorf("the server read %d bytes when the client closed", n)
		}
		at := time.Now()
		if _, errs, code := f.ask(l, "open", "--rule", "quarantine"); code != 0 {
			t.Fatalf("open: %d: %s", code, errs)
		}
		comes(t, v, at)
		w.next(t)
		if n := v.read.Load(); n != int64(len(say)) {
			t.Errorf("the server read %d bytes of %d", n, len(say))
		}
		f.ask(l, "open", "--rule", "quarantine", "--close")
	})
}

// TestIntegrationHoldRestart: the daemon is killed while data waits, and begins
// again: it still waits, and still can be let through.
func TestIntegrationHoldRestart(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	w, shook := greeted(t, l)
	f := startFirewall(t, l, holdPolicy)
	say, hear := request(200_000, 200_000)
	conn, v := held(t, l, shook, netip.AddrPortFrom(l.Server.IPv4, 443), tls.VersionTLS13, say)
	f.cmd.Process.Kill()
	<-f.ended
	os.Remove(f.socket)
	f = startFirewall(t, l, holdPolicy)
	waits := func() bool { return len(f.conns(l, "--verdict", "hold")) == 1 }
	if !within(8*time.Second, waits) || v.read.Load() != 0 {
		t.Fatalf("after a restart: %+v; the server read %d bytes", f.conns(l), v.read.Load())
	}
	at := time.Now()
	if _, errs, code := f.ask(l, "open", "--rule", "quarantine"); code != 0 {
		t.Fatalf("open: %d: %s", code, errs)
	}
	comes(t, v, at)
	through(t, conn, w, hear)
}
