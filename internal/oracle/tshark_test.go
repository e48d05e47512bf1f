package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tlsgate/internal/lab/labtest"
)

// TestStream follows one connection through tshark's JSON: a server's first
// packet in the capture, then the client's.
func TestStream(t *testing.T) {
	const head = `{"_source": {"layers": {"frame": {"frame.time_epoch": "1.5"}, "ip": {"ip.src": "SRC", "ip.dst": "DST"},
		"tcp": {"tcp.srcport": "SPORT", "tcp.dstport": "DPORT", "tcp.stream": "7"}, `
	fromServer := strings.NewReplacer("SRC", "203.0.113.1", "DST", "192.0.2.1", "SPORT", "443", "DPORT", "1000").Replace(head)
	fromClient := strings.NewReplacer("SRC", "192.0.2.1", "DST", "203.0.113.1", "SPORT", "1000", "DPORT", "443").Replace(head)
	packets := []string{
		fromServer + `"tls": {"tls.record": {"tls.record.content_type": "21", "tls.alert_message": {"tls.alert_message.level": "1", "tls.alert_message.desc": "0"}}}}}}`,
		fromClient + `"tls": {"tls.record": {"tls.record.content_type": "22", "tls.handshake": {"tls.handshake.type": "1", "tls.handshake.version": "0x0303",
			"tls.handshake.random": "aa:bb", "tls.handshake.ciphersuites": {"tls.handshake.ciphersuite": "0x1301", "tls.handshake.ciphersuite": "0xc02f"},
			"Extension: server_name (len=1)": {"tls.handshake.extension.type": "0", "x": {"tls.handshake.extensions_server_name": "a.example"}}}}}}}}`,
		fromServer + `"tls": {"tls.record": {"tls.record.opaque_type": "23"}, "tls.record": {"tls.record.opaque_type": "23"}}}}}`,
		fromClient + `"openvpn": "x", "tls": {"tls.record": {"tls.record.content_type": "22", "tls.handshake": {"tls.handshake.type": "2"}}}}}}`,
	}
	s := &streams{byNumber: map[string]*stream{}}
	if err := s.read(strings.NewReader("[" + strings.Join(packets, ",") + "]")); err != nil {
		t.Fatal(err)
	}
	if len(s.order) != 1 {
		t.Fatalf("%d streams, want 1", len(s.order))
	}
	c := s.order[0].finish()
	if got, want := describe(c), "7 192.0.2.1:1000 > 203.0.113.1:443"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for name, want := range map[string]string{
		"client_random": "aabb", "ciphers": "4865 49199", "sni": "a.example", "extensions": "0",
		"records_to_server": "handshake=1", "records_to_client": "alert=1 application_data=2",
		"alerts": "server:warning:close_notify",
	} {
		if got := c.facts[name]; got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if _, answered := c.facts["version"]; answered {
		t.Error("a ServerHello inside another protocol's packets was taken")
	}
}

// TestStrangers has files that are none, and a program that fails: the run goes
// on, and says so.
func TestStrangers(t *testing.T) {
	labtest.Program(t, "tshark")
	dir := t.TempDir()
	good, err := os.ReadFile(filepath.Join(captures, "openssl-tls13.pcapng"))
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	_, tlsgate := all(t)
	files := []string{
		write("empty.pcap", nil), write("text.pcap", []byte("this is no capture\n")),
		write("cut.pcapng", good[:len(good)-7]), filepath.Join(dir, "missing.pcap"), write("good.pcapng", good),
	}
	for _, tt := range []struct {
		name, program string
		bad           bool
		says          []string
	}{
		{"tlsgate", tlsgate, false, []string{"empty.pcap: tlsgate", "text.pcap: tlsgate", "missing.pcap: tlsgate"}},
		{"a program that is missing", filepath.Join(dir, "nothing"), true, []string{"good.pcapng: nothing: "}},
		{"a program that fails", "false", true, []string{"good.pcapng: false: exit status 1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			bad, err := run(t.Context(), options{tlsgate: tt.program, explained: "explained.toml", workers: 2}, files, &out)
			if err != nil {
				t.Fatal(err)
			}
			if bad > 0 != tt.bad {
				t.Errorf("%d differences, want some: %v\n%s", bad, tt.bad, out.String())
			}
			for _, s := range tt.says {
				if !strings.Contains(out.String(), s) {
					t.Errorf("does not say %q:\n%s", s, out.String())
				}
			}
		})
	}
}
