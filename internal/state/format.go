package state

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/netip"

	"tlsgate/internal/engine"
	"tlsgate/tlsrules/certs"
	"tlsgate/tlsrules/tlswire"
)

// The format, version 1: lines that are JSON objects of one key each.
//
//	tlsgate_state   the version; the first line
//	pin, gate       as Pin and Gate
//	certificate     DER, named by its SHA-256; before the first session that has it
//	session         whose chain names certificates
//	end             how many lines there are before it, and their SHA-256; the last line
//
// Whoever adds a key raises the version: an older program must not read half.

const version = 1

// Bounds of a file. Writing leaves out what would be more.
const (
	maxFile = 256 << 20
	maxLine = 64 << 10
)

type line struct {
	Header      *header      `json:"tlsgate_state,omitempty"`
	Pin         *Pin         `json:"pin,omitempty"`
	Gate        *Gate        `json:"gate,omitempty"`
	Certificate *certificate `json:"certificate,omitempty"`
	Session     *session     `json:"session,omitempty"`
	End         *end         `json:"end,omitempty"`
}

type header struct {
	Version int   `json:"version"`
	Written int64 `json:"written"`
}

type certificate struct {
	SHA256       Hex    `json:"sha256"`
	DER          []byte `json:"der"`
	RawPublicKey bool   `json:"raw_public_key,omitempty"`
}

// name is what a certificate is called by: the same bytes say something else where
// a raw public key stands.
type name struct {
	sum [32]byte
	raw bool
}

func nameOf(c *certs.Certificate) name { return name{c.SHA256, c.RawPublicKey} }

type session struct {
	Server  netip.AddrPort `json:"server"`
	By      string         `json:"by"`
	Key     Hex            `json:"key"`
	Origin  Hex            `json:"origin"`
	Suite   uint16         `json:"suite"`
	Version uint16         `json:"version"`
	DHBits  uint16         `json:"dh_bits,omitempty"`
	Chain   []Hex          `json:"chain,omitempty"`
	Raw     bool           `json:"raw_public_key,omitempty"` // the chain is one
	Began   int64          `json:"began"`
	Rule    string         `json:"rule,omitempty"`
	Used    int64          `json:"used"`
}

type end struct {
	Lines  int `json:"lines"`
	SHA256 Hex `json:"sha256"`
}

// Hex is bytes that are written in hexadecimal.
type Hex []byte

func (h Hex) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h), nil }

func (h *Hex) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// encoder writes lines.
type encoder struct {
	w     *bufio.Writer
	buf   bytes.Buffer
	json  *json.Encoder // into buf
	max   int64         // bytes, with the end
	size  int64
	lines int
	sum   hash.Hash
	err   error
}

// endLine is more than the last line takes.
const endLine = 256

// add writes lines together or, if there is no room for them, none.
func (e *encoder) add(lines ...line) bool {
	e.buf.Reset()
	for i := range lines {
		before := e.buf.Len()
		if e.json.Encode(&lines[i]) != nil || e.buf.Len()-before > maxLine {
			return false
		}
	}
	b := e.buf.Bytes()
	if e.err != nil || e.size+int64(len(b))+endLine > e.max {
		return false
	}
	_, e.err = e.w.Write(b)
	e.sum.Write(b)
	e.size += int64(len(b))
	e.lines += len(lines)
	return e.err == nil
}

// encode writes a state of at most max bytes and returns how many entries it has
// left out: those that would be refused when they are read, and pins and gates for
// which there was no room. Sessions that find no room, and those with a certificate
// whose encoding was too long to keep, are forgotten, as any is one day.
func encode(to io.Writer, s *State, max int64) (left int, err error) {
	sum := sha256.New()
	e := &encoder{w: bufio.NewWriterSize(to, 1<<16), max: max, sum: sum}
	e.json = json.NewEncoder(&e.buf)
	e.json.SetEscapeHTML(false)
	add := func(ok bool, lines ...line) {
		if !ok || !e.add(lines...) {
			left++
		}
	}
	e.add(line{Header: &header{version, s.Written}})
	for i := range s.Pins {
		add(s.Pins[i].check() == nil, line{Pin: &s.Pins[i]})
	}
	for i := range s.Gates {
		add(s.Gates[i].check() == nil, line{Gate: &s.Gates[i]})
	}
	named := map[name]bool{}
	for i := range s.Sessions {
		k := &s.Sessions[i]
		lines, ok := certificatesOf(k.Chain, named)
		if !ok {
			continue
		}
		x := sessionOf(k)
		if x.check() != nil {
			left++
			continue
		}
		if !e.add(append(lines, line{Session: x})...) {
			break // the others were used longer ago
		}
		for _, l := range lines {
			named[name{[32]byte(l.Certificate.SHA256), l.Certificate.RawPublicKey}] = true
		}
	}
	e.max += endLine
	e.add(line{End: &end{e.lines, sum.Sum(nil)}})
	return left, errors.Join(e.err, e.w.Flush())
}

// certificatesOf gives the lines of those certificates that have none yet; false
// if one cannot be written.
func certificatesOf(chain []*certs.Certificate, named map[name]bool) (lines []line, ok bool) {
	for i, c := range chain {
		if c.DER == nil && c.Length > 0 {
			return nil, false
		}
		again := false
		for _, d := range chain[:i] {
			again = again || nameOf(c) == nameOf(d)
		}
		if !named[nameOf(c)] && !again {
			lines = append(lines, line{Certificate: &certificate{c.SHA256[:], c.DER, c.RawPublicKey}})
		}
	}
	return lines, true
}

func sessionOf(k *engine.KnownSession) *session {
	x := &session{
		Server: k.Server, By: k.By.String(), Key: k.Key[:], Origin: k.Origin[:], Suite: k.Suite, Version: k.Version,
		DHBits: k.DHBits, Began: k.Began.Time, Rule: k.Began.Rule, Used: k.Used,
	}
	for _, c := range k.Chain {
		x.Chain, x.Raw = append(x.Chain, c.SHA256[:]), c.RawPublicKey
	}
	return x
}

func (x *session) check() error {
	_, known := engine.ParseSessionKind(x.By)
	switch {
	case !x.Server.IsValid() || x.Server.Addr().Zone() != "":
		return errors.New("session: without a server")
	case !known:
		return fmt.Errorf("session: known by %q, which is nothing", x.By)
	case len(x.Key) != len(tlswire.SessionKey{}) || len(x.Origin) != 16:
		return errors.New("session: a key, or an origin, that is none")
	case len(x.Chain) > certs.MaxChain:
		return fmt.Errorf("session: %d certificates, the most is %d", len(x.Chain), certs.MaxChain)
	case x.Raw && len(x.Chain) != 1:
		return errors.New("session: a raw public key that is not one")
	case x.Began < 0 || x.Used < 0:
		return errors.New("session: its times are none")
	}
	return checkName("session", x.Rule)
}
