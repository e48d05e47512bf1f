package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"tlsgate/internal/capture"
	"tlsgate/internal/lab"
)

// scenario is one capture.
type scenario struct {
	name string
	// shows says what is to be seen in it.
	shows string
	// servers are started first, on the server, and ended afterwards; typed is
	// said to the first once a client has been there for a while.
	servers []string
	typed   []string
	// serve is a server of ours on port instead, or besides.
	serve func(s *stage, c net.Conn)
	// clientSide are servers on the client's host: a proxy there.
	clientSide []string
	// clients run one after the other.
	clients []client
}

// client is one program on the client's host, whose arguments stand in a line;
// lines are typed into it with a pause before each. A client in Go has call.
type client struct {
	run   string
	lines []string
	call  func(ctx context.Context, s *stage) error
}

// port is where every server of a scenario listens, unless it says another.
const port = 4433

// stage is where scenarios are played.
type stage struct {
	lab      *lab.Lab
	dir, out string

	echOnce           sync.Once
	echConfig, echKey []byte
}

const (
	pause      = 150 * time.Millisecond
	clientTime = 10 * time.Second
	listenTime = 5 * time.Second
	endTime    = 3 * time.Second
)

// words splits a command line and fills in what stands for an address.
func (s *stage) words(line string) []string {
	return strings.Fields(strings.NewReplacer(
		"SERVER6", s.lab.Server.IPv6.String(), "SERVER", s.lab.Server.IPv4.String(),
		"CLIENT", s.lab.Client.IPv4.String(), "PORT", fmt.Sprint(port), "DIR", s.dir,
	).Replace(line))
}

// play records one scenario.
func (s *stage) play(ctx context.Context, sc *scenario) (err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	stdin, end, err := s.start(ctx, sc)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	path := filepath.Join(s.out, sc.name+".pcapng")
	var recorder *capture.Recorder
	err = s.lab.Client.Run(func() (err error) {
		recorder, err = capture.Live([]string{lab.HostLink}, path)
		return err
	})
	if err != nil {
		return err
	}
	for _, c := range sc.clients {
		if err = s.visit(ctx, sc, c, stdin); err != nil {
			break
		}
	}
	time.Sleep(2 * pause)
	sum, stopErr := recorder.Stop()
	if err = errors.Join(err, stopErr); err != nil {
		return err
	}
	if sum.Lost > 0 || sum.Packets < 5 {
		return fmt.Errorf("%d packets, %d lost", sum.Packets, sum.Lost)
	}
	fmt.Printf("%-36s %3d packets\n", sc.name, sum.Packets)
	return nil
}

// start starts the servers and waits until they listen. stdin is the first
// server's.
func (s *stage) start(ctx context.Context, sc *scenario) (stdin io.Writer, end func() error, err error) {
	var enders []func() error
	end = func() error {
		var errs []error
		for i := len(enders) - 1; i >= 0; i-- {
			errs = append(errs, enders[i]())
		}
		return errors.Join(errs...)
	}
	if sc.serve != nil {
		listener, err := s.lab.Server.Listen("tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			return nil, nil, err
		}
		enders = append(enders, listener.Close)
		go s.acceptAll(listener, sc.serve)
	}
	run := func(h *lab.Host, line string) error {
		w, stop, err := s.server(ctx, h, line)
		if err != nil {
			return err
		}
		enders = append(enders, stop)
		if stdin == nil {
			stdin = w
		}
		return nil
	}
	for _, line := range sc.servers {
		if err := run(s.lab.Server, line); err != nil {
			return nil, nil, errors.Join(err, end())
		}
	}
	for _, line := range sc.clientSide {
		if err := run(s.lab.Client, line); err != nil {
			return nil, nil, errors.Join(err, end())
		}
	}
	return stdin, end, nil
}

func (s *stage) acceptAll(l net.Listener, serve func(*stage, net.Conn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			c.SetDeadline(time.Now().Add(clientTime))
			serve(s, c)
		}()
	}
}

// server starts a program on a host and waits until it listens on one port
// more than before.
func (s *stage) server(ctx context.Context, h *lab.Host, line string) (io.Writer, func() error, error) {
	before, err := listening(h)
	if err != nil {
		return nil, nil, err
	}
	args := s.words(line)
	cmd := h.Command(ctx, args[0], args[1:]...)
	cmd.Dir = s.dir
	// It dies with the thread that starts it: that has to live.
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop := func() error {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		stdin.Close()
		select {
		case <-ended:
			return nil
		case <-time.After(endTime):
			_ = cmd.Process.Kill()
			<-ended
			return nil
		}
	}
	for until := time.Now().Add(listenTime); ; time.Sleep(10 * time.Millisecond) {
		now, err := listening(h)
		if err != nil {
			return nil, nil, errors.Join(err, stop())
		}
		if now > before {
			return stdin, stop, nil
		}
		select {
		case err := <-ended:
			return nil, nil, fmt.Errorf("%s ended: %v: %s", line, err, said.Bytes())
		default:
		}
		if time.Now().After(until) {
			return nil, nil, errors.Join(fmt.Errorf("%s does not listen: %s", line, said.Bytes()), stop())
		}
	}
}

// listening counts the TCP sockets of a host that listen.
func listening(h *lab.Host) (n int, err error) {
	err = h.Run(func() error {
		for _, name := range []string{"tcp", "tcp6"} {
			b, err := os.ReadFile("/proc/thread-self/net/" + name)
			if err != nil {
				return err
			}
			n += strings.Count(string(b), " 0A ")
		}
		return nil
	})
	return n, err
}

// visit runs one client to its end.
func (s *stage) visit(ctx context.Context, sc *scenario, c client, server io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, clientTime)
	defer cancel()
	if c.call != nil {
		return c.call(ctx, s)
	}
	args := s.words(c.run)
	cmd := s.lab.Client.Command(ctx, args[0], args[1:]...)
	cmd.Dir = s.dir
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() {
		defer stdin.Close()
		for _, line := range c.lines {
			time.Sleep(2 * pause)
			io.WriteString(stdin, line+"\n")
		}
		for _, line := range sc.typed {
			time.Sleep(2 * pause)
			io.WriteString(server, line+"\n")
		}
		time.Sleep(3 * pause)
	}()
	// Many of these fail on purpose: what they said is for whoever looks.
	err = cmd.Wait()
	if os.Getenv("RECORD_VERBOSE") != "" {
		fmt.Printf("--- %s: %v\n%s\n", c.run, err, said.Bytes())
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s does not end: %s", c.run, said.Bytes())
	}
	if errors.Is(err, exec.ErrNotFound) {
		return err
	}
	return nil
}
