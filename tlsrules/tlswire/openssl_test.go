package tlswire

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// readFlights reads a file that testdata/capture made.
func readFlights(t testing.TB, name string) []flight {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	var flights []flight
	for line := range strings.Lines(string(text)) {
		who, digits, _ := strings.Cut(strings.TrimSpace(line), " ")
		data, err := hex.DecodeString(digits)
		if err != nil {
			t.Fatal(err)
		}
		from := Client
		if who == Server.String() {
			from = Server
		}
		flights = append(flights, flight{from, data})
	}
	return flights
}

// What openssl s_client and s_server said to each other.
func TestOpenSSL(t *testing.T) {
	const full = "handshake change_cipher_spec handshake application_data alert"
	tests := []struct {
		name           string
		version        uint16
		suite, group   uint16
		client, server string
		done           bool
	}{
		{"tls10_cbc", VersionTLS10, 0x2f, 0, full, "handshake change_cipher_spec handshake alert", true},
		{"tls12_dhe", VersionTLS12, 0x9e, 0, full, "handshake change_cipher_spec handshake alert", true},
		{"tls12_ecdhe_psk", VersionTLS12, 0xc037, 29, full, "handshake change_cipher_spec handshake alert", true},
		{"tls12_session_id", VersionTLS12, 0xc02c, 0, full, "handshake change_cipher_spec handshake alert", true},
		{"tls12_renegotiation", VersionTLS12, 0xc02c, 29, "handshake change_cipher_spec handshake application_data handshake change_cipher_spec handshake application_data alert", "handshake change_cipher_spec handshake change_cipher_spec handshake alert", true},
		{"tls13_ccm8", VersionTLS13, 0x1305, 29, full, full, true},
		{"tls13_client_certificate", VersionTLS13, 0x1302, 29, full, full, true},
		{"tls13_early_data", VersionTLS13, 0x1302, 29, "handshake change_cipher_spec early_data handshake application_data alert", full, true},
		{"tls13_key_update", VersionTLS13, 0x1302, 29, full, full, true},
		{"tls13_retry", VersionTLS13, 0x1302, 24, full, full, true},
		{"no_common_suite", 0, 0, 0, "handshake", "alert", false},
		{"unknown_authority", VersionTLS13, 0x1302, 29, "handshake alert", "handshake change_cipher_spec handshake", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, s := checkSplits(t, readFlights(t, tt.name))
			if c.Version != tt.version || c.ServerHello.CipherSuite != tt.suite || c.ServerGroup != tt.group || c.HandshakeDone != tt.done || !c.Fault.OK() {
				t.Errorf("got version %#04x, suite %#04x, group %d, done %v, %v", c.Version, c.ServerHello.CipherSuite, c.ServerGroup, c.HandshakeDone, c.Fault)
			}
			if client, server := contents(s, Client), contents(s, Server); client != tt.client || server != tt.server {
				t.Errorf("got client %s, server %s\n%s", client, server, strings.Join(s.Events, "\n"))
			}
			if string(c.ClientHello.ServerName) != "a.example" {
				t.Errorf("got name %q", c.ClientHello.ServerName)
			}
		})
	}
}

// Clients that cannot verify a server say so: OpenSSL in clear.
func TestOpenSSLAlerts(t *testing.T) {
	for name, want := range map[string]uint8{"no_common_suite": 40, "unknown_authority": 48} {
		var c Conn
		tell(t, &c, readFlights(t, name), whole)
		if got := (AlertMessage{Level: AlertLevelFatal, Description: want}); c.LastAlert != got {
			t.Errorf("%s: got %+v, want %d", name, c.LastAlert, want)
		}
	}
}
