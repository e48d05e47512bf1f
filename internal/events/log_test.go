package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tlsgate/conntrack"
	"tlsgate/internal/engine"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/tlswire"
)

// refusal is a report as the engine makes it of a refused connection.
func refusal() *engine.Report {
	t := &tlswire.Conn{
		Protocol: tlswire.ProtocolTLS, Version: tlswire.VersionTLS12, HasClientHello: true, HasServerHello: true,
		ServerGroup: 29, Phase: tlswire.PhaseServerHello,
		ClientHello: tlswire.ClientHello{
			LegacyVersion: tlswire.VersionTLS12, CipherSuites: []uint16{0x2f, 0xc02f}, Extensions: []uint16{0, 10},
			ServerName: []byte("api.bank.example"), ALPN: tlswire.ProtocolList("\x02h2\x08http/1.1"),
		},
		ServerHello: tlswire.ServerHello{LegacyVersion: tlswire.VersionTLS12, Version: tlswire.VersionTLS12, CipherSuite: 0x2f, ALPN: []byte("h2")},
	}
	t.Records[tlswire.Client][2] = 1
	return &engine.Report{
		Time: 1795253400123456000, Start: 1795253399000000000, Last: 1795253400123456000, ID: 42,
		Original: netip.MustParseAddrPort("192.0.2.10:40887"), Reply: netip.MustParseAddrPort("[2001:db8::1]:443"),
		InInterface: "eth1", State: conntrack.Established,
		Packets: [2]uint64{3, 2}, Bytes: [2]uint64{600, 1500},
		Decision: tlsrules.Decision{
			Decided: true, Final: true, Action: tlsrules.Reset, Rule: "partner",
			Reason: tlsrules.ReasonRequire(tlsrules.KeyCipher), Stage: tlsrules.StageServerHello,
		},
		Detail: "server selected AES128-SHA", Packet: 5,
		TLS: t, SawTLS: true, Records: t.Records, Phase: t.Phase,
		Alerts:    []engine.AlertSeen{{From: tlswire.Server, Alert: tlswire.AlertMessage{Level: tlswire.AlertLevelFatal, Description: 40}}},
		Diagnosis: engine.Diagnosis{Code: "refused", Text: "the firewall refused it"},
	}
}

// TestEvents pins the shape that scripts outside read.
func TestEvents(t *testing.T) {
	var out bytes.Buffer
	l := New(&out)
	l.Drop(refusal())
	l.Flow(refusal())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	want := []string{
		`{"timestamp":"2026-11-21T09:30:00.123456+0000","flow_id":42,"event_type":"drop","in_iface":"eth1","src_ip":"192.0.2.10","src_port":40887,"dest_ip":"2001:db8::1","dest_port":443,"proto":"TCP","tls":{"version":"TLS 1.2","sni":"api.bank.example","ja3":{"hash":"92c000c9c03e22c953cd6d202ed96dd6","string":"771,47-49199,0-10,,"},"ja3s":{"hash":"5397c414a9ebeaff1bf18b70ca22eaa0","string":"771,47,"},"ja4":"t12d0202h2_37f356531c84_a8f3e973773c","client_alpns":["h2","http/1.1"],"server_alpns":["h2"],"client_handshake":{"version":"TLS 1.2","ciphers":[47,49199],"exts":[0,10]},"server_handshake":{"version":"TLS 1.2","cipher":47,"exts":[]}},"tlsgate":{"verdict":"reset","rule":"partner","reason":"require.cipher","detail":"server selected AES128-SHA","packet":5,"stage":"server_hello","cipher":"TLS_RSA_WITH_AES_128_CBC_SHA","group":"x25519","client_random":"0000000000000000000000000000000000000000000000000000000000000000","protocol":"tls","ech":false,"phase":"server_hello","records":{"toclient":{},"toserver":{"handshake":1}},"alerts":[{"from":"server","level":"fatal","description":"handshake_failure"}],"offloaded":false}}`,
		`"flow":{"pkts_toserver":3,"pkts_toclient":2,"bytes_toserver":600,"bytes_toclient":1500,"start":"2026-11-21T09:29:59.000000+0000","end":"2026-11-21T09:30:00.123456+0000","age":1,"state":"established","reason":"timeout"},"tcp":{"state":"ESTABLISHED"}`,
	}
	if diff := cmp.Diff(lines[0], want[0]); diff != "" {
		t.Errorf("drop: -got +want\n%s", diff)
	}
	if !strings.Contains(lines[1], want[1]) || !strings.Contains(lines[1], `"diagnosis":{"code":"refused"`) {
		t.Errorf("flow: got %s", lines[1])
	}
}

// TestRemembered: of a connection that was no longer read its refusal tells what is left.
func TestRemembered(t *testing.T) {
	for _, tt := range []struct {
		said engine.Said
		want string
	}{
		{engine.Said{ServerName: "a.example", ALPN: "h2", Version: 0x303, Cipher: 0x2f}, `"tls":{"version":"TLS 1.2","sni":"a.example","server_alpns":["h2"]},"tlsgate":{`},
		{engine.Said{ServerName: "a.example", Version: 0x303, Cipher: 0x2f}, `"cipher":"TLS_RSA_WITH_AES_128_CBC_SHA"`},
		{engine.Said{ServerName: "a.example"}, `"tls":{"sni":"a.example"}`},
		{engine.Said{}, `"proto":"TCP","tlsgate":{`},
	} {
		r := refusal()
		r.TLS, r.Said = nil, tt.said
		var out bytes.Buffer
		l := New(&out)
		l.Drop(r)
		if err := l.Close(); err != nil || !strings.Contains(out.String(), tt.want) {
			t.Errorf("%+v: %v, got %s", tt.said, err, out.String())
		}
	}
}

// TestWays: a refusal is told by its verdict, and the alert that was sent by name.
func TestWays(t *testing.T) {
	for _, tt := range []struct {
		action tlsrules.Action
		sent   uint8
		want   string
	}{
		{tlsrules.Alert, 40, `"verdict":"alert","rule":"partner","reason":"require.cipher","detail":"server selected AES128-SHA","packet":5,"alert_sent":"handshake_failure",`},
		{tlsrules.AlertOf(49), 49, `"verdict":"alert","rule":"partner","reason":"require.cipher","detail":"server selected AES128-SHA","packet":5,"alert_sent":"access_denied",`},
		{tlsrules.AlertOf(49), 0, `"verdict":"alert","rule":"partner","reason":"require.cipher","detail":"server selected AES128-SHA","packet":5,"stage"`}, // observed
		{tlsrules.Refuse, 0, `"verdict":"refuse",`},
	} {
		r := refusal()
		r.Decision.Action, r.AlertSent = tt.action, tt.sent
		var out bytes.Buffer
		l := New(&out)
		l.Drop(r)
		if err := l.Close(); err != nil || !strings.Contains(out.String(), tt.want) {
			t.Errorf("%s: %v, got %s", tt.action, err, out.String())
		}
	}
}

// TestStats: every counter of the engine is in the stats event.
func TestStats(t *testing.T) {
	var out bytes.Buffer
	l := New(&out)
	l.Stats(&Stats{Time: 1, Uptime: 60, Workers: 2, Engine: engine.Stats{Packets: 7, Refused: 3}, Lost: 1,
		Process: Process{Goroutines: 9, HeapBytes: 8, LiveBytes: 6, RSSBytes: 5, FDs: 4}})
	l.Close()
	var e struct {
		Type  string `json:"event_type"`
		Stats struct {
			Packets, Connections, Dropped, Invalid, Events, Process map[string]uint64
		}
	}
	if err := json.Unmarshal(out.Bytes(), &e); err != nil {
		t.Fatal(err)
	}
	if e.Type != "stats" || e.Stats.Packets["seen"] != 7 || e.Stats.Connections["refused"] != 3 || e.Stats.Events["lost"] != 1 {
		t.Errorf("got %s", out.String())
	}
	if p := e.Stats.Process; p["goroutines"] != 9 || p["heap_bytes"] != 8 || p["heap_live_bytes"] != 6 || p["rss_bytes"] != 5 || p["fds"] != 4 {
		t.Errorf("process: %v", p)
	}
	doc, err := os.ReadFile("../../docs/EVENTS.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, why := range engine.DropReasons() {
		if _, ok := e.Stats.Dropped[why.String()]; !ok {
			t.Errorf("no counter for dropped %s", why)
		}
		if !strings.Contains(string(doc), "| `"+why.String()+"` |") {
			t.Errorf("docs/EVENTS.md does not say what is dropped as %s", why)
		}
	}
	for why := range e.Stats.Invalid {
		if !strings.Contains(string(doc), "`"+why+"`") {
			t.Errorf("docs/EVENTS.md does not say what is invalid as %s", why)
		}
	}
}

// stuck is a reader that does not read.
type stuck chan struct{}

func (s stuck) Write(b []byte) (int, error) {
	<-s
	return len(b), nil
}

// TestSlowReader: a reader that stops reading loses events, and nobody waits.
func TestSlowReader(t *testing.T) {
	reader := make(stuck)
	l := NewLive(reader)
	start := time.Now()
	for range 3 * queued {
		l.Drop(refusal())
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("the packet path waited: %v", took)
	}
	if l.Lost() == 0 {
		t.Error("no event was counted as lost")
	}
	close(reader)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// TestStuckReader: a reader that never reads again does not keep Close waiting.
func TestStuckReader(t *testing.T) {
	l := NewLive(make(stuck))
	for range 100 {
		l.Drop(refusal())
	}
	if err := l.Close(); !errors.Is(err, ErrStuck) {
		t.Errorf("Close: got %v, want %v", err, ErrStuck)
	}
}

// broken is a full disk.
type broken struct{}

var errFull = errors.New("no space left on device")

func (broken) Write([]byte) (int, error) { return 0, errFull }

// TestFullDisk: an error is kept and told at the end, and events are counted.
func TestFullDisk(t *testing.T) {
	l := NewLive(broken{})
	for range 1000 {
		l.Drop(refusal())
	}
	if err := l.Close(); !errors.Is(err, errFull) {
		t.Errorf("Close: got %v, want %v", err, errFull)
	}
	if l.Lost() == 0 {
		t.Error("no event was counted as lost")
	}
	l.Drop(refusal()) // after the end: lost, no panic
}

// TestTimestamp holds ours to the standard library's.
// TestDiskHasRoomAgain: what is told after a full disk has room again is written, and
// what was told before is counted.
func TestDiskHasRoomAgain(t *testing.T) {
	disk := &tight{}
	l := New(disk)
	for range 3 {
		l.Drop(refusal())
		l.Flush()
	}
	if l.Lost() != 3 {
		t.Errorf("%d lost, want 3", l.Lost())
	}
	disk.room = 1 << 20
	l.Drop(refusal())
	l.Flush()
	if n := strings.Count(disk.String(), "\n"); n != 1 || l.Lost() != 3 {
		t.Errorf("%d lines, %d lost", n, l.Lost())
	}
}

func TestTimestamp(t *testing.T) {
	for _, ns := range []int64{0, 1, -1, 1795253400123456789, 999_999_999, math.MaxInt64, math.MinInt64, 951_782_400_000_000_000} {
		if got, want := timestamp(ns), time.Unix(0, ns).UTC().Format("2006-01-02T15:04:05.000000-0700"); got != want {
			t.Errorf("%d: got %s, want %s", ns, got, want)
		}
	}
}

func BenchmarkFlow(b *testing.B) {
	l := New(io.Discard)
	r := refusal()
	b.ReportAllocs()
	for b.Loop() {
		l.Flow(r)
	}
}

func BenchmarkTLS(b *testing.B) {
	l := New(io.Discard)
	r := refusal()
	b.ReportAllocs()
	for b.Loop() {
		l.TLS(r)
	}
}
