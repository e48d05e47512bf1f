package tlswire

// A Side is one of the two ends of the TCP connection. It is fixed by who sent
// the SYN, not by TLS: Conn finds out by itself when the end that was called
// sends the ClientHello.
type Side uint8

const (
	Client Side = iota // sent the SYN
	Server
)

// Other returns the other end.
func (s Side) Other() Side { return s ^ 1 }

func (s Side) String() string { return name([]string{"client", "server"}, uint8(s)) }

// A ContentType is the type in a record's header (RFC 8446, Section 5.1): what
// can be seen from outside. Content is what it means.
type ContentType uint8

const (
	RecordTypeChangeCipherSpec ContentType = 20
	RecordTypeAlert            ContentType = 21
	RecordTypeHandshake        ContentType = 22
	RecordTypeApplicationData  ContentType = 23
	RecordTypeHeartbeat        ContentType = 24 // RFC 6520
)

func (t ContentType) known() bool {
	return t >= RecordTypeChangeCipherSpec && t <= RecordTypeHeartbeat
}

// RecordKinds is how many outer types there are.
const RecordKinds = 5

// RecordCounts counts records by outer type, RecordTypeChangeCipherSpec first.
type RecordCounts [RecordKinds]uint32

// Of returns how many records of type t were counted.
func (c *RecordCounts) Of(t ContentType) uint32 {
	if !t.known() {
		return 0
	}
	return c[t-RecordTypeChangeCipherSpec]
}

func (c *RecordCounts) count(t ContentType) { c[t-RecordTypeChangeCipherSpec]++ }

// Protocol versions as they stand on the wire.
const (
	VersionSSL20 uint16 = 0x0002
	VersionSSL30 uint16 = 0x0300
	VersionTLS10 uint16 = 0x0301
	VersionTLS11 uint16 = 0x0302
	VersionTLS12 uint16 = 0x0303
	VersionTLS13 uint16 = 0x0304
)

// A Content is what a record carries as far as an onlooker can tell, TLS 1.3's
// disguise considered. The zero Content is none.
type Content uint8

const (
	Handshake Content = iota + 1
	AlertContent
	ChangeCipherSpec
	ApplicationData
	Heartbeat
	EarlyData
)

var contentNames = [...]string{"none", "handshake", "alert", "change_cipher_spec", "application_data", "heartbeat", "early_data"}

// String returns the name policies use.
func (c Content) String() string { return name(contentNames[:], uint8(c)) }

// A Header is a record's header and what its body is.
type Header struct {
	Length  uint16 // of the body, at most 16384 + 2048
	Version uint16
	Type    ContentType
	Content Content
	// Inferred is set if Content was concluded from lengths and order,
	// because the record is encrypted and says only application_data.
	Inferred bool
}

// RecordHeaderLen is what stands before a record's body.
const RecordHeaderLen = 5

const (
	recordHeaderLen = RecordHeaderLen
	maxPlaintext    = 16384        // RFC 8446, Section 5.1
	maxCiphertext   = 16384 + 2048 // RFC 5246, Section 6.2.3

	// What crypto/tls takes for a record version before a version is
	// negotiated; other servers insist on major version 3.
	maxRecordVersion = 0x0fff
)

// An AlertLevel is a level of RFC 8446, Section 6.
type AlertLevel uint8

const (
	AlertLevelWarning AlertLevel = 1
	AlertLevelFatal   AlertLevel = 2
)

func (l AlertLevel) String() string { return name([]string{"none", "warning", "fatal"}, uint8(l)) }

// An AlertMessage is an alert that passed. Level and Description are zero if
// Encrypted.
type AlertMessage struct {
	Level       AlertLevel
	Description uint8
	Encrypted   bool
	// Inferred is set if not even the record type says that this is an
	// alert (TLS 1.3), only its length.
	Inferred bool
}
