package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// A node is one value of tshark's JSON. tshark repeats keys, and their order is
// that of the packet, so neither a map nor encoding/json would do.
type node struct {
	key, text string
	kids      []node
}

// kid returns the first child of that name, or an empty node.
func (n *node) kid(key string) *node {
	for i := range n.kids {
		if n.kids[i].key == key {
			return &n.kids[i]
		}
	}
	return &node{}
}

// find returns the first node of that name below n, or nil.
func (n *node) find(key string) *node {
	for i := range n.kids {
		k := &n.kids[i]
		if k.key == key {
			return k
		}
		if found := k.find(key); found != nil {
			return found
		}
	}
	return nil
}

// value is the text of a node that may not be there.
func (n *node) value() string {
	if n == nil {
		return ""
	}
	return n.text
}

// all gives the text of every node of that name below n to f, in order.
func (n *node) all(key string, f func(text string)) {
	for i := range n.kids {
		k := &n.kids[i]
		if k.key == key {
			f(k.text)
		}
		k.all(key, f)
	}
}

// texts collects what all finds.
func (n *node) texts(key string) []string {
	var list []string
	n.all(key, func(text string) { list = append(list, text) })
	return list
}

// Bounds of what one packet may cost.
const (
	maxDepth = 200
	maxText  = 1 << 20
	maxNodes = 1 << 20
)

// bulk names values that are long and say nothing: they are passed over.
var bulk = map[string]bool{
	"tcp.payload": true, "tcp.segment_data": true, "tcp.reassembled.data": true, "tls.app_data": true,
	"tls.segment.data": true, "tls.reassembled.data": true, "tls.handshake.certificate_raw": true,
}

// reader reads the array of packets that tshark -T json prints, one at a time,
// whatever the length of the whole.
type reader struct {
	in    *bufio.Reader
	nodes int
	began bool
}

var errDeep = errors.New("tshark's JSON is nested too deep or too large")

// next returns the layers of the next packet, or io.EOF.
func (r *reader) next() (*node, error) {
	c, err := r.skip()
	if err != nil {
		return nil, err
	}
	if !r.began {
		if c != '[' {
			return nil, fmt.Errorf("tshark's JSON begins with %q", c)
		}
		r.began = true
		if c, err = r.skip(); err != nil {
			return nil, err
		}
	}
	if c == ',' {
		if c, err = r.skip(); err != nil {
			return nil, err
		}
	}
	if c == ']' {
		return nil, io.EOF
	}
	r.nodes = 0
	var n node
	if err := r.value(c, &n, 0); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	layers := n.find("layers")
	if layers == nil {
		layers = &node{}
	}
	return layers, nil
}

// skip returns the next byte that is not white space.
func (r *reader) skip() (byte, error) {
	for {
		c, err := r.in.ReadByte()
		if err != nil || c != ' ' && c != '\n' && c != '\r' && c != '\t' {
			return c, err
		}
	}
}

// value reads the value that begins with c into n, whose key is set.
func (r *reader) value(c byte, n *node, depth int) error {
	if r.nodes++; depth > maxDepth || r.nodes > maxNodes {
		return errDeep
	}
	switch c {
	case '"':
		var err error
		n.text, err = r.text(!bulk[n.key])
		return err
	case '{':
		return r.object(n, depth)
	case '[':
		return r.list(n, depth)
	}
	for { // a number or a word
		c, err := r.in.ReadByte()
		if err != nil {
			return err
		}
		if strings.IndexByte(",]} \n\r\t", c) >= 0 {
			return r.in.UnreadByte()
		}
	}
}

func (r *reader) object(n *node, depth int) error {
	for {
		c, err := r.skip()
		switch {
		case err != nil:
			return err
		case c == '}':
			return nil
		case c == ',':
			continue
		case c != '"':
			return fmt.Errorf("tshark's JSON has %q where a key should be", c)
		}
		key, err := r.text(true)
		if err != nil {
			return err
		}
		if c, err = r.skip(); err != nil || c != ':' {
			return errors.Join(err, errors.New("tshark's JSON has a key without a value"))
		}
		if c, err = r.skip(); err != nil {
			return err
		}
		n.kids = append(n.kids, node{key: key})
		if err := r.value(c, &n.kids[len(n.kids)-1], depth+1); err != nil {
			return err
		}
	}
}

func (r *reader) list(n *node, depth int) error {
	for {
		c, err := r.skip()
		switch {
		case err != nil:
			return err
		case c == ']':
			return nil
		case c == ',':
			continue
		}
		n.kids = append(n.kids, node{key: n.key})
		if err := r.value(c, &n.kids[len(n.kids)-1], depth+1); err != nil {
			return err
		}
	}
}

// text reads a string whose first quote was read. What is longer than maxText
// is cut.
func (r *reader) text(keep bool) (string, error) {
	var b strings.Builder
	for {
		c, err := r.in.ReadByte()
		if err != nil {
			return "", err
		}
		if c == '"' {
			return b.String(), nil
		}
		if c == '\\' {
			if c, err = r.escaped(&b); err != nil {
				return "", err
			}
			if c == 0 {
				continue
			}
		}
		if keep && b.Len() < maxText {
			b.WriteByte(c)
		}
	}
}

// escaped reads what follows a backslash; it returns 0 if it wrote a rune itself.
func (r *reader) escaped(b *strings.Builder) (byte, error) {
	c, err := r.in.ReadByte()
	if err != nil {
		return 0, err
	}
	switch c {
	case 'n':
		return '\n', nil
	case 't':
		return '\t', nil
	case 'r':
		return '\r', nil
	case 'b':
		return '\b', nil
	case 'f':
		return '\f', nil
	case 'u':
		var v rune
		for range 4 {
			c, err := r.in.ReadByte()
			if err != nil {
				return 0, err
			}
			v = v<<4 | rune(strings.IndexByte("0123456789abcdef", c|0x20)&15)
		}
		if b.Len() < maxText {
			b.WriteRune(v)
		}
		return 0, nil
	}
	return c, nil
}
