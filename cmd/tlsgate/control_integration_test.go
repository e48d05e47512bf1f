package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tlsgate/internal/control"
	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// ask runs a command that asks the daemon, and returns what it printed.
func (f *firewall) ask(l *lab.Lab, args ...string) (stdout, stderr string, code int) {
	f.t.Helper()
	cmd := program(f.t, l.Gateway, append(args, "--socket", f.socket)...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		f.t.Fatal(err)
	}
	return out.String(), errs.String(), code
}

// conns lists connections.
func (f *firewall) conns(l *lab.Lab, args ...string) (list []control.Conn) {
	f.t.Helper()
	out, errs, code := f.ask(l, append([]string{"conns", "--json"}, args...)...)
	if code != 0 {
		f.t.Fatalf("conns %v: %d: %s", args, code, errs)
	}
	for line := range strings.Lines(out) {
		var c control.Conn
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			f.t.Fatalf("%s: %v", line, err)
		}
		list = append(list, c)
	}
	return list
}

// TestIntegrationControl asks a running daemon all that can be asked.
func TestIntegrationControl(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	if _, err := l.Server.ServeTLS(":443", lab.ServerOptions{Key: lab.KeyRSA}); err != nil {
		t.Fatal(err)
	}
	f := startFirewall(t, l, "[log]\nevents = \"none\"\n[queue]\nworkers = 2\n"+partnerPolicy)
	tail := program(t, l.Gateway, "tail", "--type", "drop,flow", "--socket", f.socket)
	pipe, err := tail.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := tail.Start(); err != nil {
		t.Fatal(err)
	}
	told := make(chan event, 100)
	go func() {
		defer close(told)
		for lines := bufio.NewScanner(pipe); lines.Scan(); {
			var e event
			json.Unmarshal(lines.Bytes(), &e)
			told <- e
		}
	}()
	time.Sleep(500 * time.Millisecond) // until it listens

	good := tls.Client(dial(t, l, netip.AddrPortFrom(l.Server.IPv4, 443)), &tls.Config{
		InsecureSkipVerify: true, ServerName: "server.lab.example", MaxVersion: tls.VersionTLS12, CipherSuites: goodSuite.CipherSuites,
	})
	defer good.Close()
	echo(t, good, "echo\nhello", "hello")
	_, err = exchange(dial(t, l, netip.AddrPortFrom(l.Server.IPv4, 443)), badSuite, 1000)
	wasReset(t, "the client", err)
	select {
	case e := <-told:
		if e.Type != "drop" || e.Ours.Reason != "require.cipher" {
			t.Errorf("told %+v", e)
		}
	case <-time.After(5 * time.Second):
		t.Error("tail tells no refusal")
	}

	list := f.conns(l, "--verdict", "accept", "--sni", "*.lab.example", "--version", "1.2", "--cipher", "ECDHE-RSA-AES128-GCM-SHA256")
	if len(list) != 1 || !list[0].Offloaded || list[0].SNI != "server.lab.example" || list[0].Rule != "partner" || list[0].Phase != "handshake_done" {
		t.Errorf("accepted: %+v", list)
	}
	if list := f.conns(l, "--verdict", "reset"); len(list) != 1 || list[0].Reason != "require.cipher" {
		t.Errorf("refused: %+v", list)
	}
	if out, _, _ := f.ask(l, "conns", "--destination", l.Server.IPv4.String()); !strings.Contains(out, "NAME") || !strings.Contains(out, "server.lab.example") || !strings.Contains(out, "accept*") {
		t.Errorf("table:\n%s", out)
	}
	if _, errs, code := f.ask(l, "conns", "--port", "x"); code != 2 || !strings.Contains(errs, "port") {
		t.Errorf("a port that is none: %d: %s", code, errs)
	}
	if out, _, code := f.ask(l, "stats"); code != 0 || !strings.Contains(out, "connections.refused") {
		t.Errorf("stats: %d\n%s", code, out)
	}
	if out, _, code := f.ask(l, "health"); code != 0 || !strings.Contains(out, "2 of 2 workers answer") || !strings.Contains(out, f.policy) {
		t.Errorf("health: %d\n%s", code, out)
	}
	if _, errs, code := f.ask(l, "kill", "9999999"); code == 0 || !strings.Contains(errs, "no connection 9999999") {
		t.Errorf("kill of nothing: %d: %s", code, errs)
	}
	// A second daemon finds the socket taken.
	checkFailure(t, program(t, l.Gateway, "run", "-c", f.policy, "--socket", f.socket), 3, []string{"taken", "hint:"})

	f.stop()
	tail.Wait()
	ends := 0
	for e := range told {
		if e.Type == "flow" {
			ends++
		}
	}
	if ends != 2 {
		t.Errorf("tail tells of %d ends until the daemon ends, want 2", ends)
	}
	if _, err := os.Lstat(f.socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
	if _, errs, code := f.ask(l, "health"); code != 3 || !strings.Contains(errs, "no daemon listens there") || !strings.Contains(errs, "hint:") {
		t.Errorf("without a daemon: %d: %s", code, errs)
	}
}

// TestIntegrationKillCommand ends connections that were left to the kernel, with data
// passing and without, and one that is not: both ends see a reset, at once.
func TestIntegrationKillCommand(t *testing.T) {
	for _, policy := range []string{"", "[intercept]\noffload = false\n"} {
		for _, quiet := range []bool{true, false} {
			t.Run(fmt.Sprintf("%q quiet %v", policy, quiet), func(t *testing.T) {
				l := labtest.New(t, lab.Options{})
				w := watchTLS(t, l, &tls.Config{})
				f := startFirewall(t, l, policy)
				families(t, l, func(t *testing.T, server netip.Addr) { killOne(t, l, f, w, netip.AddrPortFrom(server, 443), quiet) })
			})
		}
	}
}

func killOne(t *testing.T, l *lab.Lab, f *firewall, w *witness, to netip.AddrPort, quiet bool) {
	c := dial(t, l, to)
	defer c.Close()
	conn := tls.Client(c, &tls.Config{InsecureSkipVerify: true, ServerName: "server.lab.example"})
	c.SetDeadline(time.Now().Add(visitTime))
	// More passes in the kernel than any window, in both directions.
	const n = 8 << 20
	say := fmt.Sprintf("exchange %d %d\n", n, int64(1)<<40)
	if quiet { // the server waits for the other half
		say = fmt.Sprintf("exchange %d 1\n", 2*n)
	}
	go io.WriteString(conn, say+pattern(n))
	ended := make(chan error, 1)
	if quiet {
		time.Sleep(500 * time.Millisecond)
	} else if _, err := io.CopyN(io.Discard, conn, n); err != nil {
		t.Fatal(err)
	}
	go func() { _, err := io.Copy(io.Discard, conn); ended <- err }()

	list := f.conns(l, "--destination", to.Addr().String(), "--verdict", "accept")
	if len(list) != 1 {
		t.Fatalf("connections: %+v", list)
	}
	out, errs, code := f.ask(l, "kill", fmt.Sprint(list[0].FlowID), "--json")
	at := time.Now()
	var k control.Killed
	if err := json.Unmarshal([]byte(out), &k); err != nil || code != 0 {
		t.Fatalf("kill: %d: %v: %s %s", code, err, out, errs)
	}
	if k.Client != "reset" || k.Server != "reset" {
		t.Errorf("killed: %+v", k)
	}
	select {
	case err := <-ended:
		wasReset(t, "the client", err)
	case <-time.After(2 * time.Second):
		t.Errorf("the client has not noticed 2 s after it was killed (offloaded %v)", list[0].Offloaded)
	}
	v := w.next(t)
	if v.err == nil || time.Since(at) > 3*time.Second {
		t.Errorf("the server saw %v, %s later", v.err, time.Since(at))
	}
	if e := eventOf(t, f, "drop", v); e.Ours.Reason != "killed" || e.Ours.Detail == "" {
		t.Errorf("event: %+v", e)
	}
	if _, errs, code := f.ask(l, "kill", to.String(), v.from.String()); code != 0 && !strings.Contains(errs, "no connection") {
		t.Errorf("kill again, by both ends: %d: %s", code, errs)
	}
}

// TestIntegrationStoppedDaemon: a daemon that is stopped does not answer, and one that
// was never there is said to be missing.
func TestIntegrationStoppedDaemon(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	f := startFirewall(t, l, "")
	if out, errs, code := f.ask(l, "health"); code != 0 { // it watches over itself by now
		t.Fatalf("health: %d: %s%s", code, out, errs)
	}
	f.cmd.Process.Signal(syscall.SIGSTOP)
	defer f.cmd.Process.Signal(syscall.SIGCONT)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := control.Dial(f.socket).Health(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a stopped daemon: %v", err)
	}
	began := time.Now()
	_, errs, code := f.ask(l, "health")
	if took := time.Since(began); code != 3 || !strings.Contains(errs, "has not answered") || !strings.Contains(errs, "hint:") || took > 8*time.Second {
		t.Errorf("health of a stopped daemon: %d after %s: %s", code, took, errs)
	}
	// Everything else waits no longer than ten seconds, but reload, which may take a minute.
	var asking sync.WaitGroup
	for _, args := range [][]string{{"stats"}, {"conns"}, {"tail"}, {"kill", "1"}, {"why", "1"}, {"open"}, {"pin"}} {
		asking.Go(func() {
			began := time.Now()
			_, errs, code := f.ask(l, args...)
			if took := time.Since(began); code != 3 || !strings.Contains(errs, fmt.Sprintf("process %d is stopped", f.cmd.Process.Pid)) || took > 20*time.Second {
				t.Errorf("%s of a stopped daemon: %d after %s: %s", args[0], code, took, errs)
			}
		})
	}
	asking.Wait()
	f.cmd.Process.Signal(syscall.SIGCONT)
	if !within(5*time.Second, func() bool { return strings.Contains(f.said(), "the whole daemon stood still for ") }) {
		t.Errorf("it went on and says %q", f.said())
	}
	if out, errs, code := f.ask(l, "health"); code != 0 {
		t.Errorf("health of one that goes on: %d: %s%s", code, out, errs)
	}
}
