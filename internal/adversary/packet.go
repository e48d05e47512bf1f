package adversary

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"tlsgate/conntrack/packet"
)

// Segment is a TCP segment as nobody's kernel would send it. The zero values of
// what is odd are ordinary.
type Segment struct {
	From, To netip.AddrPort
	Seq, Ack uint32
	Flags    packet.Flags
	Window   uint16
	Pointer  uint16 // urgent
	Options  []byte // padded by Packet with zeroes
	Payload  []byte

	TTL         uint8 // 64
	Reserved    uint8 // the four bits beside the data offset
	Offset      uint8 // the data offset in words, if it is to lie
	BadChecksum bool
	Sum         uint16   // added to the checksum
	Longer      int      // the IP length lies by so much
	IPOptions   []byte   // IPv4, padded by Packet
	Headers     []Header // IPv6, in front of TCP
	Protocol    uint8    // instead of TCP
	BadHeader   bool     // the IPv4 header's checksum is wrong
}

// Header is an IPv6 extension header: its kind, and what follows the first octet,
// which says what comes next.
type Header struct {
	Kind byte
	Body []byte
}

const protocolTCP = 6

// padded returns options up to a multiple of four octets.
func padded(b []byte) []byte {
	return append(slices.Clone(b), make([]byte, -len(b)&3)...)
}

// Packet builds the IP packet.
func (s *Segment) Packet() []byte {
	tcp := s.tcp()
	ttl, protocol := s.TTL, s.Protocol
	if ttl == 0 {
		ttl = 64
	}
	if protocol == 0 {
		protocol = protocolTCP
	}
	if s.From.Addr().Is4() {
		options := padded(s.IPOptions)
		b := []byte{byte(0x45 + len(options)/4), 0, 0, 0, 0, 1, 0x40, 0, ttl, protocol, 0, 0}
		b = append(append(b, s.From.Addr().AsSlice()...), s.To.Addr().AsSlice()...)
		b = append(b, options...)
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)+len(tcp)+s.Longer))
		binary.BigEndian.PutUint16(b[10:], ^sum(0, b))
		if s.BadHeader {
			b[10] ^= 0x55
		}
		return append(b, tcp...)
	}
	var chain []byte
	first := protocol
	for i, h := range s.Headers {
		next := protocol
		if i == 0 {
			first = h.Kind
		}
		if i+1 < len(s.Headers) {
			next = s.Headers[i+1].Kind
		}
		chain = append(append(chain, next), h.Body...)
	}
	b := []byte{0x60, 0, 0, 0, 0, 0, first, ttl}
	binary.BigEndian.PutUint16(b[4:], uint16(len(chain)+len(tcp)+s.Longer))
	b = append(append(b, s.From.Addr().AsSlice()...), s.To.Addr().AsSlice()...)
	return append(append(b, chain...), tcp...)
}

func (s *Segment) tcp() []byte {
	options := padded(s.Options)
	b := binary.BigEndian.AppendUint16(nil, s.From.Port())
	b = binary.BigEndian.AppendUint16(b, s.To.Port())
	b = binary.BigEndian.AppendUint32(b, s.Seq)
	b = binary.BigEndian.AppendUint32(b, s.Ack)
	words := byte(5 + len(options)/4)
	if s.Offset != 0 {
		words = s.Offset
	}
	b = append(b, words<<4|s.Reserved&15, byte(s.Flags))
	b = binary.BigEndian.AppendUint16(b, s.Window)
	b = binary.BigEndian.AppendUint16(append(b, 0, 0), s.Pointer)
	b = append(append(b, options...), s.Payload...)
	binary.BigEndian.PutUint16(b[16:], ^sum(pseudo(s.From.Addr(), s.To.Addr(), len(b)), b)+s.Sum)
	if s.BadChecksum {
		b[16] ^= 0x55
	}
	return b
}

// pseudo is the sum of the pseudo-header, RFC 9293, Section 3.1.
func pseudo(from, to netip.Addr, n int) uint16 {
	b := append(from.AsSlice(), to.AsSlice()...)
	return sum(0, append(b, 0, protocolTCP, byte(n>>8), byte(n)))
}

// sum is RFC 1071's, folded.
func sum(start uint16, b []byte) uint16 {
	n := uint32(start)
	for i, v := range b {
		n += uint32(v) << (8 * (^i & 1))
	}
	for n>>16 != 0 {
		n = n>>16 + n&0xffff
	}
	return uint16(n)
}

// Piece is a part of a datagram to be sent as a fragment: the bytes [From, To) of
// what fragments carry, instead of which Bytes may stand.
type Piece struct {
	From, To int
	Bytes    []byte
	Last     bool // no more fragments, whatever follows
}

// Fragments cuts a packet into fragments (RFC 791, Section 3.2; RFC 8200, Section
// 4.5). What they carry is the TCP segment, and for IPv6 no header before it.
func Fragments(ip []byte, id uint32, pieces ...Piece) (out [][]byte) {
	four := ip[0]>>4 == 4
	head := 40
	if four {
		head = int(ip[0]&15) * 4
	}
	body := ip[head:]
	for _, p := range pieces {
		bytes := p.Bytes
		if bytes == nil {
			bytes = body[p.From:min(p.To, len(body))]
		}
		more := uint16(1)
		if p.Last || p.From+len(bytes) >= len(body) {
			more = 0
		}
		b := slices.Clone(ip[:head])
		if four {
			binary.BigEndian.PutUint16(b[2:], uint16(head+len(bytes)))
			binary.BigEndian.PutUint16(b[4:], uint16(id))
			binary.BigEndian.PutUint16(b[6:], more<<13|uint16(p.From/8))
			b[10], b[11] = 0, 0
			binary.BigEndian.PutUint16(b[10:], ^sum(0, b))
		} else {
			binary.BigEndian.PutUint16(b[4:], uint16(8+len(bytes)))
			next := b[6]
			b[6] = 44
			b = append(b, next, 0, 0, 0)
			binary.BigEndian.PutUint16(b[42:], uint16(p.From/8)<<3|more)
			b = binary.BigEndian.AppendUint32(b, id)
		}
		out = append(out, append(b, bytes...))
	}
	return out
}
