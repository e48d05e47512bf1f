package adversary

import (
	"bytes"
	"encoding/binary"
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// What is forbidden and what is not; names of one length.
const (
	Forbidden = "api.evil.example"
	Permitted = "api.good.example"

	aes128   = 0x1301 // TLS_AES_128_GCM_SHA256
	chacha20 = 0x1303 // TLS_CHACHA20_POLY1305_SHA256: refused when a server selects it

	typeClientHello = 1
	typeServerHello = 2

	recordAlert     = 21
	recordHandshake = 22
	recordCCS       = 20
	recordData      = 23
)

// Stake is what a trick is played for.
type Stake uint8

const (
	StakeName  Stake = iota // a forbidden name, refused at the hello
	StakeSuite              // a permitted one whose answer is refused
	StakeNone               // nothing is forbidden: an honest client
)

// String says what is forbidden.
func (s Stake) String() string {
	return [...]string{"a forbidden name", "a forbidden suite", "nothing forbidden"}[s]
}

// Hello is a ClientHello of TLS 1.3, to be changed.
type Hello struct {
	Name    string
	ID      byte // the last of the session id, which servers echo
	Suites  []uint16
	Version uint16
	Random  byte
	// Shares are the key shares; nil is one of x25519.
	Shares []byte
	// NoName leaves the server name out.
	NoName bool
	// NameExtension, if not nil, is the server name extension's body.
	NameExtension []byte
	// Before and After are extensions around the others.
	Before, After []Extension
	Versions      []uint16
}

// Extension of a hello.
type Extension struct {
	Kind uint16
	Body []byte
}

// Session ids of the hellos: forbidden ones are told apart by them.
const (
	idAtStake  = 0xe1
	idInnocent = 0x60
)

// hello is what is sent for a stake.
func hello(s Stake) Hello {
	h := Hello{Name: Permitted, ID: idAtStake, Suites: []uint16{aes128}, Version: 0x0303, Random: 7}
	switch s {
	case StakeName:
		h.Name = Forbidden
	case StakeSuite:
		h.Suites = []uint16{chacha20}
	}
	return h
}

// innocent is a permitted hello, as long as any of the others.
func innocent() Hello {
	h := hello(StakeNone)
	h.ID, h.Random = idInnocent, 9
	return h
}

// nameBody is the body of a server name extension (RFC 6066, Section 3).
func nameBody(names ...string) []byte {
	var b cryptobyte.Builder
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, n := range names {
			b.AddUint8(0)
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(n)) })
		}
	})
	return b.BytesOrPanic()
}

// Message returns the handshake message.
func (h Hello) Message() []byte {
	var b cryptobyte.Builder
	b.AddUint8(typeClientHello)
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
		b.AddUint16(h.Version)
		b.AddBytes(bytes.Repeat([]byte{h.Random}, 32))
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(append(bytes.Repeat([]byte{0x55}, 31), h.ID)) })
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
			for _, s := range h.Suites {
				b.AddUint16(s)
			}
		})
		b.AddBytes([]byte{1, 0})
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
			for _, x := range h.extensions() {
				b.AddUint16(x.Kind)
				b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(x.Body) })
			}
		})
	})
	return b.BytesOrPanic()
}

func (h Hello) extensions() []Extension {
	list := slices.Clone(h.Before)
	switch {
	case h.NoName:
	case h.NameExtension != nil:
		list = append(list, Extension{0, h.NameExtension})
	default:
		list = append(list, Extension{0, nameBody(h.Name)})
	}
	shares := h.Shares
	if shares == nil {
		shares = append([]byte{0, 36, 0, 29, 0, 32}, bytes.Repeat([]byte{h.Random}, 32)...)
	}
	versions := h.Versions
	if versions == nil {
		versions = []uint16{0x0304}
	}
	offered := []byte{byte(2 * len(versions))}
	for _, v := range versions {
		offered = binary.BigEndian.AppendUint16(offered, v)
	}
	list = append(list,
		Extension{10, []byte{0, 4, 0, 29, 0, 23}},
		Extension{13, []byte{0, 12, 4, 3, 8, 4, 8, 9, 5, 3, 8, 5, 8, 6}},
		Extension{43, offered},
		Extension{45, []byte{1, 1}},
		Extension{51, shares})
	return append(list, h.After...)
}

// Record returns the hello in one record.
func (h Hello) Record() []byte { return record(recordHandshake, h.Message()) }

// record wraps b as a TLS record.
func record(kind byte, b []byte) []byte {
	return append([]byte{kind, 3, 1, byte(len(b) >> 8), byte(len(b))}, b...)
}

// inRecords cuts a message into records of size bytes, with between in front of
// each but the first.
func inRecords(message []byte, size int, between []byte) (out []byte) {
	for piece := range slices.Chunk(message, size) {
		if len(out) > 0 {
			out = append(out, between...)
		}
		out = append(out, record(recordHandshake, piece)...)
	}
	return out
}

// Answer is a ServerHello that came, or a HelloRetryRequest.
type Answer struct {
	ID    byte // the last of the session's
	Suite uint16
	Retry bool
}

var retryRandom = []byte{0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11}

// answers returns the ServerHellos in what a server has sent, as far as that is
// whole records.
func answers(b []byte) (list []Answer) {
	var messages []byte
	for len(b) >= 5 {
		n := int(b[3])<<8 + int(b[4])
		if b[0] < recordCCS || b[0] > recordData || len(b) < 5+n {
			break
		}
		if b[0] == recordHandshake {
			messages = append(messages, b[5:5+n]...)
		}
		b = b[5+n:]
	}
	for len(messages) >= 4 {
		n := 4 + int(messages[1])<<16 + int(messages[2])<<8 + int(messages[3])
		if len(messages) < n {
			break
		}
		if m := messages[:n]; m[0] == typeServerHello && n >= 4+2+32+1 && n >= 39+int(m[38])+2 {
			a := Answer{Retry: bytes.HasPrefix(m[6:], retryRandom), Suite: binary.BigEndian.Uint16(m[39+int(m[38]):])}
			if n := int(m[38]); n > 0 {
				a.ID = m[38+n]
			}
			list = append(list, a)
		}
		messages = messages[n:]
	}
	return list
}
