package engine

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"tlsgate/tlsrules"
	"tlsgate/tlsrules/certs"
)

// TestReloadKept: each fact that is said to be kept is, over the whole way, and gives
// the same answer as when the connection was read.
func TestReloadKept(t *testing.T) {
	values := map[string][2]string{
		"source": {"192.0.2.0/24", "198.51.100.0/24"}, "time": {"00:00-24:00 UTC", "before 2020-01-01T00:00:00Z"}, "destination": {"203.0.113.10", "203.0.113.11"},
		"port": {"443", "444"}, "source_port": {"40001-50000", "1-1000"}, "in_interface": {"lan1", "lan2"}, "out_interface": {"lan2", "lan1"},
		"protocol": {"tls", "http"}, "via": {"direct", "starttls:smtp"}, "sni": {"*.bank.example", "none"}, "alpn": {"http/1.1", "none"},
		"resumes": {"session_id", "ticket"}, "ech": {"false", "true"}, "early_data": {"false", "true"}, "fallback": {"false", "true"},
		"version": {"1.2", "1.3"}, "cipher": {"ECDHE-RSA-AES128-GCM-SHA256", "AES128-SHA"}, "alpn_selected": {"http/1.1", "none"},
		"resumed": {"no", "known"}, "group": {"x25519", "x448"}, "dh_bits": {">=1", ">=1"},
	}
	for k, v := range bankFacts() {
		values[k] = v
	}
	client, server := configs(bank(), 0x0303, 0xc02f)
	client.NextProtos, server.NextProtos = []string{"http/1.1"}, []string{"http/1.1"}
	turns := recordTLS(t, client, server)
	for _, key := range tlsrules.Keys() {
		v, kept := values[key.String()]
		lost := map[string]string{
			"contains": "api", "offers_version": "1.2", "offers_cipher": "AES128-SHA", "offers_group": "x25519", "offers_extension": "server_name",
			"offers_signature": "0x0403", "offers_only_cipher": "NULL-SHA", "offers_only_version": "1.0", "offers_only_group": "x448",
			"client_random": strings.Repeat("00", 32), "ja3": strings.Repeat("00", 16), "ja4": "*_*_*", "ja3s": strings.Repeat("00", 16),
			"content_type": "handshake", "alert": "fatal", "renegotiates": "false",
		}[key.String()]
		if !kept && lost == "" {
			t.Errorf("%s: neither kept nor lost", key)
			continue
		}
		try := func(value string) (bool, Adopted) {
			cfg := config()
			cfg.Interface = func(i uint32) string { return fmt.Sprintf("lan%d", i) }
			l := newLab(t, cfg, policy(acceptAll))
			k := l.link4()
			k.play(turns, strategies["mss"])
			if k.mark != l.marks.Accepted(5) {
				t.Fatalf("%s: not offloaded", key)
			}
			l.adopt(requires(key.String(), value))
			a := l.around()
			return k.closed(), a
		}
		if !kept {
			if closed, a := try(lost); closed || a != (Adopted{Judged: 1, Stood: 1, Done: true}) {
				t.Errorf("%s is lost: closed %v, %+v", key, closed, a)
			}
			continue
		}
		if closed, a := try(v[0]); closed || a != (Adopted{Judged: 1, Done: true}) {
			t.Errorf("%s = %s: closed %v, %+v", key, v[0], closed, a)
		}
		if v[0] == v[1] {
			continue // it has none, and that is fine
		}
		if closed, a := try(v[1]); !closed || a != (Adopted{Judged: 1, Refused: 1, Done: true}) {
			t.Errorf("%s = %s: closed %v, %+v", key, v[1], closed, a)
		}
	}
}

// TestReloadNotTLS: what is not TLS is judged by the new policy's word on that.
func TestReloadNotTLS(t *testing.T) {
	turns := said("CGET / HTTP/1.1\r\n\r\n", "SHTTP/1.1 200 OK\r\n\r\n")
	for _, tt := range []struct {
		name   string
		policy *tlsrules.Policy
		closed bool
	}{
		{"accepted still", policy(acceptAll), false},
		{"not_tls", policy(tlsrules.Defaults{Action: tlsrules.Accept, NotTLS: tlsrules.Reset}), true},
		{"by protocol", policy(acceptAll, rule("new", tlsrules.Reset, "protocol", "http")), true},
		{"required of TLS", named("a.example"), false},
	} {
		for _, keep := range []bool{false, true} {
			cfg := config()
			cfg.Offload = !keep
			l := newLab(t, cfg, policy(acceptAll))
			k := l.link4()
			k.play(turns, strategies["mss"])
			k.talk(said("CGET / HTTP/1.1\r\n\r\n"), strategies["mss"])
			l.adopt(tt.policy)
			if l.around(); k.closed() != tt.closed {
				t.Errorf("%s, kept %v: closed %v, %+v", tt.name, keep, k.closed(), l.e.again.Adopted)
			}
		}
	}
}

// TestReloadRecords: a rule on records judges the next one of a connection that is
// read, and does not ask what a decided one has sent.
func TestReloadRecords(t *testing.T) {
	turns := recording(t, "tls13")
	l := newLab(t, config(), only("handshake", "change_cipher_spec", "application_data"))
	k := l.link4()
	k.play(turns[:4], strategies["mss"])
	l.adopt(only("handshake", "change_cipher_spec", "application_data"))
	if a := l.around(); a != (Adopted{Judged: 1, Done: true}) || k.closed() {
		t.Fatalf("the same: %+v, closed %v", a, k.closed())
	}
	l.adopt(only("handshake", "change_cipher_spec"))
	if l.around(); k.closed() {
		t.Fatalf("refused for a record of the past")
	}
	if k.talk([]turn{{original, record(23, make([]byte, 50))}}, strategies["mss"]); !k.closed() || l.sink.drop[0].Decision.Rule != "quiet" {
		t.Errorf("the next record: closed %v, %+v", k.closed(), l.sink.drop)
	}
	l = newLab(t, config(), policy(acceptAll))
	k = l.link4()
	k.play(turns, strategies["mss"])
	l.adopt(only("handshake"))
	if a := l.around(); a != (Adopted{Judged: 1, Stood: 1, Done: true}) || k.closed() {
		t.Errorf("decided: %+v, closed %v", a, k.closed())
	}
}

// TestReloadMidstream: a connection whose beginning was not seen is judged by where
// it comes from and goes to, if a rule says that.
func TestReloadMidstream(t *testing.T) {
	body := bytes.Repeat([]byte("in the middle of something "), 20)
	reset := policy(acceptAll, rule("new", tlsrules.Reset, "port", "443"))
	deny := policy(tlsrules.Defaults{Action: tlsrules.Reset, NotTLS: tlsrules.Reset})
	for _, tt := range []struct {
		name   string
		policy *tlsrules.Policy
		closed bool
	}{{"by port", reset, true}, {"a name is required", named("a.example"), false}, {"default", deny, false}} {
		for _, n := range []int{1, 4} { // packets
			for _, marked := range []bool{false, true} {
				l, k := midstreamLab(t, MidstreamAccept, policy(acceptAll))
				if marked {
					k.unkernelled, k.mark = true, l.marks.Accepted(5)
				}
				for i := range n {
					k.data(original, i*len(body), body)
					k.data(reply, i*len(body), body)
				}
				k.unkernelled = false
				l.adopt(tt.policy)
				l.around()
				passes := k.data(original, n*len(body), body) && k.data(reply, n*len(body), body)
				if passes == tt.closed || k.closed() != tt.closed {
					t.Errorf("%s, %d packets, marked %v: passes %v, closed %v, %+v", tt.name, n, marked, passes, k.closed(), l.sink.drop)
				}
			}
		}
	}
	// What an earlier run has accepted under a policy that was in force since goes on,
	// whatever becomes of others that began unseen.
	for _, n := range []int{1, 4, 200} { // reloads
		for _, tt := range []struct {
			mark   uint32
			policy *tlsrules.Policy
			passes bool
		}{{5, policy(acceptAll), true}, {5, reset, false}, {4, policy(acceptAll), false}} {
			l, k := midstreamLab(t, MidstreamReset, policy(acceptAll))
			cfg := l.e.cfg
			for i := range n {
				cfg.Generation = uint32(5 + (i+1)%3)
				l.e.adopt(cfg, tt.policy)
			}
			if cfg.Generation == 5 {
				t.Fatal("it is the latest")
			}
			k.unkernelled, k.mark = true, l.marks.Accepted(tt.mark)
			if got := k.data(original, 0, body) && k.data(reply, 0, body); got != tt.passes || got && k.mark != l.marks.Accepted(cfg.Generation) || !got && (k.mark != l.marks.Refused() || !k.closed()) {
				t.Errorf("mark of generation %d, %d reloads: passes %v, mark %#x, closed %v", tt.mark, n, got, k.mark, k.closed())
			}
		}
	}
	// A ClientHello in it is judged by the new policy.
	good, evil := hellos(t)
	for _, hello := range [][]byte{good, evil} {
		l, k := midstreamLab(t, MidstreamAccept, policy(acceptAll))
		k.ack(original)
		k.ack(reply)
		l.adopt(named("api.bank.example"))
		l.around()
		if got := k.data(original, 0, hello); got != bytes.Equal(hello, good) {
			t.Errorf("a hello in it: passes %v, %+v", got, l.sink.drop)
		}
	}
}

// TestReloadDefaults: what a default has accepted is judged by the new one.
func TestReloadDefaults(t *testing.T) {
	broken := append([]byte{22, 3, 1, 0, 6, 1, 0, 0, 2, 9, 9}, make([]byte, 20)...)
	for _, def := range []tlsrules.Action{tlsrules.Accept, tlsrules.Reset} {
		cfg := config()
		cfg.Default.Malformed = tlsrules.Accept
		l := newLab(t, cfg, policy(acceptAll))
		k := l.link4()
		k.open()
		k.data(original, 0, broken)
		k.ack(reply)
		k.data(original, len(broken), []byte("more"))
		l.e.cfg.Default.Malformed = def
		l.adopt(policy(acceptAll, rule("other", tlsrules.Reset, "port", "444")))
		if l.around(); k.closed() != (def == tlsrules.Reset) {
			t.Errorf("malformed = %v: closed %v", def, k.closed())
		}
		if k.closed() && l.sink.drop[0].Decision.Reason != tlsrules.ReasonMalformedHandshake {
			t.Errorf("%+v", l.sink.drop[0])
		}
	}
}

// TestReloadGrace: the time of grace is counted from the start, and what passes for
// it alone is not touched before it is over.
func TestReloadGrace(t *testing.T) {
	turns := recording(t, "tls13")
	cfg := config()
	cfg.Grace = time.Hour
	l := newLab(t, cfg, policy(acceptAll))
	k := l.link4()
	k.play(turns, strategies["mss"])
	c := l.e.table.Between(k.ends[0].addr, k.ends[1].addr)
	c.Value.graced = true
	reset := policy(acceptAll, rule("new", tlsrules.Reset, "port", "443"))
	l.now += 1000 * second
	l.adopt(reset)
	if a := l.around(); k.closed() || a.Stood != 1 {
		t.Fatalf("in grace: closed %v, %+v", k.closed(), a)
	}
	l.e.cfg.Grace = 500 * time.Second // from the start: it is over
	l.adopt(reset)
	if l.around(); !k.closed() {
		t.Error("after grace: not refused")
	}
	l.e.cfg.Grace = 1001 * time.Second
	l.adopt(reset)
	if l.e.now = l.now; !l.e.inGrace() {
		t.Error("the grace of the new policy does not count from the start")
	}
}

// TestReloadKeepsNoCertificate: a connection that is decided keeps none, and knows it
// while somebody else does.
func TestReloadKeepsNoCertificate(t *testing.T) {
	l := newLab(t, config(), policy(acceptAll))
	k := l.link4()
	k.play(recording(t, "tls12 rsa"), strategies["mss"])
	leaf := l.e.table.Between(k.ends[0].addr, k.ends[1].addr).Value.sum.said.leaf
	if runtime.GC(); leaf.Value() == nil {
		t.Error("the cache has it, and it is not known")
	}
	l.e.certs = certs.Cache{}
	for range 3 {
		runtime.GC()
	}
	if leaf.Value() != nil {
		t.Error("the connection keeps its certificate")
	}
	l.adopt(requires("cert_self_signed", "false"))
	if a := l.around(); k.closed() || a.Stood != 1 {
		t.Errorf("closed %v, %+v", k.closed(), a)
	}
}
