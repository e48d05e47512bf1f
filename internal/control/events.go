package control

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"tlsgate/internal/events"
)

func statsLine(d *Daemon) ([]byte, error) { return events.StatsLine(d.Stats()) }

// tellLost is how often a slow reader is told what it has lost, at most.
const tellLost = time.Second

// events writes events as they come, until the client leaves or the daemon ends.
func (s *Server) events(w http.ResponseWriter, q *http.Request) error {
	for k := range q.URL.Query() {
		if k != "type" {
			return &Failure{Status: http.StatusBadRequest, Text: k + ": nothing can be filtered by that"}
		}
	}
	types := q.URL.Query()["type"]
	for _, t := range types {
		if !slices.Contains(events.Types, t) {
			return &Failure{Status: http.StatusBadRequest, Text: fmt.Sprintf("type: %q: one of: %s", t, strings.Join(events.Types, ", "))}
		}
	}
	select {
	case s.tails <- struct{}{}:
		defer func() { <-s.tails }()
	default:
		return &Failure{Status: http.StatusServiceUnavailable, Text: fmt.Sprintf("%d clients read events already", maxTails)}
	}
	tail := s.d.Events.Tail(types...)
	defer tail.Close()
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	rc := http.NewResponseController(w)
	if err := rc.Flush(); err != nil {
		return err
	}
	every := time.NewTicker(tellLost)
	defer every.Stop()
	told := uint64(0)
	stopping := (<-chan struct{})(s.stopping)
	for {
		var line []byte
		open := true
		select {
		case <-q.Context().Done():
			return nil
		case <-stopping: // what is there already is still written
			stopping = nil
			tail.Close()
			continue
		case line, open = <-tail.Lines():
		case <-every.C:
		}
		rc.SetWriteDeadline(time.Now().Add(writeWait))
		if lost := tail.Lost(); lost > told && len(tail.Lines()) == 0 {
			line = append(line[:len(line):len(line)], events.LostLine(s.d.Wall.Time(s.d.Clock()), lost-told)...)
			told = lost
		}
		if line != nil {
			if _, err := w.Write(line); err != nil {
				return err
			}
		}
		if len(tail.Lines()) == 0 {
			if err := rc.Flush(); err != nil || !open {
				return err
			}
		}
	}
}
