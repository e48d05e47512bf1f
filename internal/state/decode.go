package state

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"tlsgate/internal/engine"
	"tlsgate/tlsrules/certs"
	"tlsgate/tlsrules/tlswire"
)

// broken says why a file is not believed.
type broken struct{ why string }

func (b *broken) Error() string { return b.why }

func refuse(format string, args ...any) error { return &broken{fmt.Sprintf(format, args...)} }

// decoder puts a state together.
type decoder struct {
	s      State
	certs  map[name]*certs.Certificate
	chains map[string][]*certs.Certificate
}

// decode reads what encode writes; an error is a *broken, or the reader's.
func decode(from io.Reader) (*State, error) {
	d := &decoder{certs: map[name]*certs.Certificate{}, chains: map[string][]*certs.Certificate{}}
	lines := bufio.NewScanner(from)
	lines.Buffer(make([]byte, 0, 4<<10), maxLine)
	lines.Split(wholeLines)
	sum, n, ended := sha256.New(), 0, false
	for ; lines.Scan(); n++ {
		text := lines.Bytes()
		if ended {
			return nil, refuse("line %d: something behind the end", n+1)
		}
		if n == 0 {
			if err := d.header(text); err != nil {
				return nil, err
			}
		} else if l, err := parseLine(text); err != nil {
			return nil, refuse("line %d: %v", n+1, err)
		} else if ended = l.End != nil; ended {
			if l.End.Lines != n || !bytes.Equal(l.End.SHA256, sum.Sum(nil)) {
				return nil, refuse("line %d: it is not as it was written", n+1)
			}
		} else if err := d.take(l); err != nil {
			return nil, refuse("line %d: %v", n+1, err)
		}
		sum.Write(text)
		sum.Write([]byte{'\n'})
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, refuse("line %d is longer than any that was written", n+1)
	case err != nil:
		return nil, err
	case !ended:
		return nil, refuse("it is cut short, behind line %d", n)
	}
	return &d.s, nil
}

// wholeLines is bufio.ScanLines without its kindness: a line ends with \n, and what
// stands before that is the line.
func wholeLines(data []byte, atEOF bool) (int, []byte, error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), nil, refuse("its last line is cut short")
	}
	return 0, nil, nil
}

// header reads the first line, of any version.
func (d *decoder) header(text []byte) error {
	var first struct {
		Header *struct {
			Version int   `json:"version"`
			Written int64 `json:"written"`
		} `json:"tlsgate_state"`
	}
	switch err := json.Unmarshal(text, &first); {
	case err != nil || first.Header == nil || first.Header.Version < 1:
		return refuse("it is not a state file of tlsgate")
	case first.Header.Version > version:
		return refuse("it is of version %d, and this program reads version %d", first.Header.Version, version)
	}
	d.s.Written = first.Header.Written
	return nil
}

// parseLine reads a line that has one key, and that one is known.
func parseLine(text []byte) (l line, err error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&l); err != nil {
		return l, err
	}
	if dec.InputOffset() != int64(len(text)) {
		return l, errors.New("more than one object")
	}
	n := 0
	for _, there := range [...]bool{l.Header != nil, l.Pin != nil, l.Gate != nil, l.Certificate != nil, l.Session != nil, l.End != nil} {
		if there {
			n++
		}
	}
	if n != 1 || l.Header != nil {
		return l, errors.New("not one entry")
	}
	return l, nil
}

func (d *decoder) take(l line) error {
	switch {
	case l.Pin != nil:
		d.s.Pins = append(d.s.Pins, *l.Pin)
		return l.Pin.check()
	case l.Gate != nil:
		d.s.Gates = append(d.s.Gates, *l.Gate)
		return l.Gate.check()
	case l.Certificate != nil:
		return d.certificate(l.Certificate)
	}
	return d.session(l.Session)
}

func (d *decoder) certificate(c *certificate) error {
	sum := sha256.Sum256(c.DER)
	if !bytes.Equal(sum[:], c.SHA256) || len(c.DER) > certs.MaxDER {
		return errors.New("certificate: it is not the one it is named")
	}
	parse := certs.Parse
	if c.RawPublicKey {
		parse = certs.ParsePublicKey
	}
	d.certs[name{sum, c.RawPublicKey}] = parse(c.DER)
	return nil
}

func (d *decoder) session(x *session) error {
	if err := x.check(); err != nil {
		return err
	}
	by, _ := engine.ParseSessionKind(x.By)
	k := engine.KnownSession{
		Server: x.Server, By: by, Key: tlswire.SessionKey(x.Key), Origin: [16]byte(x.Origin), Suite: x.Suite, Version: x.Version,
		DHBits: x.DHBits, Began: engine.Began{Time: x.Began, Rule: x.Rule}, Used: x.Used,
	}
	var err error
	if len(x.Chain) > 0 {
		k.Chain, err = d.chain(x)
	}
	d.s.Sessions = append(d.s.Sessions, k)
	return err
}

// chain gives the same slice for the same chain: sessions share it.
func (d *decoder) chain(x *session) (chain []*certs.Certificate, err error) {
	var all []byte
	for _, sum := range x.Chain {
		if len(sum) != 32 || d.certs[name{[32]byte(sum), x.Raw}] == nil {
			return nil, errors.New("session: a certificate that is not there")
		}
		all = append(all, sum...)
		chain = append(chain, d.certs[name{[32]byte(sum), x.Raw}])
	}
	if x.Raw {
		all = append(all, 'r')
	}
	if there := d.chains[string(all)]; there != nil {
		return there, nil
	}
	d.chains[string(all)] = chain
	return chain, nil
}
