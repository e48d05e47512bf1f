package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"
	"time"

	"tlsgate/internal/events"
)

func (f *daemon) dial() net.Conn {
	f.t.Helper()
	c, err := net.Dial("unix", f.path)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// wellBehaved fails unless a client that behaves is answered within a while.
func (f *daemon) wellBehaved(name string, within time.Duration) {
	f.t.Helper()
	var err error
	for until := time.Now().Add(within); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		var h Health
		if h, err = f.client.Health(f.t.Context()); err == nil && len(h.Workers) > 0 {
			return
		}
	}
	f.t.Errorf("%s: nobody else is answered: %v", name, err)
}

// TestNonsense: what is no HTTP is cut off.
func TestNonsense(t *testing.T) {
	f := start(t, 1)
	for name, say := range map[string]string{
		"garbage":          "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		"half a request":   "GET /v1/conns HTTP/1.1\r\nHost: x\r\n",
		"nothing":          "",
		"endless header":   "GET / HTTP/1.1\r\nX: " + strings.Repeat("a", 1<<20),
		"half a body":      "POST /v1/kill HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
		"a body of no end": "POST /v1/kill HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
	} {
		c := f.dial()
		io.WriteString(c, say) // may be cut off meanwhile
		began := time.Now()
		if _, err := io.Copy(io.Discard, c); errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: not cut off", name)
		}
		if took := time.Since(began); took > headerWait+2*time.Second {
			t.Errorf("%s: cut off only after %s", name, took)
		}
	}
	f.wellBehaved("after nonsense", time.Second)
}

// TestTurnedAway: who is turned away is told so, though he takes his time to ask.
func TestTurnedAway(t *testing.T) {
	f := start(t, 1)
	for range maxClients {
		f.dial()
	}
	// Between it is connected and asks.
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { time.Sleep(5 * time.Millisecond) },
	})
	for range 20 {
		var told *Failure
		if _, err := f.client.Rules(ctx); !errors.As(err, &told) || told.Status != http.StatusServiceUnavailable {
			t.Fatalf("%v", err)
		}
	}
}

// TestCrowd: of 200 at once some are turned away at once, with a reason, and when
// those who say nothing have been cut off there is room again.
func TestCrowd(t *testing.T) {
	f := start(t, 1)
	var crowd []net.Conn
	for range 200 {
		crowd = append(crowd, f.dial())
	}
	away := 0
	for _, c := range crowd {
		b, _ := io.ReadAll(c)
		if strings.Contains(string(b), "503") && strings.Contains(string(b), "too many clients") {
			away++
		}
	}
	if away < maxGate || away > 200-maxClients {
		t.Errorf("%d told that there is no room, want %d to %d", away, maxGate, 200-maxClients)
	}
	f.wellBehaved("after the crowd", 5*time.Second)

	var asking sync.WaitGroup
	served := make(chan bool, 200)
	for range 200 {
		asking.Go(func() {
			_, err := f.client.Stats(context.Background())
			served <- err == nil
		})
	}
	asking.Wait()
	n := 0
	for range 200 {
		if <-served {
			n++
		}
	}
	if n < maxClients/2 {
		t.Errorf("of 200 that ask something %d are answered", n)
	}
}

// TestNeverReads: clients that ask for much and read nothing hold nothing up:
// neither packets, nor events, nor other clients.
func TestNeverReads(t *testing.T) {
	f := start(t, 1)
	const conns = 5000
	for n := range conns {
		f.open(0, n)
	}
	f.settle(3 * conns)
	for i := range 30 {
		c := f.dial()
		path := "/v1/conns"
		if i%2 == 0 {
			path = "/v1/events"
		}
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
	}
	time.Sleep(200 * time.Millisecond)
	began := time.Now()
	for n := range 1000 {
		f.open(0, conns+n)
		f.d.Events.Stats(&events.Stats{})
	}
	f.settle(3000)
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("3000 packets took %s", took)
	}
	if list, err := f.conns(nil); err != nil || len(list) != conns+1000 {
		t.Errorf("another client: %d connections, %v", len(list), err)
	}
}

// TestSlowReader is told what it lost.
func TestSlowReader(t *testing.T) {
	f := start(t, 1)
	c := f.dial()
	fmt.Fprintf(c, "GET /v1/events HTTP/1.0\r\n\r\n")
	r := bufio.NewReader(c)
	for line := ""; line != "\r\n"; {
		var err error
		if line, err = r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	const told = 20_000
	for range told {
		f.d.Events.Stats(&events.Stats{})
	}
	f.d.Events.Close()
	heard, lost := uint64(0), uint64(0)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			break
		}
		var e struct {
			Type string `json:"event_type"`
			Lost uint64
		}
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if e.Type == "lost" {
			lost += e.Lost
		} else {
			heard++
		}
	}
	if lost == 0 || heard+lost != told {
		t.Errorf("heard %d, told of %d lost, of %d", heard, lost, told)
	}
}

// TestTailsAreFew: those who read events leave room for those who ask.
func TestTailsAreFew(t *testing.T) {
	f := start(t, 1)
	for range maxTails {
		c := f.dial()
		fmt.Fprintf(c, "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	err := f.client.Events(t.Context(), nil, nil, func([]byte) error { return nil })
	var failure *Failure
	if !errors.As(err, &failure) || failure.Status != 503 {
		t.Errorf("one more: %v", err)
	}
	f.wellBehaved("beside them", time.Second)
}
