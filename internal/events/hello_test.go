package events

import (
	"encoding/binary"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tlsgate/internal/engine"
	"tlsgate/tlsrules/tlswire"
)

// pskHello is a parsed hello that brings identities of the given lengths.
func pskHello(t *testing.T, lengths ...int) tlswire.ClientHello {
	t.Helper()
	var ids []byte
	for _, n := range lengths {
		ids = binary.BigEndian.AppendUint16(ids, uint16(n))
		ids = append(ids, make([]byte, n+4)...)
	}
	data := binary.BigEndian.AppendUint16(nil, uint16(len(ids)))
	data = append(append(data, ids...), 0, 2, 1, 'x')
	exts := []byte{0, 45, 0, 2, 1, 1, 0, 41}
	exts = binary.BigEndian.AppendUint16(exts, uint16(len(data)))
	exts = append(exts, data...)
	body := append([]byte{3, 3}, make([]byte, 33)...)
	body = append(body, 0, 2, 0x13, 1, 1, 0)
	body = binary.BigEndian.AppendUint16(body, uint16(len(exts)))
	body = append(body, exts...)
	msg := append([]byte{1, 0, byte(len(body) >> 8), byte(len(body))}, body...)
	var h tlswire.ClientHello
	if f := tlswire.ParseClientHello(msg, &h); !f.OK() {
		t.Fatal(f)
	}
	return h
}

// TestDetails pins what is told of hellos beside EVE's fields, and that nothing
// is told of what is not there.
func TestDetails(t *testing.T) {
	null := tlswire.CompressionNull
	tests := []struct {
		name string
		conn tlswire.Conn
		want string
	}{
		{"nothing", tlswire.Conn{ClientHello: tlswire.ClientHello{Compressions: null}}, `{}`},
		{"flags", tlswire.Conn{ClientHello: tlswire.ClientHello{
			EarlyData: true, CipherSuites: []uint16{0x5600}, StatusRequest: true, DelegatedCredential: true, RecordSizeLimit: 16385, MaxFragmentLength: 3,
			CertificateCompression: tlswire.CertificateCompressionBrotli | tlswire.CertificateCompressionZstd,
		}}, `{"early_data":true,"fallback_scsv":true,"compress_certificate":["brotli","zstd"],"record_size_limit":16385,"max_fragment_length":3,"status_request":true,"delegated_credential":true}`},
		{"ech", tlswire.Conn{ClientHello: tlswire.ClientHello{ECH: tlswire.ECH{Present: true, ConfigID: 7, KDF: 1, AEAD: 3, EncLength: 32, Length: 208}}},
			`{"ech_outer":{"config_id":7,"kdf":1,"aead":3,"enc_length":32,"length":208}}`},
		{"ech_inner", tlswire.Conn{ClientHello: tlswire.ClientHello{ECH: tlswire.ECH{Present: true, Inner: true}}}, `{}`},
		{"groups", tlswire.Conn{ServerGroup: 0x11ec, HasServerHello: true, ClientHello: tlswire.ClientHello{SupportedGroups: []uint16{0x2a2a, 0x11ec, 29}, KeyShares: []uint16{0x11ec}}},
			`{"groups":["0x2A2A","X25519MLKEM768","x25519"],"key_shares":["X25519MLKEM768"],"post_quantum":{"offered":["X25519MLKEM768"],"selected":true}}`},
		{"post_quantum_offered", tlswire.Conn{ServerGroup: 29, ClientHello: tlswire.ClientHello{SupportedGroups: []uint16{0x6399}}},
			`{"groups":["X25519Kyber768Draft00"],"post_quantum":{"offered":["X25519Kyber768Draft00"],"selected":false}}`},
		{"retry", tlswire.Conn{Retry: true, RetryGroup: 24, RetryCookie: true}, `{"hello_retry":{"group":"secp384r1","cookie":true}}`},
		{"retry_with_a_cookie_alone", tlswire.Conn{Retry: true, RetryCookie: true}, `{"hello_retry":{"cookie":true}}`},
		{"agreed", tlswire.Conn{HasServerHello: true, ClientHello: tlswire.ClientHello{ExtendedMasterSecret: true, EncryptThenMAC: true, Heartbeat: 1},
			ServerHello: tlswire.ServerHello{ExtendedMasterSecret: true, Heartbeat: 2}},
			`{"extended_master_secret":{"offered":true,"selected":true},"encrypt_then_mac":{"offered":true,"selected":false},"heartbeat_modes":{"offered":"peer_allowed_to_send","selected":"peer_not_allowed_to_send"}}`},
		{"retry_agrees_on_nothing", tlswire.Conn{ClientHello: tlswire.ClientHello{EncryptThenMAC: true}, ServerHello: tlswire.ServerHello{EncryptThenMAC: true, Compression: 1}},
			`{"encrypt_then_mac":{"offered":true,"selected":false}}`},
		{"compression", tlswire.Conn{HasServerHello: true, ClientHello: tlswire.ClientHello{Compressions: null | tlswire.CompressionDEFLATE}, ServerHello: tlswire.ServerHello{Compression: 1}},
			`{"compression":{"offered":["null","deflate"],"selected":"deflate"}}`},
		{"compression_not_taken", tlswire.Conn{HasServerHello: true, ClientHello: tlswire.ClientHello{Compressions: null | tlswire.CompressionOther}},
			`{"compression":{"offered":["null","other"],"selected":"null"}}`},
		{"psk", tlswire.Conn{ClientHello: pskHello(t, 200, 32)}, `{"psk":{"identities":2,"lengths":[200,32],"modes":["psk_dhe_ke"]}}`},
		{"psk_many", tlswire.Conn{ClientHello: pskHello(t, 1, 2, 3, 4, 5, 6)}, `{"psk":{"identities":6,"lengths":[1,2,3,4],"modes":["psk_dhe_ke"]}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := json.Marshal(detailsOf(&tt.conn))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(got), tt.want); diff != "" {
				t.Errorf("-got +want\n%s", diff)
			}
		})
	}
}

func TestLater(t *testing.T) {
	tests := []struct {
		later engine.Later
		want  string
	}{
		{engine.Later{SecureRenegotiation: true}, `{}`},
		{engine.Later{Renegotiations: [2]uint8{2, 0}, SecureRenegotiation: true}, `{"renegotiation":{"by":["client"],"count":2,"secure":true}}`},
		{engine.Later{Renegotiations: [2]uint8{1, 255}}, `{"renegotiation":{"by":["client","server"],"count":256,"secure":false}}`},
		{engine.Later{Heartbeats: tlswire.Heartbeats{Requests: 1, Responses: 1}}, `{"heartbeat":{"requests":1,"responses":1}}`},
		{engine.Later{Heartbeats: tlswire.Heartbeats{Requests: 1, Lies: 1, Inferred: 4}}, `{"heartbeat":{"requests":1,"responses":0,"lies":1,"inferred":4}}`},
	}
	for _, tt := range tests {
		got, err := json.Marshal(laterOf(&tt.later))
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}
