package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"tlsgate/internal/engine"
)

const (
	// For so long the ends of an offloaded connection are waited for, and asked again
	// in between: hosts answer such questions twice a second at most.
	answerWait = 1500 * time.Millisecond
	askAgain   = 600 * time.Millisecond
	lookAgain  = 20 * time.Millisecond
)

// kill ends a connection.
func (s *Server) kill(w http.ResponseWriter, q *http.Request) error {
	which, err := whichOf(q.Body)
	if err != nil {
		return &Failure{Status: http.StatusBadRequest, Text: err.Error()}
	}
	if err := s.ping(q.Context()); err != nil {
		return err
	}
	i, seen, err := s.find(q.Context(), which)
	if err != nil {
		return err
	}
	before, err := s.killIn(q.Context(), i, seen)
	switch {
	case errors.Is(err, engine.ErrUnknown): // it has ended meanwhile
		return unknown(which)
	case errors.Is(err, engine.ErrRefused):
		return &Failure{
			Status: http.StatusConflict, Text: fmt.Sprintf("connection %d is refused already: %s", seen.ID, seen.Decision.Reason),
			Help: "its packets do not pass",
		}
	case errors.Is(err, engine.ErrOffloaded):
		return &Failure{
			Status: http.StatusConflict,
			Text:   fmt.Sprintf("connection %d is left to the kernel, and the mark that it passes by cannot be changed; it was not touched", seen.ID),
			Help:   "put this version's iptables rules in place (tlsgate rules up), or set intercept.offload = false",
		}
	case err != nil:
		return s.unanswered(i, err)
	}
	k := Killed{Connection: connOf(&before, s.d.Clock()), Client: "reset", Server: "reset"}
	k.Text = "refused from now on; both ends are reset"
	if before.Offloaded {
		s.await(q.Context(), i, &before, &k)
	}
	return reply(w, http.StatusOK, &k)
}

func whichOf(body io.Reader) (which Which, err error) {
	dec := json.NewDecoder(body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&which); err != nil {
		return which, fmt.Errorf("the body is not what kill takes: %w", err)
	}
	if ends := which.A.IsValid() && which.B.IsValid(); ends == (which.FlowID != 0) {
		return which, errors.New(`name the connection by "flow_id", or by both its ends, "a" and "b"`)
	}
	return which, nil
}

func unknown(which Which) *Failure {
	name := fmt.Sprint(which.FlowID)
	if which.FlowID == 0 {
		name = fmt.Sprintf("between %s and %s", which.A, which.B)
	}
	return &Failure{
		Status: http.StatusNotFound, Text: "there is no connection " + name,
		Help: "tlsgate conns lists them; one that was accepted before the daemon began is not known until it ends",
	}
}

// find gives the worker that has a connection, and the connection.
func (s *Server) find(ctx context.Context, which Which) (int, engine.Seen, error) {
	for i, w := range s.d.Workers {
		if which.FlowID == 0 {
			seen, ok, err := findIn(ctx, w.Engine, which)
			if err != nil {
				return 0, seen, s.unanswered(i, err)
			}
			if ok {
				return i, seen, nil
			}
			continue
		}
		var piece []engine.Seen
		var err error
		for place := 0; place >= 0; {
			if piece, place, err = s.piece(ctx, i, place, &engine.Filter{ID: which.FlowID}, piece[:0]); err != nil {
				return 0, engine.Seen{}, s.unanswered(i, err)
			}
			if len(piece) > 0 {
				return i, piece[0], nil
			}
		}
	}
	return 0, engine.Seen{}, unknown(which)
}

func findIn(ctx context.Context, e *engine.Engine, which Which) (engine.Seen, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, workerWait)
	defer cancel()
	return e.Find(ctx, which.A, which.B)
}

func (s *Server) killIn(ctx context.Context, i int, seen engine.Seen) (engine.Seen, error) {
	ctx, cancel := context.WithTimeout(ctx, workerWait)
	defer cancel()
	return s.d.Workers[i].Engine.Kill(ctx, seen.ID, seen.Original, seen.Reply)
}

// await waits for the ends of an offloaded connection to answer: each answer is
// reset with the very number it asks for.
func (s *Server) await(ctx context.Context, i int, before *engine.Seen, k *Killed) {
	heard := [2]bool{}
	start := time.Now()
	asked := false
	for time.Since(start) < answerWait && !(heard[0] && heard[1]) && ctx.Err() == nil {
		time.Sleep(lookAgain)
		now, ok, err := findIn(ctx, s.d.Workers[i].Engine, Which{A: before.Original, B: before.Reply})
		if err != nil || !ok || now.ID != before.ID {
			break
		}
		for d := range heard {
			heard[d] = heard[d] || now.Packets[d] > before.Packets[d]
		}
		if !asked && time.Since(start) > askAgain {
			asked = true
			s.killIn(ctx, i, *before)
		}
	}
	for d, end := range []*string{&k.Client, &k.Server} {
		if !heard[d] {
			*end = "waiting"
		}
	}
	switch {
	case !heard[0] && !heard[1]:
		k.Text = "refused from now on; neither end has answered: each is reset with its next packet. " +
			"If its packets still pass, the kernel knows it by other addresses (translated both ways): that takes intercept.offload = false"
	case !heard[0]:
		k.Text = "refused from now on; the server is reset, the client will be with its next packet"
	case !heard[1]:
		k.Text = "refused from now on; the client is reset, the server will be with its next packet"
	}
}
