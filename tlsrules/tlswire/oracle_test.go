package tlswire

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"time"
)

var errHeard = errors.New("heard enough")

// oracle gives a stream of bytes to a crypto/tls server and returns what it
// makes of the hello in it; nil if it refuses it.
func oracle(stream []byte) *tls.ClientHelloInfo {
	var info *tls.ClientHelloInfo
	server := tls.Server(&playback{data: stream}, &tls.Config{
		GetConfigForClient: func(i *tls.ClientHelloInfo) (*tls.Config, error) {
			info = i
			return nil, errHeard
		},
	})
	server.Handshake()
	return info
}

// A playback is a net.Conn that can only be read.
type playback struct {
	net.Conn
	data []byte
}

func (p *playback) Read(b []byte) (int, error) {
	if len(p.data) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.data)
	p.data = p.data[n:]
	return n, nil
}

func (p *playback) Write(b []byte) (int, error)      { return len(b), nil }
func (p *playback) Close() error                     { return nil }
func (p *playback) SetDeadline(time.Time) error      { return nil }
func (p *playback) SetReadDeadline(time.Time) error  { return nil }
func (p *playback) SetWriteDeadline(time.Time) error { return nil }
func (p *playback) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (p *playback) RemoteAddr() net.Addr             { return &net.TCPAddr{} }

// What crypto/tls accepts we accept, and read the same in it.
func TestOracle(t *testing.T) {
	for name, msg := range hellos(t) {
		for _, size := range []int{1, 700, 16384} {
			if !sameAsOracle(t, records(VersionTLS10, msg, size)) {
				t.Errorf("%s, records of %d: crypto/tls refuses it", name, size)
			}
		}
	}
}

// Hellos with bytes changed are accepted by both or by neither.
func TestOracleMutated(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	all := hellos(t)
	var names []string
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	accepted := 0
	for range 4000 {
		msg := slices.Clone(all[names[r.IntN(len(names))]])
		mutate(r, msg)
		if sameAsOracle(t, records(VersionTLS12, msg, 16384)) {
			accepted++
		}
	}
	if accepted < 400 || accepted > 3600 {
		t.Errorf("%d of 4000 accepted: the mutations prove little", accepted)
	}
}

// mutate changes bytes of a message where it hurts: small numbers in the first
// kilobyte, often lengths. The message header stays.
func mutate(r *rand.Rand, msg []byte) {
	for range 1 + r.IntN(2) {
		i := messageHeaderLen + r.IntN(min(len(msg), 1000)-messageHeaderLen)
		switch r.IntN(3) {
		case 0:
			msg[i] = byte(r.Uint32())
		case 1:
			msg[i] += byte(r.IntN(5)) - 2
		case 2:
			if i+2 <= len(msg) {
				binary.BigEndian.PutUint16(msg[i:], uint16(r.IntN(64)))
			}
		}
	}
}

// sameAsOracle compares a Conn with crypto/tls on a stream that begins with a
// hello, and reports whether it was accepted.
func sameAsOracle(t testing.TB, stream []byte) bool {
	t.Helper()
	info := oracle(stream)
	var c Conn
	n := 0
	for n < len(stream) && !c.HasClientHello && c.Fault.OK() && c.Protocol <= ProtocolTLS {
		k, _, _ := c.Consume(Client, stream[n:])
		n += k
	}
	if got, want := c.HasClientHello, info != nil; got != want {
		t.Fatalf("accepted: %v, crypto/tls: %v (%+v)\n%x", got, want, c.Fault, stream)
	}
	if info == nil {
		return false
	}
	h := &c.ClientHello
	if got, want := string(h.ServerName), info.ServerName; got != want {
		t.Fatalf("got name %q, want %q", got, want)
	}
	var protocols []string
	for p := range h.ALPN.All() {
		protocols = append(protocols, string(p))
	}
	if !slices.Equal(protocols, info.SupportedProtos) {
		t.Fatalf("got ALPN %q, want %q", protocols, info.SupportedProtos)
	}
	if !slices.Equal(h.CipherSuites, info.CipherSuites) {
		t.Fatalf("got suites %x, want %x", h.CipherSuites, info.CipherSuites)
	}
	if !slices.Equal(h.Extensions, info.Extensions) {
		t.Fatalf("got extensions %d, want %d", h.Extensions, info.Extensions)
	}
	if h.SupportedVersions != nil && !slices.Equal(h.SupportedVersions, info.SupportedVersions) {
		t.Fatalf("got versions %x, want %x", h.SupportedVersions, info.SupportedVersions)
	}
	if !slices.EqualFunc(h.SupportedGroups, info.SupportedCurves, func(a uint16, b tls.CurveID) bool { return a == uint16(b) }) {
		t.Fatalf("got groups %d, want %d", h.SupportedGroups, info.SupportedCurves)
	}
	if !slices.EqualFunc(h.SignatureAlgorithms, info.SignatureSchemes, func(a uint16, b tls.SignatureScheme) bool { return a == uint16(b) }) {
		t.Fatalf("got signatures %x, want %x", h.SignatureAlgorithms, info.SignatureSchemes)
	}
	if !bytes.Equal(h.ECPointFormats, info.SupportedPoints) {
		t.Fatalf("got point formats %x, want %x", h.ECPointFormats, info.SupportedPoints)
	}
	return true
}

// Records that crypto/tls puts up with we put up with: odd versions, warnings
// between the pieces of a hello, pieces of any size.
func TestOracleRecords(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	msg := helloFrom(t, &tls.Config{ServerName: "a.example", MaxVersion: tls.VersionTLS12})
	accepted := 0
	for range 3000 {
		var stream []byte
		version := func() uint16 { return []uint16{0x0301, 0x0301, 0x0303, 0x0300, 0x0002, 0x0fff, 0x1000}[r.IntN(7)] }
		for rest := msg; len(rest) > 0; {
			n := min(len(rest), 1+r.IntN(len(msg)))
			switch r.IntN(8) {
			case 0:
				stream = append(stream, record(RecordTypeAlert, version(), []byte{1, 90})...)
			case 1:
				if r.IntN(10) == 0 {
					n = 0
				}
			}
			stream = append(stream, record(RecordTypeHandshake, version(), rest[:n])...)
			rest = rest[n:]
		}
		info := oracle(stream)
		if info == nil {
			continue
		}
		accepted++
		var c Conn
		consume(&c, Client, stream)
		if !c.HasClientHello || string(c.ClientHello.ServerName) != info.ServerName {
			t.Fatalf("crypto/tls accepts, we say %v, %v\n%x", c.Protocol, c.Fault, stream)
		}
	}
	if accepted < 300 {
		t.Errorf("%d accepted: the streams prove little", accepted)
	}
}
