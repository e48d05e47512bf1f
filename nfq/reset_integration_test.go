package nfq

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"
)

// The packet is made the reset for its receiver; one of our own is the sender's.
func TestIntegrationReset(t *testing.T) {
	forEach(t, func(t *testing.T, variant string, h Hook, f Family, backend string) {
		n := newNetwork(t)
		n.gateway.install(t, Rules{Hooks: []Hook{h}, Mark: ourBits, Variant: variant})
		q := n.gateway.open(t, Config{Backend: backend, InjectMark: ourMarks.Pass()})
		testReset(t, n, q, h, f)
		if s := q.Stats(); s.Injected == 0 || s.InjectErrors != 0 || s.VerdictErrors != nil {
			t.Errorf("%+v", s)
		}
	})
}

func testReset(t *testing.T, n network, q *Queue, h Hook, f Family) {
	t.Helper()
	var log seen
	answers(q, func(p *Packet) (Verdict, uint32, []byte) {
		pass := ourMarks.Set(p.Mark, ourMarks.Pass())
		if p.Payload[ipLength(p.Payload)+13]&flagRST != 0 {
			log.add(p)
		}
		if carries(p.Payload) {
			if err := q.Inject(resetForSender(p.Payload), 0); err != nil {
				t.Error(err)
			}
			return Repeat, pass, resetForReceiver(p.Payload)
		}
		return Repeat, pass, nil
	})
	client, server, address := n.place(h, f)
	wantReset(t, client, server, address)
	if resets := log.take(); len(resets) != 0 {
		t.Errorf("%d resets of our own were queued", len(resets))
	}
}

func ipLength(p []byte) int {
	ip, _, _ := ipTCP(p)
	return len(ip)
}

// wantReset connects, sends, and wants both ends to be reset.
func wantReset(t *testing.T, client, server namespace, address string) {
	t.Helper()
	l := server.listen(t, address)
	fate := make(chan error)
	go func() {
		c, err := l.Accept()
		if err == nil {
			c.SetDeadline(time.Now().Add(5 * time.Second))
			_, err = c.Read(make([]byte, 10))
		}
		fate <- err
	}()
	c, err := client.dial(address, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := exchange(c, "hello", 5*time.Second); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("client: %v", err)
	}
	if err := <-fate; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("server: %v", err)
	}
}

// With INPUT and OUTPUT both hooked a packet over loopback is queued once, and
// one of our own not at all.
func TestIntegrationLoopback(t *testing.T) {
	for _, variant := range variants {
		for _, hooks := range [][]Hook{{Input, Output}, {Output}, {Input}} {
			t.Run(fmt.Sprint(variant, hooks), func(t *testing.T) {
				n := newNetwork(t)
				n.gateway.install(t, Rules{Hooks: hooks, Mark: ourBits, Variant: variant})
				for _, chain := range []string{"INPUT", "OUTPUT"} {
					n.gateway.iptables(t, IPv4, variant, "-A", chain, "-p", "tcp", "--tcp-flags", "SYN", "SYN", "-m", "comment", "--comment", "syn"+chain)
				}
				q := n.gateway.open(t, Config{InjectMark: ourMarks.Pass()})
				var log seen
				answers(q, func(p *Packet) (Verdict, uint32, []byte) {
					log.add(p)
					if carries(p.Payload) {
						q.Inject(resetForSender(p.Payload), 0)
						return Repeat, ourMarks.Set(p.Mark, ourMarks.Pass()), resetForReceiver(p.Payload)
					}
					return Repeat, ourMarks.Set(p.Mark, ourMarks.Pass()), nil
				})
				wantReset(t, n.gateway, n.gateway, "198.18.0.1:443")
				if queued := log.take(); len(queued) != 4 {
					t.Errorf("%d packets queued, want SYN, SYN-ACK, ACK, data: %+v", len(queued), queued)
				}
				for _, chain := range []string{"INPUT", "OUTPUT"} {
					if got := n.gateway.counted(t, IPv4, variant, "syn"+chain); got != 2 {
						t.Errorf("%s: %d SYN and SYN-ACK went on, want 2", chain, got)
					}
				}
			})
		}
	}
}
