package main

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"tlsgate/internal/adversary"
	"tlsgate/internal/lab"
)

// rawServers are servers without a kernel on one port of the server's host, one for
// each client.
type rawServers struct {
	port *lab.RawPort
	done chan struct{}

	mu sync.Mutex
	of map[netip.AddrPort]*adversary.Server
}

// serveRaw has them on a port of their own until the test ends.
func serveRaw(t testing.TB, l *lab.Lab) *rawServers {
	t.Helper()
	port, err := l.Server.RawPort()
	if err != nil {
		t.Fatal(err)
	}
	s := &rawServers{port: port, done: make(chan struct{}), of: map[netip.AddrPort]*adversary.Server{}}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-s.done:
				return
			default:
			}
			if ip := port.Recv(100 * time.Millisecond); ip != nil {
				s.receive(ip)
			}
		}
	}()
	t.Cleanup(func() {
		close(s.done)
		<-stopped
		port.Close()
	})
	return s
}

// to gives a client a server of its own.
func (s *rawServers) to(client netip.AddrPort, stack adversary.Stack, at netip.AddrPort) *adversary.Server {
	server := adversary.NewServer(stack, at, s.port.Send)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.of[client] = server
	return server
}

func (s *rawServers) forget(client netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.of, client)
}

// receive gives a packet to the server of its client.
func (s *rawServers) receive(ip []byte) {
	from, tcp := netip.Addr{}, 40
	if ip[0]>>4 == 4 {
		from, tcp = netip.AddrFrom4([4]byte(ip[12:16])), int(ip[0]&15)*4
	} else {
		from = netip.AddrFrom16([16]byte(ip[8:24]))
	}
	client := netip.AddrPortFrom(from, binary.BigEndian.Uint16(ip[tcp:]))
	s.mu.Lock()
	server := s.of[client]
	s.mu.Unlock()
	if server != nil {
		server.Receive(slices.Clone(ip))
	}
}

// rawWire is a client's port with a server of ours at its other end.
type rawWire struct {
	*lab.RawPort
	*adversary.Server
}

func (w rawWire) Pass(d time.Duration) {
	time.Sleep(d)
	w.Again()
}

// playOnRaw plays a trick of a server's, and says what is wrong with what came of it.
func (s *rawServers) playOnRaw(l *lab.Lab, trick *adversary.Trick, stack adversary.Stack, server netip.Addr, stake adversary.Stake) (wrong string) {
	for range adversaryTries {
		port, err := l.Client.RawPort()
		if err != nil {
			return err.Error()
		}
		client := netip.AddrPortFrom(l.Client.IPv4, port.Port)
		if server.Is6() {
			client = netip.AddrPortFrom(l.Client.IPv6, port.Port)
		}
		at := netip.AddrPortFrom(server, s.port.Port)
		w := rawWire{port, s.to(client, stack, at)}
		p := adversary.NewPeer(w, client, at, stake, adversaryQuiet)
		p.Later = stack.Later
		p.Play(trick)
		p.HangUp()
		s.forget(client)
		port.Close()
		wrong = p.Won(w.Names())
		if stake != adversary.StakeNone || wrong == "" {
			break
		}
	}
	return wrong
}
