package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"tlsgate/internal/control"
)

const askTime = 10 * time.Second

// conns lists the daemon's connections.
func (s *soak) conns(ctx context.Context, filters url.Values) (list []control.Conn, err error) {
	err = control.Dial(s.f.socket).Conns(ctx, filters, func(line []byte) error {
		var c control.Conn
		if err := json.Unmarshal(line, &c); err != nil {
			return err
		}
		list = append(list, c)
		return nil
	})
	return list, err
}

// killOne ends a connection that is permitted, or may be.
func (s *soak) killOne() error {
	ctx, cancel := context.WithTimeout(s.t.Context(), askTime)
	defer cancel()
	verdict := []string{"accept", "accept", "undecided"}[s.rng.IntN(3)]
	list, err := s.conns(ctx, url.Values{"state": {"ESTABLISHED"}, "verdict": {verdict}})
	if err != nil || len(list) == 0 {
		return err
	}
	c := list[s.rng.IntN(len(list))]
	from := netip.AddrPortFrom(netip.MustParseAddr(c.Source), c.SourcePort)
	which := control.Which{FlowID: c.FlowID}
	if s.rng.IntN(2) == 0 {
		which = control.Which{A: netip.AddrPortFrom(netip.MustParseAddr(c.Destination), c.Port), B: from}
	}
	s.account.killed = append(s.account.killed, moment{from, time.Now()})
	_, err = control.Dial(s.f.socket).Kill(ctx, which)
	if gone(err) {
		return nil
	}
	return err
}

// gone reports whether what an operator wanted has ended, or was refused, meanwhile.
func gone(err error) bool {
	f := new(control.Failure)
	return errors.As(err, &f) && (f.Status == http.StatusNotFound || f.Status == http.StatusConflict)
}

// movePin gives a pin to a connection that lives, and may have it.
func (s *soak) movePin() error {
	ctx, cancel := context.WithTimeout(s.t.Context(), askTime)
	defer cancel()
	list, err := s.conns(ctx, url.Values{"state": {"ESTABLISHED"}, "sni": {"*.pinned.lab.example"}})
	if err != nil || len(list) == 0 {
		return err
	}
	c := list[s.rng.IntN(len(list))]
	_, err = control.Dial(s.f.socket).Pin(ctx, control.WhichPin{FlowID: c.FlowID})
	if gone(err) {
		return nil
	}
	return err
}

// releasePin takes a pin away from whoever has it.
func (s *soak) releasePin() error {
	ctx, cancel := context.WithTimeout(s.t.Context(), askTime)
	defer cancel()
	client := control.Dial(s.f.socket)
	var held []control.Pin
	err := client.Pins(ctx, "pinned", func(line []byte) error {
		var p control.Pin
		err := json.Unmarshal(line, &p)
		held = append(held, p)
		return err
	})
	if err != nil || len(held) == 0 {
		return err
	}
	p := held[s.rng.IntN(len(held))]
	if s.rng.IntN(2) == 0 && p.FlowID != 0 {
		_, err = client.Unpin(ctx, p.FlowID, "", "")
	} else {
		_, err = client.Unpin(ctx, 0, "pinned", "")
	}
	if gone(err) {
		return nil
	}
	return err
}

// askAll asks what can be asked, and reads events for a moment.
func (s *soak) askAll() error {
	ctx, cancel := context.WithTimeout(s.t.Context(), askTime)
	defer cancel()
	_, err := s.conns(ctx, nil)
	client := control.Dial(s.f.socket)
	h, herr := client.Health(ctx)
	for _, p := range h.Problems {
		if p.Code == "worker" || p.Code == "bug" || p.Code == "events_lost" {
			herr = errors.Join(herr, errors.New(p.Text))
		}
	}
	moment, leave := context.WithTimeout(ctx, time.Duration(s.rng.IntN(300))*time.Millisecond)
	defer leave()
	terr := client.Events(moment, nil, nil, func([]byte) error { return nil })
	if errors.Is(terr, context.DeadlineExceeded) {
		terr = nil
	}
	return errors.Join(err, herr, terr)
}

// stats are those of the daemon, now.
func (s *soak) stats() process {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), askTime)
	defer cancel()
	line, err := control.Dial(s.f.socket).Stats(ctx)
	var e struct {
		Stats struct {
			Process process
		}
	}
	if err == nil {
		err = json.Unmarshal(line, &e)
	}
	if err != nil {
		s.t.Fatalf("stats: %v", err)
	}
	return e.Stats.Process
}

// quiet returns what the daemon takes of its host when nobody asks it for anything
// but that: which makes garbage, and so a collection.
func (s *soak) quiet() (p process) {
	s.t.Helper()
	live := ^uint64(0)
	for range 3000 {
		next := s.stats()
		live = min(live, next.LiveBytes)
	}
	time.Sleep(500 * time.Millisecond) // those who asked are gone
	p = s.stats()
	for range 10 { // the one before may be going still
		time.Sleep(20 * time.Millisecond)
		next := s.stats()
		p.Goroutines, p.FDs = min(p.Goroutines, next.Goroutines), min(p.FDs, next.FDs)
	}
	p.LiveBytes = min(live, p.LiveBytes)
	return p
}
