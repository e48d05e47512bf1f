package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"tlsgate/internal/adversary"
	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// Where a connection stands when the daemon is killed.
const (
	beforeHello  = "before its hello"
	inHello      = "in the middle of its hello"
	beforeAnswer = "between the hello and its answer"
)

// What comes of a connection that the daemon's end found undecided.
const (
	itAnswers  = "the answer comes"
	itIsAsked  = "the hello comes, and its answer does not"
	itIsSilent = "the hello does not come"
)

// undecidedCase is one of them: its name is forbidden or its suite, or nothing is.
type undecidedCase struct {
	stands      string
	name, suite bool // forbidden
}

var undecidedCases = []undecidedCase{
	{beforeHello, true, false}, {beforeHello, false, true}, {beforeHello, false, false},
	{inHello, true, false}, {inHello, false, true}, {inHello, false, false},
	{beforeAnswer, false, true}, {beforeAnswer, false, false},
}

// namesAlone refuses a name, and requires nothing.
const namesAlone = "\n[[rule]]\nname = \"names\"\nmatch = { sni = \"" + adversary.Forbidden + "\" }\naction = \"reset\"\n"

// undecidedWant is what each value of default.midstream promises (docs/POLICY.md, "The
// daemon ends, and starts again"), and the reason where it refuses.
var undecidedWant = []struct {
	midstream string
	requires  bool // the policy requires a suite
	want      func(c undecidedCase) (comes, reason string)
}{
	{"accept", true, func(c undecidedCase) (string, string) {
		switch {
		case c.stands != beforeHello: // what remains of a handshake is not judged
			return itAnswers, ""
		case c.name:
			return itIsSilent, "rule"
		case c.suite:
			return itIsAsked, "require.cipher"
		}
		return itAnswers, ""
	}},
	{"inspect", true, func(c undecidedCase) (string, string) { return c.nothing(), "require.cipher" }},
	{"inspect", false, func(c undecidedCase) (string, string) {
		if c.stands == beforeHello && c.name {
			return itIsSilent, "rule"
		}
		return itAnswers, ""
	}},
	{"reset", true, func(c undecidedCase) (string, string) { return c.nothing(), "midstream" }},
	{"drop", true, func(c undecidedCase) (string, string) { return c.nothing(), "midstream" }},
}

func (c undecidedCase) nothing() string {
	if c.stands == beforeAnswer {
		return itIsAsked
	}
	return itIsSilent
}

// undecided is a connection that the daemon's end finds so.
type undecided struct {
	undecidedCase
	conn          net.Conn
	hello, answer []byte

	answered int // bytes that the client has read
	err      error

	mu    sync.Mutex
	asked int // bytes that the server has read
}

func (u *undecided) read() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.asked
}

// serve reads the hello, and answers it once it may.
func (u *undecided) serve(c net.Conn, may <-chan struct{}) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(visitTime))
	b := make([]byte, len(u.hello))
	for n := 0; n < len(b); {
		m, err := c.Read(b[n:])
		if err != nil {
			return
		}
		n += m
		u.mu.Lock()
		u.asked = n
		u.mu.Unlock()
	}
	<-may
	c.Write(u.answer)
	io.Copy(io.Discard, c)
}

// TestIntegrationUndecided: the daemon is killed while connections are not decided yet,
// and begins again: what becomes of them default.midstream says.
func TestIntegrationUndecided(t *testing.T) {
	for _, tt := range undecidedWant {
		t.Run(fmt.Sprintf("%s, a suite is required %v", tt.midstream, tt.requires), func(t *testing.T) {
			t.Parallel()
			l := labtest.New(t, lab.Options{})
			if !l.Server.IPv6.IsValid() {
				labtest.Missing(t, errors.New("missing in the kernel: IPv6"))
			}
			listener, err := l.Server.Listen("tcp", ":443")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { listener.Close() })
			policy := fmt.Sprintf("[default]\nmidstream = %q\n", tt.midstream) + namesAlone
			if tt.requires {
				policy = adversary.Policy(fmt.Sprintf("midstream = %q\n", tt.midstream))
			}
			f := startFirewall(t, l, policy)
			may := make(chan struct{})
			var all []*undecided
			for _, server := range []netip.Addr{l.Server.IPv4, l.Server.IPv6} {
				for _, c := range undecidedCases {
					all = append(all, begin(t, l, listener, netip.AddrPortFrom(server, 443), c, may))
				}
			}
			f.cmd.Process.Signal(syscall.SIGKILL)
			<-f.ended
			f = startFirewall(t, l, policy)
			for _, u := range all {
				u.conn.Write(u.hello[u.said():])
			}
			time.Sleep(200 * time.Millisecond)
			close(may)
			var reading sync.WaitGroup
			for _, u := range all {
				reading.Go(func() {
					patience := visitTime
					wants, _ := tt.want(u.undecidedCase)
					if wants != itAnswers {
						patience = 1500 * time.Millisecond
					}
					u.conn.SetReadDeadline(time.Now().Add(patience))
					u.answered, u.err = io.ReadFull(u.conn, make([]byte, len(u.answer)))
					if wants == itIsAsked {
						within(visitTime, func() bool { return u.read() == len(u.hello) })
					}
				})
			}
			reading.Wait()
			for _, u := range all {
				comes := itAnswers
				switch {
				case u.read() < len(u.hello):
					comes = itIsSilent
				case u.answered < len(u.answer):
					comes = itIsAsked
				}
				what := fmt.Sprintf("%s, %s, forbidden name %v, suite %v", u.conn.RemoteAddr(), u.stands, u.name, u.suite)
				wants, reason := tt.want(u.undecidedCase)
				if comes != wants {
					t.Errorf("%s: %s, want: %s; %v", what, comes, wants, u.err)
				}
				u.explained(t, f, what, reason)
			}
		})
	}
}

// begin makes a connection stand where it is to stand.
func begin(t *testing.T, l *lab.Lab, listener net.Listener, to netip.AddrPort, c undecidedCase, may <-chan struct{}) *undecided {
	t.Helper()
	name, suite := adversary.Permitted, uint16(0x1301)
	if c.name {
		name = adversary.Forbidden
	}
	if c.suite {
		suite = 0x1303
	}
	u := &undecided{undecidedCase: c, conn: dial(t, l, to), answer: serverHello(suite)}
	u.hello = adversary.Hello{Name: name, Suites: []uint16{suite}, Version: 0x0303, Random: 7}.Record()
	t.Cleanup(func() { u.conn.Close() })
	s, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	go u.serve(s, may)
	u.conn.Write(u.hello[:u.said()])
	if !within(visitTime, func() bool { return u.read() == u.said() }) {
		t.Fatalf("%s: the server has read %d of %d bytes", c.stands, u.read(), u.said())
	}
	return u
}

// said is how much of the hello is said before the daemon ends.
func (u *undecided) said() int {
	return map[string]int{inHello: 60, beforeAnswer: len(u.hello)}[u.stands]
}

// explained wants the connection refused for a reason, or not at all.
func (u *undecided) explained(t *testing.T, f *firewall, what, reason string) {
	t.Helper()
	from := u.conn.LocalAddr().(*net.TCPAddr).AddrPort()
	var got []string
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		got = nil
		for _, e := range f.drops() {
			if e.SrcPort == from.Port() && e.SrcIP == from.Addr().Unmap() {
				got = append(got, e.Ours.Reason)
			}
		}
		if reason == "" || len(got) > 0 || time.Now().After(end) { // events are written a moment later
			break
		}
	}
	if len(got) > 1 || reason == "" && len(got) > 0 || reason != "" && (len(got) == 0 || got[0] != reason) {
		t.Errorf("%s: refused for %q, want %q", what, got, reason)
	}
}
