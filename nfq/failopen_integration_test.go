package nfq

import (
	"fmt"
	"os"
	"testing"
	"time"
)

// Without anybody who listens packets are dropped, or pass if that is wished.
func TestIntegrationNobodyListens(t *testing.T) {
	for _, variant := range variants {
		for _, failOpen := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/fail open %t", variant, failOpen), func(t *testing.T) {
				n := newNetwork(t)
				n.gateway.install(t, Rules{Hooks: []Hook{Forward}, Mark: ourBits, FailOpen: failOpen, Variant: variant})
				client, server, address := n.place(Forward, IPv4)
				go echo(server.listen(t, address))
				c, err := client.dial(address, time.Second)
				if failOpen {
					if err != nil {
						t.Fatal(err)
					}
					defer c.Close()
					if err := exchange(c, "hello", 5*time.Second); err != nil {
						t.Fatal(err)
					}
				} else if !os.IsTimeout(err) {
					t.Fatalf("dial: %v", err)
				}
			})
		}
	}
}

// A connection refused before stays refused when the queue fails open.
func TestIntegrationRefusedWithoutDaemon(t *testing.T) {
	for _, variant := range variants {
		n := newNetwork(t)
		n.gateway.install(t, Rules{Hooks: []Hook{Forward}, Mark: ourBits, FailOpen: true, Variant: variant})
		q := n.gateway.open(t, Config{FailOpen: true})
		answers(q, func(p *Packet) (Verdict, uint32, []byte) {
			mark := ourMarks.Pass()
			if carries(p.Payload) {
				mark = ourMarks.Refused()
			}
			return Repeat, ourMarks.Set(p.Mark, mark), nil
		})
		client, server, address := n.place(Forward, IPv4)
		go echo(server.listen(t, address))
		c, err := client.dial(address, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := exchange(c, "hello", 300*time.Millisecond); !os.IsTimeout(err) {
			t.Fatalf("%s: exchange: %v", variant, err)
		}
		q.Close()
		if err := exchange(c, "hello", 900*time.Millisecond); !os.IsTimeout(err) {
			t.Errorf("%s: after the daemon ended: %v", variant, err)
		}
	}
}
