package engine

import (
	"bytes"

	"tlsgate/tlsrules"
)

// blocked refuses one server name at one port.
func blocked(name string) *tlsrules.Policy {
	return policy(acceptAll, tlsrules.Rule{
		Name: "blocked", Match: []tlsrules.Condition{condition("port", "443"), condition("sni", name)},
		Action: tlsrules.Reset, HasAction: true,
	})
}

// record wraps b as a TLS record.
func record(kind byte, b []byte) []byte {
	return append([]byte{kind, 3, 3, byte(len(b) >> 8), byte(len(b))}, b...)
}

// embedding is a ClientHello for a good name whose last extension, padding, is
// another one's record: where that begins.
func embedding(good, evil []byte) (hello []byte, at int) {
	body := bytes.Clone(good[5:])
	sid := 4 + 2 + 32
	suites := sid + 1 + int(body[sid])
	compression := suites + 2 + int(body[suites])<<8 + int(body[suites+1])
	list := compression + 1 + int(body[compression])
	n := int(body[list])<<8 + int(body[list+1]) + 4 + len(evil)
	body[list], body[list+1] = byte(n>>8), byte(n)
	body = append(append(body, 0xfa, 0xce, byte(len(evil)>>8), byte(len(evil))), evil...)
	n = len(body) - 4
	body[1], body[2], body[3] = 0, byte(n>>8), byte(n)
	hello = record(22, body)
	return hello, len(hello) - len(evil)
}

// decoy sends a packet that passes the engine, if it lets it, and never arrives.
func (k *link) decoy(s segment) {
	k.lost = true
	k.raw(s)
	k.lost = false
}
