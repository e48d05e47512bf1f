package tlswire

// A Protocol is what a connection speaks, by its first bytes. The zero Protocol
// is not known yet.
type Protocol uint8

const (
	ProtocolTLS     Protocol = iota + 1 // SSL 3.0 included
	ProtocolSSLv2                       // an SSL 2.0 hello, also one that offers TLS
	ProtocolHTTP                        // without TLS
	ProtocolSSH                         // RFC 4253, Section 4.2
	ProtocolUnknown                     // none of these
)

var protocolNames = [...]string{"none", "tls", "sslv2", "http", "ssh", "unknown"}

// String returns the name policies use.
func (p Protocol) String() string { return name(protocolNames[:], uint8(p)) }

// openings are how the protocols told apart begin; all fit in side.head.
var openings = [...]struct {
	text     string
	protocol Protocol
}{
	{"GET ", ProtocolHTTP}, {"POST ", ProtocolHTTP}, {"HEAD ", ProtocolHTTP}, {"PUT ", ProtocolHTTP}, {"DELETE ", ProtocolHTTP}, {"PATCH ", ProtocolHTTP},
	{"OPTIONS ", ProtocolHTTP}, {"CONNECT ", ProtocolHTTP}, {"TRACE ", ProtocolHTTP}, {"PRI * HT", ProtocolHTTP}, {"HTTP/1.", ProtocolHTTP},
	{"SSH-", ProtocolSSH},
}

// sslv2HeadLen is the length of an SSL 2.0 record header with the message type
// and version that follow it.
const sslv2HeadLen = 5

// firstBytes judges the beginning of one side's stream; the zero Protocol means
// that more bytes are needed.
//
// What any server would take for TLS must not pass as something else: crypto/tls
// takes record versions from 0x0000 to 0x0fff in a first record. With a major
// version other than 3 it is TLS only if all else is as in TLS. Before a ClientHello
// GnuTLS passes over a ChangeCipherSpec, and OpenSSL 3.0 over an empty one.
func firstBytes(b []byte) Protocol {
	switch t := ContentType(b[0]); {
	case b[0]&0x80 != 0:
		return firstBytesSSLv2(b)
	case t == RecordTypeHandshake, t == RecordTypeAlert, t == RecordTypeChangeCipherSpec:
		return firstBytesTLS(b)
	}
	for _, o := range openings {
		if n := min(len(b), len(o.text)); string(b[:n]) == o.text[:n] {
			if n < len(o.text) {
				return 0
			}
			return o.protocol
		}
	}
	return ProtocolUnknown
}

// Begins judges b, which is not empty, as what a side would begin to speak TLS
// with in the middle of something else: ProtocolTLS, ProtocolSSLv2,
// ProtocolUnknown, or zero when more bytes are needed. Six bytes always suffice.
// It is stricter than what judges the beginning of a stream, where what is no TLS
// has to be something else, but takes whatever a server would.
func Begins(b []byte) Protocol {
	t := ContentType(b[0])
	p := ProtocolUnknown
	if MayBegin(b[0]) {
		p = firstBytes(b)
	}
	if p != ProtocolTLS || b[1] != 3 || t == RecordTypeChangeCipherSpec {
		return p
	}
	length := int(b[3])<<8 | int(b[4])
	switch {
	case t == RecordTypeAlert:
		return protocolIf(length == alertLen, p)
	case length == 0: // some servers pass over it
		return p
	case length > maxCiphertext:
		return ProtocolUnknown
	case len(b) == recordHeaderLen:
		return 0
	}
	m := HandshakeType(b[recordHeaderLen])
	return protocolIf(m == TypeClientHello || m == TypeServerHello, p)
}

// MayBegin reports whether a side that begins to speak TLS may begin with v.
func MayBegin(v byte) bool {
	t := ContentType(v)
	return v&0x80 != 0 || t == RecordTypeHandshake || t == RecordTypeAlert || t == RecordTypeChangeCipherSpec
}

func firstBytesTLS(b []byte) Protocol {
	if len(b) > 1 && b[1] > maxRecordVersion>>8 {
		return ProtocolUnknown
	}
	if len(b) < recordHeaderLen {
		return 0
	}
	length := int(b[3])<<8 | int(b[4])
	switch {
	case ContentType(b[0]) == RecordTypeChangeCipherSpec:
		return protocolIf(b[1] == 3 && length <= 1, ProtocolTLS)
	case b[1] == 3:
		return ProtocolTLS
	}
	if ContentType(b[0]) != RecordTypeHandshake {
		return protocolIf(length == alertLen, ProtocolTLS)
	}
	if length == 0 || length > maxPlaintext {
		return ProtocolUnknown
	}
	if len(b) == recordHeaderLen {
		return 0
	}
	t := HandshakeType(b[recordHeaderLen])
	return protocolIf(t == TypeClientHello || t == TypeServerHello, ProtocolTLS)
}

// firstBytesSSLv2 knows the two-byte header only; servers that still read SSL
// 2.0 hellos take no other.
func firstBytesSSLv2(b []byte) Protocol {
	if len(b) > 2 && HandshakeType(b[2]) != TypeClientHello {
		return ProtocolUnknown
	}
	if len(b) < sslv2HeadLen {
		return 0
	}
	return protocolIf(b[3] == 3 || b[3] == 0 && b[4] == byte(VersionSSL20), ProtocolSSLv2)
}

func protocolIf(is bool, p Protocol) Protocol {
	if is {
		return p
	}
	return ProtocolUnknown
}
