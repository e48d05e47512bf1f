package engine

import (
	"fmt"
	"testing"
	"time"

	"tlsgate/conntrack/packet"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/tlswire"
)

// anyRecord inspects every record, and permits those of TLS.
func anyRecord() *tlsrules.Policy { return only(tlsRecords...) }

var tlsRecords = []string{"handshake", "change_cipher_spec", "application_data", "alert"}

// trusting accepts every connection by its port, so that no clock is running while it
// is read.
func trusting() *tlsrules.Policy {
	return policy(acceptAll, rule("all", tlsrules.Accept, "port", "443"))
}

// soon is when a connection is to be decided.
func soon(c *Config) { c.Limits.Decide = 5 * time.Second }

// packedScenes are what can come of a connection that is packed. Each is played with
// IPv4 and IPv6, see scene.
var packedScenes = []struct {
	name   string
	policy func() *tlsrules.Policy // anyRecord if nil
	kind   string                  // of conversation, "tls13" if ""
	change func(*Config)
	play   func(x *scene)
}{
	{name: "goes on", play: func(x *scene) { x.upTo(-1); x.silent(1); x.goesOn() }},
	{name: "goes on twice", kind: "tls12 ecdhe", play: func(x *scene) {
		x.upTo(-1)
		for range 3 {
			x.silent(1)
			x.say(original, recordOf(tlswire.RecordTypeApplicationData, 300))
			x.say(reply, recordOf(tlswire.RecordTypeApplicationData, 5000))
		}
	}},
	{name: "a record that is forbidden", play: func(x *scene) {
		x.upTo(-1)
		x.silent(1)
		x.say(reply, recordOf(tlswire.RecordTypeApplicationData, 30))
		x.silent(1)
		x.say(original, recordOf(tlswire.RecordTypeHeartbeat, 30))
		x.refused("require.content_type")
	}},
	{name: "half a record header, of a permitted record", play: func(x *scene) { x.halfHeader(tlswire.RecordTypeApplicationData); x.goesOn() }},
	{name: "half a record header, of a forbidden one", play: func(x *scene) {
		x.halfHeader(tlswire.RecordTypeHeartbeat)
		x.refused("require.content_type")
	}},
	{name: "within a record", kind: "tls12 rsa", play: func(x *scene) {
		x.upTo(-1)
		b := recordOf(tlswire.RecordTypeApplicationData, 9000)
		for len(b) > 0 {
			n := min(len(b), 1300)
			x.say(reply, b[:n])
			x.silent(1)
			b = b[n:]
		}
		x.say(reply, recordOf(tlswire.RecordTypeHeartbeat, 3))
		x.refused("require.content_type")
	}},
	{name: "a segment that came too early keeps it awake", play: func(x *scene) {
		x.upTo(-1)
		b := recordOf(tlswire.RecordTypeApplicationData, 3000)
		x.both(func(k *link) { k.data(original, len(k.ends[1].got)+1000, b[1000:]) })
		x.silent(0)
		x.both(func(k *link) { k.next(original, b[:1000]); k.ack(reply) })
		x.silent(1)
		x.say(original, recordOf(tlswire.RecordTypeHeartbeat, 3))
		x.refused("require.content_type")
	}},
	{name: "what is not acknowledged keeps it awake", play: func(x *scene) {
		x.upTo(-1)
		b := recordOf(tlswire.RecordTypeApplicationData, 30)
		x.both(func(k *link) { k.next(original, b) })
		x.silent(0)
		x.both(func(k *link) { // another copy of it
			b[0]++
			k.data(original, len(k.ends[1].got)-len(b), b)
			b[0]--
		})
		x.refused("tcp.overlap")
	}},
	{name: "half closed", play: func(x *scene) {
		x.upTo(-1)
		x.both(func(k *link) {
			k.raw(k.segment(original, len(k.ends[1].got), nil, packet.FIN|packet.ACK))
			s := k.segment(reply, len(k.ends[0].got), nil, packet.ACK)
			s.ack++
			k.raw(s)
		})
		x.silent(1)
		x.say(reply, recordOf(tlswire.RecordTypeApplicationData, 300))
		x.silent(1)
		x.both(func(k *link) { k.next(reply, recordOf(tlswire.RecordTypeHeartbeat, 3)) })
		x.both(func(k *link) { k.challenges() })
		if k := x.links[0]; k.lab.e.counts.Refused != 1 {
			x.t.Error("it is not refused")
		}
	}},
	{name: "reset, and the ports serve again", play: func(x *scene) {
		x.upTo(-1)
		x.silent(1)
		x.both(func(k *link) { k.raw(k.segment(original, len(k.ends[1].got), nil, packet.RST)) })
		x.silent(1)
		x.both(func(k *link) { k.again(900_000, 800_000); k.open() })
		x.both(func(k *link) { k.talk(x.turns[:3], strategies["mss"]) })
		x.silent(0) // a SYN cookie of the one before may be good
		x.both(func(k *link) { k.lab.silent(4 * time.Minute) })
		x.silent(1)
		x.say(original, recordOf(tlswire.RecordTypeHeartbeat, 3))
		x.refused("require.content_type")
	}},
	{name: "the ports serve another that it does not know of", play: func(x *scene) {
		x.upTo(-1)
		x.silent(1)
		x.both(func(k *link) { k.again(900_000, 800_000); k.syn() })
		x.both(func(k *link) { k.synAck() })
		x.both(func(k *link) { k.ack(original); k.talk(x.turns[:3], strategies["mss"]) })
		x.silent(0) // a SYN cookie of the one before may be good
		x.both(func(k *link) { k.lab.silent(4 * time.Minute) })
		x.silent(1)
		if n := x.links[0].lab.e.table.Stats().Reopened; n != 1 {
			x.t.Errorf("%d are begun anew", n)
		}
	}},
	{name: "a stray segment, and a stray reset", play: func(x *scene) {
		x.upTo(-1)
		for _, flags := range []packet.Flags{packet.ACK, packet.RST, packet.SYN, packet.SYN | packet.ACK} {
			x.silent(-1) // another SYN keeps it awake
			x.both(func(k *link) {
				s := k.segment(reply, len(k.ends[0].got), nil, flags)
				s.seq += 1 << 28
				k.raw(s)
			})
		}
		x.goesOn()
	}},
	{name: "renegotiates, forbidden", policy: func() *tlsrules.Policy { return otherwise(tlsrules.Reset, "renegotiates", "false") }, kind: "tls12 ecdhe", play: func(x *scene) {
		x.upTo(-1)
		x.silent(1)
		x.say(original, recordOf(tlswire.RecordTypeHandshake, 200))
		x.refused("require.renegotiates")
	}},
	{name: "renegotiates, permitted", kind: "tls12 ecdhe", play: func(x *scene) {
		x.upTo(-1)
		for range 2 {
			x.silent(1)
			x.say(original, recordOf(tlswire.RecordTypeHandshake, 200))
			x.silent(1)
			x.say(reply, recordOf(tlswire.RecordTypeHandshake, 3000))
			x.say(original, recordOf(tlswire.RecordTypeChangeCipherSpec, 1))
			x.say(original, recordOf(tlswire.RecordTypeHandshake, 40))
			x.silent(1)
			x.say(reply, recordOf(tlswire.RecordTypeChangeCipherSpec, 1))
			x.say(reply, recordOf(tlswire.RecordTypeHandshake, 40))
		}
		x.silent(1)
		x.say(reply, recordOf(tlswire.RecordTypeApplicationData, 300))
		x.both(func(k *link) { k.close() })
	}},
	{name: "an alert, and another", kind: "tls13", play: func(x *scene) {
		x.upTo(-1)
		for range 2 {
			x.say(reply, recordOf(tlswire.RecordTypeApplicationData, 19)) // of the length of one
			x.silent(1)
		}
		x.say(original, recordOf(tlswire.RecordTypeHeartbeat, 30))
		x.refused("require.content_type")
	}},
	{name: "forbidden by a reload, found by the walk", play: func(x *scene) { x.upTo(-1); x.silent(1); x.forbid(false) }},
	{name: "forbidden by a reload, found by its packet", play: func(x *scene) { x.upTo(-1); x.silent(1); x.forbid(true) }},
	{name: "a reload permits it", play: func(x *scene) {
		x.upTo(-1)
		for i := range 3 {
			x.silent(1)
			x.adopt(policy(acceptAll, rule(fmt.Sprint("new", i), tlsrules.Accept, "port", "443"),
				tlsrules.Rule{Name: "quiet", Require: []tlsrules.Condition{condition("content_type", tlsRecords...)}, Otherwise: tlsrules.Reset}))
			if n := x.links[sleeper].lab.e.table.AtRest(); n != 1 {
				x.t.Errorf("%d rest behind the walk", n)
			}
		}
		x.goesOn()
	}},
	{name: "a reload asks what it has said", play: func(x *scene) {
		x.upTo(-1)
		for _, c := range [][]string{
			{"sni", "api.bank.example"}, {"version", "1.3"}, {"group", "x25519"}, {"ja4", "*_*_*"}, {"offers_cipher", "TLS_AES_128_GCM_SHA256"}, {"resumed", "no"}, {"via", "direct"},
		} {
			x.silent(1)
			x.adopt(policy(acceptAll, rule("new", tlsrules.Accept, c[0], c[1:]...),
				tlsrules.Rule{Name: "quiet", Require: []tlsrules.Condition{condition("content_type", tlsRecords...)}, Otherwise: tlsrules.Reset}))
			if list, _ := x.links[sleeper].lab.e.listStep(0, &Filter{}, nil); len(list) != 1 || list[0].Decision.Rule != "new" {
				x.t.Errorf("%s: %+v", c, list)
			}
		}
		x.goesOn()
	}},
	{name: "a reload asks what is lost", play: func(x *scene) {
		x.upTo(-1)
		x.silent(1)
		x.adopt(policy(acceptAll, rule("texts", tlsrules.Reset, "contains", "a text")))
		x.silent(-1)
		x.goesOn()
	}},
	{name: "a reload asks for what has not come, and the clock runs", policy: trusting, change: soon, play: func(x *scene) {
		x.both(func(k *link) { k.open() })
		x.silent(1)
		x.adopt(otherwise(tlsrules.Reset, "cipher", partnerSuites...))
		x.silent(1)
		x.both(func(k *link) { k.next(original, x.turns[0].bytes); k.ack(reply) })
		if n := x.links[sleeper].lab.e.clocks(); n != 1 {
			x.t.Errorf("%d clocks are running", n)
		}
		x.silent(0)
		x.refused("undecided")
	}},
	{name: "its clock keeps it awake", policy: func() *tlsrules.Policy { return named("api.bank.example") }, change: soon, play: func(x *scene) {
		x.both(func(k *link) { k.open() })
		x.silent(1)
		x.both(func(k *link) { k.data(original, 0, x.turns[0].bytes[:50]); k.ack(reply) })
		x.silent(0)
		x.refused("undecided")
	}},
	{name: "killed", play: func(x *scene) {
		x.upTo(-1)
		x.silent(1)
		x.both(func(k *link) {
			if err := k.kill(); err != nil {
				x.t.Error(err)
			}
		})
		x.refused("killed")
	}},
	{name: "listed, and asked why", kind: "tls12 client cert", play: func(x *scene) {
		x.upTo(-1)
		for range 2 {
			x.silent(1)
			x.both(func(k *link) { x.why(k) })
		}
		x.goesOn()
	}},
	{name: "silent for too long", play: func(x *scene) {
		x.upTo(-1)
		x.silent(1)
		x.both(func(k *link) {
			k.lab.now += int64(5*24*time.Hour) - 60*second
			k.lab.e.Tick(k.lab.now)
		})
		x.silent(1)
		x.both(func(k *link) { k.lab.now += 120 * second })
		x.silent(0)
		if n := x.links[sleeper].lab.e.table.Len(); n != 0 {
			x.t.Errorf("%d are left", n)
		}
	}},
	{name: "the daemon ends", play: func(x *scene) {
		x.upTo(-1)
		x.silent(1)
		x.both(func(k *link) { k.lab.e.Close(k.lab.now) })
	}},
	{name: "the table is full", change: func(c *Config) { c.Limits.Connections = 4 }, play: func(x *scene) {
		x.upTo(-1)
		for range 3 {
			x.both(func(k *link) { k.lab.link4().play(x.turns[:3], strategies["mss"]) })
		}
		x.silent(4)
		for range 3 {
			x.both(func(k *link) { k.lab.link6().play(x.turns[:3], strategies["mss"]) })
			x.silent(4)
		}
		if n := x.links[0].lab.e.table.Stats().Evicted; n == 0 {
			x.t.Error("nobody has made room")
		}
	}},
	{name: "who holds a pin stays awake", policy: func() *tlsrules.Policy { return pinRule(nil) }, play: func(x *scene) {
		x.upTo(-1)
		x.silent(0)
		x.goesOn()
	}},
	{name: "who waits for a gate stays awake", policy: func() *tlsrules.Policy { return gated(tlsrules.Hold{Patience: time.Hour}) }, play: func(x *scene) {
		x.upTo(-1)
		x.silent(0)
	}},
	{name: "an alert in answer to its hello", policy: func() *tlsrules.Policy { return otherwise(denied, "sni", "www.bank.example") }, play: func(x *scene) {
		x.both(func(k *link) {
			k.open()
			k.stamped(original, 5000, nil, packet.ACK)
			k.stamped(reply, 90, nil, packet.ACK)
		})
		x.silent(1)
		x.both(func(k *link) { k.next(original, x.turns[0].bytes) })
		if k := x.links[0]; len(k.alerts) == 0 {
			x.t.Error("no alert came")
		}
		x.silent(-1)
	}},
	{name: "began unseen", change: func(c *Config) { c.Default.Midstream = MidstreamAccept }, play: func(x *scene) {
		x.both(func(k *link) {
			k.ends[0].iss, k.ends[1].iss = 77_000, 99_000
			k.ack(original)
			k.ack(reply)
		})
		x.silent(-1)
		x.both(func(k *link) { k.talk(x.turns[:3], strategies["mss"]) })
		x.silent(1)
		x.say(original, recordOf(tlswire.RecordTypeHeartbeat, 3))
		x.silent(-1)
	}},
	{name: "observed", policy: func() *tlsrules.Policy {
		return policy(acceptAll,
			tlsrules.Rule{Name: "would", Match: []tlsrules.Condition{condition("version", "1.3")}, Action: tlsrules.Reset, HasAction: true, Observe: true},
			tlsrules.Rule{Name: "quiet", Require: []tlsrules.Condition{condition("content_type", tlsRecords...)}, Otherwise: tlsrules.Reset})
	}, play: func(x *scene) {
		x.upTo(-1)
		x.silent(1)
		for range 3 {
			x.both(func(k *link) { k.lab.link4().play(x.turns[:3], strategies["mss"]) })
		}
		x.silent(4)
		x.both(func(k *link) { x.why(k) })
		x.goesOn()
	}},
	{name: "more rules are bound than have room", policy: func() *tlsrules.Policy {
		var rules []tlsrules.Rule
		for i := range 20 {
			rules = append(rules, tlsrules.Rule{Name: fmt.Sprint(i), Require: []tlsrules.Condition{condition("content_type", tlsRecords...)}, Otherwise: tlsrules.Reset})
		}
		return policy(acceptAll, rules...)
	}, play: func(x *scene) {
		x.upTo(-1)
		x.silent(1)
		if p := &x.links[sleeper].lab.e.packed.apart; int(p.used)-len(p.free) != 1 {
			x.t.Error("what points elsewhere is not apart")
		}
		x.say(original, recordOf(tlswire.RecordTypeApplicationData, 30))
		x.silent(1)
		x.say(original, recordOf(tlswire.RecordTypeHeartbeat, 30))
		x.refused("require.content_type")
	}},
	{name: "a session that began before", policy: anyRecord, kind: "tls12 resumed", play: func(x *scene) {
		x.upTo(-1)
		x.silent(1)
		x.goesOn()
	}},
}

func TestPackedScenes(t *testing.T) {
	for _, tt := range packedScenes {
		for _, six := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, IPv6 %v", tt.name, six), func(t *testing.T) {
				cfg := config()
				if tt.change != nil {
					tt.change(&cfg)
				}
				p, kind := anyRecord(), "tls13"
				if tt.policy != nil {
					p = tt.policy()
				}
				if tt.kind != "" {
					kind = tt.kind
				}
				x := newScene(t, cfg, p, kind, six)
				tt.play(x)
				x.both(func(k *link) { k.lab.e.Close(k.lab.now) })
				if e := x.links[sleeper].lab.e; len(e.packed.common.by) != 0 || e.packed.blocks.n != 0 || e.counts.Bugs != 0 {
					t.Errorf("%d common, %d blocks are left; %s", len(e.packed.common.by), e.packed.blocks.n, e.shared.bug)
				}
			})
		}
	}
}
