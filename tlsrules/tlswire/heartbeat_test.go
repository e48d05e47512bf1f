package tlswire

import (
	"slices"
	"strings"
	"testing"
)

// beat is a heartbeat record: a message that claims payload bytes, in a body of
// length bytes.
func beat(typ byte, payload, length int) []byte {
	body := make([]byte, max(length, heartbeatHeaderLen))
	body[0], body[1], body[2] = typ, byte(payload>>8), byte(payload)
	return record(RecordTypeHeartbeat, VersionTLS12, body[:length])
}

// encrypted12 is a TLS 1.2 handshake up to both Finished.
func encrypted12() []flight {
	finished := cat(spec, record(RecordTypeHandshake, VersionTLS12, make([]byte, 40)))
	return []flight{{Client, hello}, {Server, hello12}, {Client, finished}, {Server, finished}}
}

func TestHeartbeats(t *testing.T) {
	clear := []flight{{Client, hello}, {Server, hello12}}
	tests := []struct {
		name    string
		flights []flight
		want    Heartbeats
	}{
		{"request_and_response", append(slices.Clone(clear), flight{Client, beat(1, 20, 39)}, flight{Server, beat(2, 20, 39)}), Heartbeats{Requests: 1, Responses: 1}},
		{"before_the_server_hello", []flight{{Client, cat(hello, beat(1, 20, 39))}}, Heartbeats{Requests: 1}},
		{"empty_payload", append(slices.Clone(clear), flight{Client, beat(1, 0, 19)}), Heartbeats{Requests: 1}},
		{"padding_one_short", append(slices.Clone(clear), flight{Client, beat(1, 20, 38)}), Heartbeats{Requests: 1, Lies: 1}},
		{"heartbleed", append(slices.Clone(clear), flight{Client, beat(1, 0x4000, 3)}, flight{Server, beat(2, 0x3fe8, 0x3ffb)}), Heartbeats{Requests: 1, Responses: 1, Lies: 1}},
		{"heartbleed_of_64k", append(slices.Clone(clear), flight{Client, beat(1, 0xffff, 3)}), Heartbeats{Requests: 1, Lies: 1}},
		{"heartbleed_against_the_client", append(slices.Clone(clear), flight{Server, beat(1, 0x4000, 3)}), Heartbeats{Requests: 1, Lies: 1}},
		{"cut_after_the_type", append(slices.Clone(clear), flight{Client, beat(1, 0, 1)}), Heartbeats{Requests: 1, Lies: 1}},
		{"unknown_type", append(slices.Clone(clear), flight{Client, beat(3, 0, 19)}), Heartbeats{Lies: 1}},
		{"tls13_in_clear", []flight{{Client, hello}, {Server, hello13}, {Client, beat(1, 0x4000, 3)}}, Heartbeats{Requests: 1, Lies: 1}},
		{"one_after_the_other", append(slices.Clone(clear), flight{Client, repeat(3, beat(1, 20, 39))}, flight{Client, beat(1, 21, 39)}), Heartbeats{Requests: 4, Lies: 1}},

		{"encrypted", append(encrypted12(), flight{Client, beat(9, 0, 60)}, flight{Server, beat(9, 0, 60)}), Heartbeats{Requests: 1, Responses: 1}},
		{"encrypted_with_cbc_padding", append(encrypted12(), flight{Client, beat(9, 0, 60)}, flight{Server, beat(9, 0, 60+maxHeartbeatGrowth)}), Heartbeats{Requests: 1, Responses: 1}},
		{"encrypted_heartbleed", append(encrypted12(), flight{Client, beat(9, 0, 60)}, flight{Server, beat(9, 0, 61+maxHeartbeatGrowth)}), Heartbeats{Requests: 1, Responses: 1, Inferred: 1}},
		{"encrypted_heartbleed_in_records", append(encrypted12(), flight{Client, beat(9, 0, 60)}, flight{Server, repeat(4, beat(9, 0, 16384))},
			flight{Client, beat(9, 0, 60)}, flight{Server, repeat(4, beat(9, 0, 16384))}), Heartbeats{Requests: 2, Responses: 8, Inferred: 8}},
		{"encrypted_heartbleed_against_the_client", append(encrypted12(), flight{Server, beat(9, 0, 60)}, flight{Client, beat(9, 0, 9000)}), Heartbeats{Requests: 1, Responses: 1, Inferred: 1}},
		{"encrypted_discovery_of_the_path", append(encrypted12(), flight{Client, beat(9, 0, 1400)}, flight{Server, beat(9, 0, 60)}), Heartbeats{Requests: 1, Responses: 1}},
		{"encrypted_without_answer", append(encrypted12(), flight{Client, repeat(2, beat(9, 0, 1400))}), Heartbeats{Requests: 2}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, _ := checkSplits(t, tt.flights)
			if c.Heartbeats != tt.want || !c.Fault.OK() {
				t.Errorf("got %+v, %v, want %+v", c.Heartbeats, c.Fault, tt.want)
			}
		})
	}
}

// GnuTLS asks and answers; nobody else does.
func TestHeartbeatsOfPrograms(t *testing.T) {
	for name, flights := range conversations(t) {
		c, _ := checkSplits(t, flights)
		want := Heartbeats{}
		if name == "gnutls_heartbeat" {
			want = Heartbeats{Requests: 1, Responses: 1}
			if h, s := c.ClientHello.Heartbeat, c.ServerHello.Heartbeat; h != HeartbeatPeerAllowedToSend || s != HeartbeatPeerAllowedToSend {
				t.Errorf("%s: offered %v, selected %v", name, h, s)
			}
		}
		if c.Heartbeats != want || !c.Fault.OK() {
			t.Errorf("%s: got %+v, %v", name, c.Heartbeats, c.Fault)
		}
	}
}

// What is judged of a heartbeat in clear counts as read, its payload does not.
func TestHeartbeatIsRead(t *testing.T) {
	for body, letters := range map[int]string{1: "r", 2: "rr", 3: "rrr", 4: "rrro", 39: "rrr" + strings.Repeat("o", 36)} {
		var c Conn
		s := tell(t, &c, []flight{{Client, cat(hello, beat(1, 0, body), hello)}}, whole)
		want := strings.Repeat("r", len(hello)+recordHeaderLen) + letters + strings.Repeat("r", len(hello))
		if s.Opaque[Client] != want || c.Heartbeats.Requests != 1 {
			t.Errorf("body of %d: got %s, want %s", body, s.Opaque[Client], want)
		}
	}
	var c Conn // under keys nothing is
	s := tell(t, &c, append(encrypted12(), flight{Client, beat(1, 0, 30)}), whole)
	if want := strings.Repeat("r", recordHeaderLen) + strings.Repeat("o", 30); !strings.HasSuffix(s.Opaque[Client], want) {
		t.Errorf("encrypted: got %s", s.Opaque[Client])
	}
}

func TestHeartbeatsSaturate(t *testing.T) {
	var c Conn
	consume(&c, Client, hello)
	b := beat(7, 0, 19)
	for range 1<<16 + 5 {
		consume(&c, Client, b)
	}
	if c.Heartbeats.Lies != 1<<16-1 {
		t.Errorf("got %d", c.Heartbeats.Lies)
	}
}
