package control

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"tlsgate/internal/events"
)

// TestConns lists what several workers have, filtered, each connection once.
func TestConns(t *testing.T) {
	f := start(t, 3)
	const each = 200
	for i := range 3 * each {
		f.open(i%3, i)
	}
	f.settle(3 * 3 * each)
	list, err := f.conns(nil)
	ids := map[uint64]bool{}
	for _, c := range list {
		ids[c.FlowID] = true
	}
	if err != nil || len(list) != 3*each || len(ids) != 3*each {
		t.Fatalf("%d connections, %d ids: %v", len(list), len(ids), err)
	}
	one := list[17]
	if one.State != "ESTABLISHED" || one.Verdict != "undecided" || one.Destination != "203.0.113.1" || one.Port != 443 || one.PktsToServer != 2 {
		t.Errorf("%+v", one)
	}
	for query, want := range map[string]int{
		"port=443": 3 * each, "port=80": 0, "limit=7": 7, "limit=1000000": 3 * each, "source=192.0.2.0/24": 3 * each,
		"source=192.0.2.1": 3 * each, "source=2001:db8::1": 0, "state=established": 3 * each, "state=SYN_SENT": 0,
		"verdict=undecided": 3 * each, "verdict=accept": 0, "min_age=1h": 0, "min_age=0s": 3 * each, "sni=*.example": 0, "id=1": 1,
	} {
		k, v, _ := strings.Cut(query, "=")
		if list, err := f.conns(map[string][]string{k: {v}}); err != nil || len(list) != want {
			t.Errorf("%s: %d connections, %v, want %d", query, len(list), err, want)
		}
	}
}

// TestRefusedQuestions: what cannot be asked is said by name, with a status that fits.
func TestRefusedQuestions(t *testing.T) {
	f := start(t, 1)
	for _, tt := range []struct {
		method, path, body string
		status             int
		says               string
	}{
		{"GET", "/v1/conns?colour=red", "", 400, "colour"},
		{"GET", "/v1/conns?port=x", "", 400, "port"},
		{"GET", "/v1/conns?port=70000", "", 400, "port"},
		{"GET", "/v1/conns?port=1&port=2", "", 400, "twice"},
		{"GET", "/v1/conns?limit=-1", "", 400, "limit"},
		{"GET", "/v1/conns?source=here", "", 400, "192.0.2.0/24"},
		{"GET", "/v1/conns?sni=a.*.example", "", 400, "star"},
		{"GET", "/v1/conns?sni=*example", "", 400, "star"},
		{"GET", "/v1/conns?verdict=maybe", "", 400, "undecided"},
		{"GET", "/v1/conns?state=open", "", 400, "ESTABLISHED"},
		{"GET", "/v1/conns?phase=late", "", 400, "client_hello"},
		{"GET", "/v1/conns?cipher=rot13", "", 400, "suite"},
		{"GET", "/v1/conns?version=9", "", 400, "1.3"},
		{"GET", "/v1/conns?min_age=old", "", 400, "5m"},
		{"GET", "/v1/events?type=rumour", "", 400, "drop"},
		{"GET", "/v1/events?port=1", "", 400, "port"},
		{"GET", "/v1/secrets", "", 404, "/v1/secrets"},
		{"GET", "/", "", 404, "openapi"},
		{"POST", "/v1/conns", "", 405, "GET"},
		{"GET", "/v1/kill", "", 405, "POST"},
		{"POST", "/v1/kill", "", 400, "kill"},
		{"POST", "/v1/kill", "kill them all", 400, "kill"},
		{"POST", "/v1/kill", "{}", 400, "flow_id"},
		{"POST", "/v1/kill", `{"flow_id":-1}`, 400, "kill"},
		{"POST", "/v1/kill", `{"flow_id":1,"force":true}`, 400, "force"},
		{"POST", "/v1/kill", `{"flow_id":1,"a":"192.0.2.1:1","b":"192.0.2.2:2"}`, 400, "by both its ends"},
		{"POST", "/v1/kill", `{"a":"192.0.2.1:1"}`, 400, "both"},
		{"POST", "/v1/kill", `{"a":"192.0.2.1:1","b":"[2001:db8::1]:1"}`, 404, "between"},
		{"POST", "/v1/kill", `{"flow_id":12345}`, 404, "12345"},
		{"POST", "/v1/kill", `{"flow_id":` + strings.Repeat(" ", maxBody) + `1}`, 400, "large"},
	} {
		r := f.raw(tt.method, tt.path, tt.body)
		var failure Failure
		if err := json.NewDecoder(r.Body).Decode(&failure); err != nil || r.StatusCode != tt.status || !strings.Contains(failure.Text+failure.Help, tt.says) {
			t.Errorf("%s %s %.60s: %d %q %q, %v; want %d, %q", tt.method, tt.path, tt.body, r.StatusCode, failure.Text, failure.Help, err, tt.status, tt.says)
		}
	}
}

// TestKill ends a connection by its number, and one by its ends.
func TestKill(t *testing.T) {
	f := start(t, 2)
	tail := f.d.Events.Tail("drop")
	defer tail.Close()
	for n := range 4 {
		f.open(n%2, n)
	}
	f.settle(12)
	list, err := f.conns(map[string][]string{"source": {"192.0.2.1"}})
	if err != nil || len(list) != 4 {
		t.Fatalf("%d connections, %v", len(list), err)
	}
	for i, which := range []Which{{FlowID: list[0].FlowID}, {A: serverEnd, B: client(1)}} {
		k, err := f.client.Kill(t.Context(), which)
		if err != nil || k.Client != "reset" || k.Server != "reset" || k.Connection.Verdict != "undecided" {
			t.Errorf("%+v: %+v, %v", which, k, err)
		}
		if line := string(<-tail.Lines()); !strings.Contains(line, `"reason":"killed"`) {
			t.Errorf("%d: %s", i, line)
		}
	}
	if list, err := f.conns(map[string][]string{"verdict": {"reset"}}); err != nil || len(list) != 2 || list[0].Reason != "killed" {
		t.Errorf("killed: %+v, %v", list, err)
	}
	injected := 0
	for _, q := range f.queues {
		injected += len(q.Injected())
	}
	if injected < 4 {
		t.Errorf("%d packets injected, want an RST to both ends of two connections", injected)
	}
}

func TestHealth(t *testing.T) {
	f := start(t, 2)
	h, err := f.client.Health(t.Context())
	if err != nil || !h.Healthy || len(h.Problems) != 0 || len(h.Workers) != 2 || h.Policy != f.d.Policy() {
		t.Errorf("%+v, %v", h, err)
	}
	f.lost.Add(3)
	h, err = f.client.Health(t.Context())
	if err != nil || h.Healthy || len(h.Problems) != 1 || h.Problems[0].Code != "packets_lost" || h.Packets != (Losses{3, 3}) {
		t.Errorf("packets lost: %+v, %v", h, err)
	}
	for range 6 { // a minute
		f.server.losses.sample(f.d)
	}
	h, err = f.client.Health(t.Context())
	if err != nil || !h.Healthy || h.Packets != (Losses{3, 0}) {
		t.Errorf("a minute later: %+v, %v", h, err)
	}
	f.missed.Add(5) // they passed unread, as the queue fails open
	h, err = f.client.Health(t.Context())
	if err != nil || h.Healthy || len(h.Problems) != 1 || h.Problems[0].Code != "packets_lost" || h.Packets != (Losses{8, 5}) {
		t.Errorf("packets unread: %+v, %v", h, err)
	}
	for range 6 {
		f.server.losses.sample(f.d)
	}
	f.state.Store("state file s: no space left on device")
	h, err = f.client.Health(t.Context())
	if err != nil || h.Healthy || len(h.Problems) != 1 || h.Problems[0] != (Problem{"state", "state file s: no space left on device"}) {
		t.Errorf("the state cannot be written: %+v, %v", h, err)
	}
}

// TestDeadWorker: one worker that does not answer makes no answer of its
// connections, and is named; whoever asks hears so in time.
func TestDeadWorker(t *testing.T) {
	f := start(t, 2, 1)
	began := time.Now()
	h, err := f.client.Health(t.Context())
	if err != nil || h.Healthy || len(h.Problems) != 1 || h.Problems[0].Code != "worker" || !strings.Contains(h.Problems[0].Text, "worker 1") {
		t.Errorf("%+v, %v", h, err)
	}
	if !h.Workers[0].Answers || h.Workers[1].Answers {
		t.Errorf("workers: %+v", h.Workers)
	}
	_, err = f.conns(nil)
	var failure *Failure
	if !errors.As(err, &failure) || failure.Status != http.StatusServiceUnavailable || !strings.Contains(failure.Text, "worker 1 (queue 1)") {
		t.Errorf("conns: %v", err)
	}
	if _, err = f.client.Kill(t.Context(), Which{FlowID: 1}); !errors.As(err, &failure) || failure.Status != http.StatusServiceUnavailable {
		t.Errorf("kill: %v", err)
	}
	if _, err := f.client.Stats(t.Context()); err != nil { // asks no worker
		t.Errorf("stats: %v", err)
	}
	if took := time.Since(began); took > 4*workerWait {
		t.Errorf("it took %s", took)
	}
}

// TestEvents: what is told arrives, only what was asked for, and the last of it
// when the daemon ends.
func TestEvents(t *testing.T) {
	f := start(t, 1)
	got := make(chan string, 100)
	ready, ended := make(chan bool), make(chan error)
	go func() {
		ended <- f.client.Events(context.Background(), []string{"stats"}, func() { close(ready) }, func(line []byte) error {
			got <- string(line)
			return nil
		})
	}()
	<-ready
	f.open(0, 1)
	f.settle(3)
	f.d.Events.Stats(&events.Stats{Uptime: 77})
	select {
	case line := <-got:
		if !strings.Contains(line, `"uptime":77`) {
			t.Errorf("got %s", line)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("nothing was told")
	}
	f.d.Events.Stats(&events.Stats{Uptime: 78})
	f.d.Events.Close()
	if err := <-ended; err != nil {
		t.Errorf("the end: %v", err)
	}
	if len(got) != 1 || !strings.Contains(<-got, `"uptime":78`) {
		t.Errorf("what was told last is missing")
	}
}
