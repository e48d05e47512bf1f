package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Bounds of what clients may cost.
const (
	maxClients = 64 // at once; others are turned away
	maxTails   = 16 // of those, reading events
	maxGate    = 64 // being told that there is no room
	maxBody    = 4 << 10
	maxHeader  = 16 << 10

	headerWait = 5 * time.Second  // for a whole request
	writeWait  = 10 * time.Second // for a client to take what is written
	workerWait = 2 * time.Second  // for a worker to answer
	endWait    = time.Second      // for requests that are being answered at the end
	farewell   = 500 * time.Millisecond
)

// Server answers at a control socket. It is made by Serve.
type Server struct {
	d        *Daemon
	http     http.Server
	losses   losses
	tails    chan struct{}
	stopping chan struct{}
	running  sync.WaitGroup
}

// route is one thing that can be asked.
type route struct {
	method, path string
	handle       func(*Server, http.ResponseWriter, *http.Request) error
}

var routes = []route{
	{"GET", "/v1/conns", (*Server).conns},
	{"GET", "/v1/events", (*Server).events},
	{"GET", "/v1/stats", (*Server).stats},
	{"GET", "/v1/health", (*Server).health},
	{"POST", "/v1/kill", (*Server).kill},
	{"GET", "/v1/why", (*Server).why},
	{"GET", "/v1/rules", (*Server).rules},
	{"GET", "/v1/pins", (*Server).pins},
	{"POST", "/v1/pins", (*Server).pin},
	{"DELETE", "/v1/pins", (*Server).unpin},
	{"GET", "/v1/gates", (*Server).gates},
	{"POST", "/v1/gates", (*Server).open},
	{"POST", "/v1/reload", (*Server).reload},
}

// Serve answers for a daemon until Close. The listener is the server's from now on.
func Serve(l net.Listener, d *Daemon) *Server {
	return serve(l, d, headerWait)
}

func serve(l net.Listener, d *Daemon, patience time.Duration) *Server {
	s := &Server{d: d, tails: make(chan struct{}, maxTails), stopping: make(chan struct{})}
	s.http = http.Server{
		Handler: s.handler(), ReadHeaderTimeout: patience, IdleTimeout: patience,
		MaxHeaderBytes: maxHeader, ErrorLog: log.New(io.Discard, "", 0),
	}
	s.losses.sample(d)
	s.running.Go(func() { s.losses.watch(d, s.stopping) })
	door := &crowded{l, make(chan struct{}, maxClients), make(chan struct{}, maxGate), &s.running}
	s.running.Go(func() { s.http.Serve(door) })
	return s
}

// Close ends the server: what is being answered has a moment to be answered.
func (s *Server) Close() error {
	close(s.stopping)
	ctx, cancel := context.WithTimeout(context.Background(), endWait)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close()
	}
	s.running.Wait()
	return err
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	methods := map[string][]string{}
	for _, r := range routes {
		mux.HandleFunc(r.method+" "+r.path, func(w http.ResponseWriter, q *http.Request) { s.answer(r, w, q) })
		methods[r.path] = append(methods[r.path], r.method)
	}
	for path, takes := range methods {
		allowed := strings.Join(takes, ", ")
		mux.HandleFunc(path, func(w http.ResponseWriter, q *http.Request) {
			w.Header().Set("Allow", allowed)
			fail(w, &Failure{Status: http.StatusMethodNotAllowed, Text: fmt.Sprintf("%s takes %s, not %s", path, allowed, q.Method)})
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, q *http.Request) {
		fail(w, &Failure{Status: http.StatusNotFound, Text: "there is no " + q.URL.Path, Help: "docs/openapi.json says what there is"})
	})
	return mux
}

func (s *Server) answer(r route, w http.ResponseWriter, q *http.Request) {
	s.running.Add(1)
	defer s.running.Done()
	rc := http.NewResponseController(w)
	rc.SetWriteDeadline(time.Now().Add(writeWait))
	if r.method == "POST" {
		rc.SetReadDeadline(time.Now().Add(headerWait))
		q.Body = http.MaxBytesReader(w, q.Body, maxBody)
	}
	err := r.handle(s, w, q)
	var f *Failure
	switch {
	case err == nil:
	case errors.As(err, &f):
		fail(w, f)
	default: // half an answer is out, or nobody waits for one
		panic(http.ErrAbortHandler)
	}
}

func fail(w http.ResponseWriter, f *Failure) { reply(w, f.Status, f) }

func reply(w http.ResponseWriter, status int, v any) error {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// unanswered says which worker did not answer.
func (s *Server) unanswered(i int, err error) *Failure {
	text := fmt.Sprintf("worker %d (queue %d) did not answer within %s", i, s.d.Workers[i].Queue, workerWait)
	if !errors.Is(err, context.DeadlineExceeded) {
		text = fmt.Sprintf("worker %d (queue %d): %v", i, s.d.Workers[i].Queue, err)
	}
	return &Failure{Status: http.StatusServiceUnavailable, Text: text, Help: "tlsgate health says more"}
}

func (s *Server) stats(w http.ResponseWriter, _ *http.Request) error {
	line, err := statsLine(s.d)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, err = w.Write(line)
	return err
}
