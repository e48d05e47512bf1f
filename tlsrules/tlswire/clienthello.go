package tlswire

import (
	"iter"
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// A ClientHello is what a client offers: RFC 8446, Section 4.1.2 and its
// predecessors. Lists are as sent, in the order of the wire, GREASE included.
//
// The zero ClientHello is ready for ParseClientHello. It owns its memory:
// slices do not refer to packets, and are overwritten by the next
// ParseClientHello into the same struct. It must not be copied and then parsed
// into again. A nil slice is an absent extension, save where a Has field says
// more.
type ClientHello struct {
	LegacyVersion uint16
	Random        [32]byte
	SessionID     []byte
	CipherSuites  []uint16
	Extensions    []uint16

	ServerName          []byte // the host_name of RFC 6066, Section 3, neither checked nor lowered
	ALPN                ProtocolList
	SupportedVersions   []uint16
	SupportedGroups     []uint16
	KeyShares           []uint16 // the groups of the shares
	SignatureAlgorithms []uint16
	ECPointFormats      []byte

	Length  int32 // of the message, header included, bytes
	Records int32 // it came in; 0 if not read by a Conn, or SSLv2

	SessionTicketLength    uint16 // bytes; 0 with HasSessionTicket asks for a new ticket
	RecordSizeLimit        uint16 // RFC 8449; 0 is none
	ECH                    ECH
	Compressions           Compressions
	PSKModes               PSKModes
	Heartbeat              HeartbeatMode
	MaxFragmentLength      uint8 // the code of RFC 6066, Section 4; 0 is none
	CertificateCompression CertificateCompressions

	HasServerName        bool
	HasSessionTicket     bool
	PSK                  bool // pre_shared_key: asks to resume (TLS 1.3)
	EarlyData            bool
	RenegotiationInfo    bool // the extension; the SCSV is in CipherSuites
	ExtendedMasterSecret bool
	EncryptThenMAC       bool
	StatusRequest        bool
	Cookie               bool // answers a HelloRetryRequest that asked for it
	DelegatedCredential  bool // RFC 9345
	SSLv2                bool // came in the format of RFC 5246, Appendix E.2

	prints fingerprints
	seldom *seldom

	words  []uint16 // behind the lists of numbers
	octets []byte   // behind the lists of bytes
}

// An ECH is the encrypted_client_hello extension (RFC 9849, Section 5) of a
// hello whose ServerName is then the outer one. GREASE ECH is made to look the
// same (Section 6.2): whether there is a hello inside nobody but the server can
// tell.
type ECH struct {
	Present   bool
	Inner     bool // the marker of an inner hello
	ConfigID  uint8
	KDF       uint16
	AEAD      uint16
	EncLength uint16 // of the encapsulated key, bytes; 0 in the answer to a HelloRetryRequest
	Length    uint16 // of the encrypted hello, bytes
}

// A ProtocolList is the list of RFC 7301, Section 3.1 as it stands on the wire:
// names with a length byte each. Conn and ParseClientHello check it first; of a
// broken list the part before the fault is used.
type ProtocolList []byte

// All iterates over the names in the order of the wire. They are views of the
// list.
func (l ProtocolList) All() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		s := cryptobyte.String(l)
		var p cryptobyte.String
		for s.ReadUint8LengthPrefixed(&p) {
			if !yield(p) {
				return
			}
		}
	}
}

// Contains reports whether the list has the name.
func (l ProtocolList) Contains(name string) bool {
	for p := range l.All() {
		if string(p) == name {
			return true
		}
	}
	return false
}

// ParseClientHello reads the handshake message msg, with its four-byte header,
// into h. It accepts what crypto/tls accepts. After a fault h is not to be used.
func ParseClientHello(msg []byte, h *ClientHello) Fault {
	body, fault := messageBody(msg, TypeClientHello)
	if !fault.OK() {
		return fault
	}
	return h.parse(body)
}

// FallbackSCSV reports whether the client says that it has fallen back to a
// lower version (RFC 7507).
func (h *ClientHello) FallbackSCSV() bool {
	return slices.Contains(h.CipherSuites, cipherSuiteFallbackSCSV)
}

// A seldom is memory for what most hellos do not bring, allocated for the first
// that does. Whether it holds anything of the hello at hand, other fields say.
type seldom struct {
	tickets tickets
	first   firstHello
}

func (h *ClientHello) more() *seldom {
	if h.seldom == nil {
		h.seldom = new(seldom)
	}
	return h.seldom
}

// SecureRenegotiation reports whether the client says that it can renegotiate
// as RFC 5746 has it: by the extension or the signalling suite.
func (h *ClientHello) SecureRenegotiation() bool {
	return h.RenegotiationInfo || slices.Contains(h.CipherSuites, cipherSuiteRenegotiationSCSV)
}

// clear empties h but keeps its memory, unless that has grown beyond what
// ordinary hellos need.
func (h *ClientHello) clear() {
	words, octets, seldom := h.words[:0], h.octets[:0], h.seldom
	if cap(words) > maxKept {
		words = nil
	}
	if cap(octets) > maxKept {
		octets = nil
	}
	if seldom != nil && cap(seldom.first.text) > maxKept {
		seldom = nil
	}
	*h = ClientHello{words: words, octets: octets, seldom: seldom}
}

// maxKept bounds what a hello keeps for the next one: a client that sends one
// fat hello must not own that memory for good.
const maxKept = 1024

// reserve makes room for an ordinary hello at once.
func (h *ClientHello) reserve() {
	h.clear()
	if h.words == nil {
		h.words = make([]uint16, 0, 64)
	}
	if h.octets == nil {
		h.octets = make([]byte, 0, 96)
	}
}

func (h *ClientHello) parse(body []byte) Fault {
	h.reserve()
	length := messageHeaderLen + len(body)
	h.Length = int32(length)
	s := cryptobyte.String(body)
	at := func(f FaultField) Fault { return faultAt(f, length-len(s)) }

	var field cryptobyte.String
	if !s.ReadUint16(&h.LegacyVersion) {
		return at(FaultVersion)
	}
	if !s.CopyBytes(h.Random[:]) {
		return at(FaultRandom)
	}
	if !s.ReadUint8LengthPrefixed(&field) {
		return at(FaultSessionID)
	}
	h.SessionID = h.bytes(field)
	if !s.ReadUint16LengthPrefixed(&field) || !h.numbers(&h.CipherSuites, field) {
		return at(FaultCipherSuites)
	}
	if !s.ReadUint8LengthPrefixed(&field) {
		return at(FaultCompressionMethods)
	}
	for _, v := range field {
		h.Compressions |= CompressionOf(v)
	}
	if s.Empty() {
		return Fault{} // RFC 5246, Section 7.4.1.2
	}
	var extensions cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&extensions) || !s.Empty() {
		return at(FaultExtensions)
	}
	start := length - len(extensions)
	var fault Fault
	h.words, fault = appendExtensions(h.words, extensions, start)
	if !fault.OK() {
		return fault
	}
	h.Extensions = h.words[len(h.CipherSuites):len(h.words):len(h.words)]
	for !extensions.Empty() {
		offset := length - len(extensions)
		var id uint16
		extensions.ReadUint16(&id)
		extensions.ReadUint16LengthPrefixed(&field)
		if f := h.extension(id, field, extensions.Empty()); f != FaultNone {
			return faultAt(f, offset)
		}
	}
	return Fault{}
}
