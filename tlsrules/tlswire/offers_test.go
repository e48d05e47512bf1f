package tlswire

import (
	"slices"
	"strings"
	"testing"
)

// What hellos say beside the lists: offered, or not there.
func TestHelloDetails(t *testing.T) {
	tests := []struct {
		name string
		ext  ext
		of   func(h *ClientHello) any
		want any
	}{
		{"max_fragment_length", ext{1, []byte{3}}, func(h *ClientHello) any { return h.MaxFragmentLength }, uint8(3)},
		{"max_fragment_length_broken", ext{1, []byte{3, 3}}, func(h *ClientHello) any { return h.MaxFragmentLength }, uint8(0)},
		{"record_size_limit", ext{28, []byte{0x40, 1}}, func(h *ClientHello) any { return h.RecordSizeLimit }, uint16(0x4001)},
		{"record_size_limit_broken", ext{28, []byte{0x40}}, func(h *ClientHello) any { return h.RecordSizeLimit }, uint16(0)},
		{"heartbeat", ext{15, []byte{1}}, func(h *ClientHello) any { return h.Heartbeat }, HeartbeatPeerAllowedToSend},
		{"heartbeat_not_to_be_sent", ext{15, []byte{2}}, func(h *ClientHello) any { return h.Heartbeat.String() }, "peer_not_allowed_to_send"},
		{"heartbeat_unknown", ext{15, []byte{9}}, func(h *ClientHello) any { return h.Heartbeat.String() }, "unknown"},
		{"heartbeat_broken", ext{15, nil}, func(h *ClientHello) any { return h.Heartbeat }, HeartbeatMode(0)},
		{"status_request", extensions(5)[0], func(h *ClientHello) any { return h.StatusRequest }, true},
		{"cookie", extensions(44)[0], func(h *ClientHello) any { return h.Cookie }, true},
		{"delegated_credential", ext{34, []byte{0, 2, 4, 3}}, func(h *ClientHello) any { return h.DelegatedCredential }, true},
		{"encrypt_then_mac", ext{22, nil}, func(h *ClientHello) any { return h.EncryptThenMAC }, true},
		{"compress_certificate", ext{27, []byte{6, 0, 2, 0, 1, 0x1a, 0x1a}}, func(h *ClientHello) any {
			return strings.Join(slices.Collect(h.CertificateCompression.All()), " ")
		}, "zlib brotli other"},
		{"compress_certificate_broken", ext{27, []byte{6, 0}}, func(h *ClientHello) any { return h.CertificateCompression }, CertificateCompressions(0)},
		{"psk_modes", ext{45, []byte{3, 0, 1, 0x2b}}, func(h *ClientHello) any { return strings.Join(slices.Collect(h.PSKModes.All()), " ") }, "psk_ke psk_dhe_ke other"},
		{"renegotiation_info", ext{0xff01, []byte{0}}, func(h *ClientHello) any { return h.SecureRenegotiation() }, true},
		{"none", ext{60000, nil}, func(h *ClientHello) any { return h.SecureRenegotiation() }, false},
		{"ech", ext{0xfe0d, []byte{0, 0, 1, 0, 3, 77, 0, 2, 9, 9, 0, 3, 8, 8, 8}}, func(h *ClientHello) any { return h.ECH },
			ECH{Present: true, ConfigID: 77, KDF: 1, AEAD: 3, EncLength: 2, Length: 3}},
		{"ech_after_retry_has_no_enc", ext{0xfe0d, []byte{0, 0, 1, 0, 3, 77, 0, 0, 0, 1, 8}}, func(h *ClientHello) any { return h.ECH },
			ECH{Present: true, ConfigID: 77, KDF: 1, AEAD: 3, Length: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var h ClientHello
			if f := ParseClientHello(clientHello([]uint16{0x2f}, tt.ext), &h); !f.OK() {
				t.Fatal(f)
			}
			if got := tt.of(&h); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
	var h ClientHello
	if ParseClientHello(clientHello([]uint16{0xff}), &h); !h.SecureRenegotiation() {
		t.Error("the signalling suite is not seen")
	}
}

func TestCompressions(t *testing.T) {
	msg := clientHello([]uint16{0x2f})
	msg = append(msg[:len(msg)-2], 4, 1, 0, 64, 200)
	var h ClientHello
	if f := ParseClientHello(message(TypeClientHello, msg[messageHeaderLen:]), &h); !f.OK() {
		t.Fatal(f)
	}
	if got := strings.Join(slices.Collect(h.Compressions.All()), " "); got != "null deflate lzs other" {
		t.Errorf("got %s", got)
	}
	for range h.Compressions.All() {
		break // an iterator may be left
	}
}
