package engine

import (
	"math/rand/v2"
	"slices"
	"testing"

	"tlsgate/conntrack"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/tlswire"
)

// piece is a part of what one side writes: [from, to).
type piece struct{ from, to int }

// cut gives pieces of n bytes, in order.
func cut(size, n int) (p []piece) {
	for at := 0; at < size; at += n {
		p = append(p, piece{at, min(at+n, size)})
	}
	return p
}

// strategies are ways to send what one side writes.
var strategies = map[string]func(size int) []piece{
	"mss":      func(n int) []piece { return cut(n, 1460) },
	"gso":      func(n int) []piece { return cut(n, 64<<10-100) },
	"one byte": func(n int) []piece { return cut(n, 1) },
	"reversed": func(n int) []piece { p := cut(n, 97); slices.Reverse(p); return p },
	"shuffled": func(n int) []piece {
		p := cut(n, 61)
		r := rand.New(rand.NewPCG(1, uint64(n)))
		r.Shuffle(len(p), func(i, j int) { p[i], p[j] = p[j], p[i] })
		return p
	},
	"duplicated": func(n int) (p []piece) {
		for _, q := range cut(n, 200) {
			p = append(p, q, piece{max(0, q.from-50), q.to})
		}
		return p
	},
}

// play sends a conversation, as two honest ends would: what is dropped is sent
// again until it came through or the connection is reset.
func (k *link) play(turns []turn, strategy func(int) []piece) {
	k.lab.t.Helper()
	if !k.open() {
		return
	}
	k.talk(turns, strategy)
}

func (k *link) talk(turns []turn, strategy func(int) []piece) {
	for _, t := range turns {
		to := k.ends[t.dir.Other()]
		base := len(to.got)
		for i, p := range strategy(len(t.bytes)) {
			k.data(t.dir, base+p.from, t.bytes[p.from:p.to])
			if i%8 == 7 {
				k.ack(t.dir.Other())
			}
		}
		for tries := 0; len(to.got) < base+len(t.bytes) && tries < 100 && !k.closed(); tries++ {
			at := len(to.got) - base
			if drops := k.lab.drops; !k.data(t.dir, base+at, t.bytes[at:min(at+1460, len(t.bytes))]) && k.lab.drops > drops {
				tries += 30
			}
		}
		k.ack(t.dir.Other())
		if len(to.got) < base+len(t.bytes) || k.closed() {
			return
		}
	}
}

// smallRecords spreads the first handshake message of a conversation over
// records of one byte.
func smallRecords(turns []turn) []turn {
	turns = slices.Clone(turns)
	old := turns[0].bytes
	n := int(old[3])<<8 | int(old[4])
	var b []byte
	for _, v := range old[5 : 5+n] {
		b = append(b, old[0], old[1], old[2], 0, 1, v)
	}
	turns[0].bytes = append(b, old[5+n:]...)
	return turns
}

// streams are all bytes of both directions.
func streams(turns []turn) (s [2][]byte) {
	for _, t := range turns {
		s[t.dir] = append(s[t.dir], t.bytes...)
	}
	return s
}

// reach finds where in a conversation something is complete: a record header
// of the given content, or a message of the given type, by direction and offset.
func reach(t testing.TB, turns []turn, want func(c *tlswire.Conn, from tlswire.Side, st tlswire.Status) bool) (conntrack.Direction, int) {
	t.Helper()
	var c tlswire.Conn
	var at [2]int
	for _, turn := range turns {
		for b := turn.bytes; len(b) > 0; {
			n, _, st := c.Consume(side(turn.dir), b)
			b = b[n:]
			at[turn.dir] += n
			if want(&c, side(turn.dir), st) {
				return turn.dir, at[turn.dir]
			}
		}
	}
	t.Fatal("the conversation never comes there")
	return 0, 0
}

func atMessage(m tlswire.HandshakeType) func(*tlswire.Conn, tlswire.Side, tlswire.Status) bool {
	return func(c *tlswire.Conn, _ tlswire.Side, st tlswire.Status) bool {
		return st == tlswire.Message && c.LastMessage.Type == m && !(m == tlswire.TypeServerHello && c.ServerHello.Retry)
	}
}

func atContent(content tlswire.Content) func(*tlswire.Conn, tlswire.Side, tlswire.Status) bool {
	return func(c *tlswire.Conn, from tlswire.Side, st tlswire.Status) bool {
		return st == tlswire.Record && c.Header[from].Content == content
	}
}

func condition(key string, values ...string) tlsrules.Condition {
	k, ok := tlsrules.ParseKey(key)
	if !ok {
		panic("no key " + key)
	}
	c, err := tlsrules.ParseCondition(k, values)
	if err != nil {
		panic(err)
	}
	return c
}

func policy(def tlsrules.Defaults, rules ...tlsrules.Rule) *tlsrules.Policy {
	p, err := tlsrules.New(rules, def)
	if err != nil {
		panic(err)
	}
	return p
}

var acceptAll = tlsrules.Defaults{Action: tlsrules.Accept, NotTLS: tlsrules.Accept}

var partnerSuites = []string{
	"ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256",
	"ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
}

// partner allows six suites.
func partner() *tlsrules.Policy {
	return policy(acceptAll, tlsrules.Rule{
		Name: "partner", Match: []tlsrules.Condition{condition("port", "443")},
		Require: []tlsrules.Condition{condition("cipher", partnerSuites...)},
		Action:  tlsrules.Accept, HasAction: true, Otherwise: tlsrules.Reset,
	})
}

// only requires a content type of every record.
func only(contents ...string) *tlsrules.Policy {
	return policy(acceptAll, tlsrules.Rule{
		Name: "quiet", Require: []tlsrules.Condition{condition("content_type", contents...)}, Otherwise: tlsrules.Reset,
	})
}
