package tlswire

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// The table is searched in order.
func TestExchangesAreInOrder(t *testing.T) {
	for i, r := range exchanges {
		if r.last < r.first || i > 0 && r.first <= exchanges[i-1].last {
			t.Errorf("%#04x to %#04x", r.first, r.last)
		}
	}
}

func TestKeyExchange(t *testing.T) {
	field := func(b []byte) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...) }
	dh := func(prime []byte) []byte { return cat(field(prime), field([]byte{2}), field([]byte{5})) }
	prime := append([]byte{0x80}, make([]byte, 255)...)
	signature := cat([]byte{8, 4}, field([]byte("signature")))
	hint := field(bytes.Repeat([]byte("h"), 300))
	curve := []byte{3, 0, 29, 1, 9}
	tests := []struct {
		name          string
		suite         uint16
		version       uint16
		body          []byte
		bits          uint16
		group, scheme uint16
	}{
		{"dhe", 0x009e, VersionTLS12, cat(dh(prime), signature), 2048, 0, 0x0804},
		{"dhe_before_tls12_has_no_scheme", 0x0033, VersionTLS11, cat(dh(prime), signature), 2048, 0, 0},
		{"dhe_odd_length", 0x009e, VersionTLS12, cat(dh(append([]byte{1}, prime...)), signature), 2049, 0, 0x0804},
		{"dhe_long_by_zeros_evades_by_length", 0x009e, VersionTLS12, cat(dh(append(make([]byte, 4000), 0x7f)), signature), 7, 0, 0x0804},
		{"dhe_zero", 0x009e, VersionTLS12, cat(dh(make([]byte, 256)), signature), 0, 0, 0x0804},
		{"dhe_longer_than_can_be_said", 0x009e, VersionTLS12, dh(bytes.Repeat([]byte{255}, 9000)), 65535, 0, 0},
		{"dhe_cut", 0x009e, VersionTLS12, dh(prime)[:100], 0, 0, 0},
		{"dhe_of_6144_bits_is_no_named_curve", 0x009e, VersionTLS12, dh(bytes.Repeat([]byte{255}, 768)), 6144, 0, 0},
		{"dh_anon", 0x00a6, VersionTLS12, cat(dh(prime), signature), 2048, 0, 0},
		{"dhe_psk", 0x00aa, VersionTLS12, cat(hint, dh(prime), signature), 2048, 0, 0},
		{"ecdhe", 0xc02f, VersionTLS12, cat(curve, signature), 0, 29, 0x0804},
		{"ecdhe_before_tls12_has_no_scheme", 0xc013, VersionTLS10, cat(curve, signature), 0, 29, 0},
		{"ecdhe_group_alone", 0xc02f, VersionTLS12, curve[:3], 0, 29, 0},
		{"ecdhe_explicit_curve", 0xc02f, VersionTLS12, cat([]byte{1, 32}, make([]byte, 32)), 0, 0, 0},
		{"ecdh_anon", 0xc018, VersionTLS12, cat(curve, signature), 0, 29, 0},
		{"ecdhe_psk_with_a_long_hint", 0xc037, VersionTLS12, cat(hint, curve), 0, 29, 0},
		{"psk_hint", 0x00a8, VersionTLS12, hint, 0, 0, 0},
		{"rsa_export", 0x0003, VersionTLS10, cat(field(prime), field([]byte{3})), 0, 0, 0},
		{"empty", 0x009e, VersionTLS12, nil, 0, 0, 0},
	}
	for _, tt := range tests {
		flights := []flight{{Client, hello}, {Server, cat(records(tt.version, serverHello(tt.version, tt.suite), 1000),
			records(tt.version, message(TypeServerKeyExchange, tt.body), maxPlaintext))}}
		c, _ := checkSplits(t, flights)
		if c.DHBits != tt.bits || c.ServerGroup != tt.group || c.SignatureScheme != tt.scheme || !c.GroupSettled || !c.Fault.OK() {
			t.Errorf("%s: got %d bits, group %d, scheme %#04x, settled %v, %v", tt.name, c.DHBits, c.ServerGroup, c.SignatureScheme, c.GroupSettled, c.Fault)
		}
	}
}
