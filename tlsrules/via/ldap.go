package via

import (
	"bytes"

	"tlsgate/tlsrules/tlswire"
)

// Tags of BER and of LDAP's messages (RFC 4511, Section 4).
const (
	berSequence    = 0x30
	berInteger     = 0x02
	berOctetString = 0x04
	ldapBind       = 0x60
	ldapUnbind     = 0x42
	ldapSearch     = 0x63
	ldapAbandon    = 0x50
	ldapExtended   = 0x77
)

// startTLS is the request's name (RFC 4511, Section 4.14.1).
var startTLS = []byte("1.3.6.1.4.1.1466.20037")

// berLength reads a length: how many bytes it and the tag before it take, 0 when
// more are needed, -1 when it is none. OpenLDAP takes lengths that are longer
// than they would have to be.
func berLength(b []byte) (size int, length uint64) {
	if len(b) < 2 {
		return 0, 0
	}
	k := int(b[1] & 0x7f)
	switch {
	case b[1] < 0x80:
		return 2, uint64(b[1])
	case k == 0 || k > 8:
		return -1, 0
	case len(b) < 2+k:
		return 0, 0
	}
	for _, v := range b[2 : 2+k] {
		length = length<<8 | uint64(v)
	}
	if length > 1<<62 {
		return -1, 0
	}
	return 2 + k, length
}

// operation finds the operation in a message: its tag, and what follows the
// length; zero when more bytes are needed or it is none.
func operation(b []byte) (tag byte, body []byte, ok bool) {
	size, _ := berLength(b)
	if size < 0 {
		return 0, nil, false
	}
	if size == 0 || len(b) < size+2 {
		return 0, nil, true
	}
	b = b[size:]
	n := int(b[1])
	if b[0] != berInteger || n == 0 || n > 4 {
		return 0, nil, false
	}
	if len(b) <= 2+n {
		return 0, nil, true
	}
	b = b[2+n:]
	if size, _ = berLength(b); size > 0 {
		body = b[size:]
	}
	return b[0], body, b[0] != 0
}

// recogniseLDAP says whether a client's first bytes are an LDAP request.
func recogniseLDAP(b []byte) protocol {
	tag, _, ok := operation(b)
	switch {
	case !ok:
		return generic
	case tag == 0:
		return opening
	}
	switch tag {
	case ldapBind, ldapSearch, ldapExtended, ldapUnbind, ldapAbandon, 0x66, 0x68, 0x4a, 0x6c, 0x6e:
		return ldap
	}
	return generic
}

// readLDAP consumes bytes of a message. StartTLS may come at any time (RFC 4511,
// Section 4.14.1), and so the watch never ends.
func (c *Conn) readLDAP(from tlswire.Side, b []byte) (n int, st Status) {
	s := &c.sides[from]
	for want := 2; ; {
		k, ok := s.gather(b[n:], want)
		n += k
		if !ok {
			return n, NeedMore
		}
		size, length := berLength(s.buf[:s.n])
		switch {
		case s.buf[0] != berSequence || size < 0:
			// Wrapped by SASL, or no LDAP: RFC 4422, Section 3.7.
			return n, c.lose()
		case size == 0:
			want = 2 + int(s.buf[1]&0x7f)
			continue
		}
		total := uint64(size) + length
		if total < uint64(s.n) { // no message is so short
			return n, c.lose()
		}
		if want = int(min(total, maxWords)); int(s.n) < want {
			if k, ok = s.gather(b[n:], want); !ok {
				return n + k, NeedMore
			}
			n += k
		}
		if from == tlswire.Client {
			st = c.ldapRequest(s.buf[:s.n])
		}
		c.message(from, total-uint64(want))
		return n, st
	}
}

// ldapRequest says what a request is worth: before TLS a client may look at what
// its server offers.
func (c *Conn) ldapRequest(b []byte) Status {
	tag, body, _ := operation(b)
	switch tag {
	case ldapUnbind, ldapAbandon:
		return NeedMore
	case ldapSearch: // of the root DSE
		if len(body) >= 2 && body[0] == berOctetString && body[1] == 0 {
			return NeedMore
		}
	case ldapExtended:
		if bytes.Contains(b, startTLS) {
			c.ask()
			return NeedMore
		}
	}
	return Clear
}
