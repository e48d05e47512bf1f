package adversary

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"tlsgate/conntrack/packet"
)

// Stack is how a receiver differs from others where RFC 9293 leaves it the choice,
// or is not kept to. The zero Stack is Linux's, but for its overlaps.
type Stack struct {
	Name string
	// Later: of two copies not yet read the later one counts.
	Later bool
	// Inline: urgent data is part of the stream.
	Inline bool
	// RFC793: any RST or SYN in the window ends the connection, and data needs no
	// acknowledgement.
	RFC793 bool
	// FastOpen takes data on a SYN without a cookie.
	FastOpen bool
	// Plain ignores the options that Linux discards a segment for: MD5, AO, old
	// timestamps.
	Plain bool
	// Cookies: a SYN is answered, and nothing kept of it (RFC 4987, Section 3.6; as
	// syncookies.c has it). Cookies of Larger larger segment sizes are taken too.
	Cookies bool
	Larger  uint32
	// Lenient TLS reads over ChangeCipherSpec, empty records and warnings.
	Lenient bool
}

// Stacks are those the tricks are played against.
func Stacks() []Stack {
	return []Stack{
		{Name: "Linux"},
		{Name: "later copies, urgent data in line, fast open", Later: true, Inline: true, FastOpen: true, Plain: true, Lenient: true},
		{Name: "RFC 793", RFC793: true, Plain: true},
		{Name: "RFC 793, later copies", RFC793: true, Later: true, Inline: true, Lenient: true},
	}
}

// Stacks are those that a trick is played against.
func (t *Trick) Stacks() []Stack {
	if t.Group == Cookies {
		return append(Stacks(), Stack{Name: "Linux with SYN cookies", Cookies: true}, Stack{Name: "the same, IPv6", Cookies: true, Larger: 1},
			Stack{Name: "RFC 793 with SYN cookies", RFC793: true, Cookies: true})
	}
	return Stacks()
}

// receiver is the server of the model: one port of a host.
type receiver struct {
	Stack
	addr netip.AddrPort
	send func(ip []byte)

	peer     netip.AddrPort
	state    receiverState
	iss, irs uint32
	next     uint32 // of the client's, expected
	early    map[uint32]byte
	stream   []byte
	urgent   map[uint32]bool // bytes left out of the stream
	stamps   bool
	newest   uint32
	reply    []byte
	una      uint32
	names    []string          // that its program has seen
	began    int               // connections
	minute   uint32            // of its cookies
	fin      bool              // it has said its last, and waits for that to be acknowledged
	flights  int               // answers
	base     uint32            // bytes said before the program's answer
	greet    func(r *receiver) // answers a SYN; nil sends a SYN-ACK
	greeted  int               // times
	speak    func(r *receiver) // sends the answer; nil sends it as TCP does
}

type receiverState uint8

const (
	listening receiverState = iota
	received                // a SYN
	established
	closed
)

const receiverWindow = 0xffff

// segment sends one.
func (r *receiver) segment(seq uint32, f packet.Flags, b []byte) {
	s := r.made(seq, f, b)
	r.send(s.Packet())
}

// made is a segment of the receiver's.
func (r *receiver) made(seq uint32, f packet.Flags, b []byte) Segment {
	s := Segment{From: r.addr, To: r.peer, Seq: seq, Ack: r.next, Flags: f, Window: receiverWindow, Payload: b}
	if r.stamps {
		s.Options = stamp(1, r.newest)
	}
	return s
}

// last is the number behind all that it has sent.
func (r *receiver) last() uint32 {
	if r.fin {
		return r.sent() + 1
	}
	return r.sent()
}

// back is how old an acknowledgement may be (RFC 5961, Section 5.2): as old as the
// largest window that its client has advertised, which may be any.
func (r *receiver) back() int32 {
	if r.Cookies {
		return 1 << 30
	}
	return receiverWindow
}

func (r *receiver) sent() uint32 { return r.iss + 1 + r.base + uint32(len(r.reply)) }

// receive takes a packet as a host would.
func (r *receiver) receive(ip []byte) {
	var t packet.Parsed
	if packet.Decode(ip, &t) != packet.OK || !t.ChecksumOK() || t.Dst != r.addr.Addr() || t.DstPort != r.addr.Port() {
		return
	}
	from := netip.AddrPortFrom(t.Src, t.SrcPort)
	switch {
	case t.Signed && !r.Plain:
	case (r.state == listening || r.state == closed) && r.cookie(from, &t):
		r.segmentArrives(&t)
	case r.state == listening || r.state == closed || from != r.peer:
		r.listen(from, &t)
	default:
		r.segmentArrives(&t)
	}
}

// listen is RFC 9293, Section 3.10.7.2.
func (r *receiver) listen(from netip.AddrPort, t *packet.Parsed) {
	if t.Flags.Has(packet.RST) || !t.Flags.Has(packet.SYN) || t.Flags.Has(packet.ACK) || t.Flags.Has(packet.FIN) && !r.RFC793 {
		return
	}
	r.peer, r.state, r.irs = from, received, uint32(t.Seq)
	r.iss = 0x50000000 + uint32(r.began)*0x01000000
	if r.Cookies {
		r.state, r.iss = listening, r.irs+cookieAhead(r.minute)
	}
	r.began++
	r.base, r.next, r.una, r.stamps, r.newest = 0, r.irs+1, r.iss, t.HasTimestamp, t.TSVal
	r.greeted = 0
	r.stream, r.reply, r.early, r.urgent = nil, nil, map[uint32]byte{}, map[uint32]bool{}
	if r.FastOpen {
		r.text(uint32(t.Seq)+1, t)
	}
	r.answer()
}

// cookieAhead is what a SYN cookie of a minute is further than the client's number, for
// the largest segment size.
func cookieAhead(minute uint32) uint32 { return 0x40000003 + minute*0x01012340 }

// cookie begins the connection whose SYN-ACK, of this minute or the one before, a segment
// acknowledges.
func (r *receiver) cookie(from netip.AddrPort, t *packet.Parsed) bool {
	if !r.Cookies || t.Flags&(packet.SYN|packet.RST|packet.ACK) != packet.ACK {
		return false
	}
	ahead := uint32(t.Ack) - uint32(t.Seq)
	if cookieAhead(r.minute)+r.Larger-ahead > 3 && (r.minute == 0 || cookieAhead(r.minute-1)+r.Larger-ahead > 3) {
		return false
	}
	r.peer, r.state, r.irs, r.iss = from, received, uint32(t.Seq)-1, uint32(t.Ack)-1
	r.base, r.next, r.una, r.stamps, r.fin = 0, r.irs+1, r.iss, false, false
	r.stream, r.reply, r.early, r.urgent = nil, nil, map[uint32]byte{}, map[uint32]bool{}
	return true
}

// answer is the SYN-ACK.
func (r *receiver) answer() {
	r.greeted++
	if r.greet != nil {
		r.greet(r)
		return
	}
	s := r.made(r.iss, packet.SYN|packet.ACK, nil)
	if r.Cookies && r.stamps { // what windows are scaled by the timestamp remembers (syncookies.c:cookie_init_timestamp)
		s.Options = append(s.Options, 1, 3, 3, 7)
	}
	r.send(s.Packet())
}

// segmentArrives is RFC 9293, Section 3.10.7.4, with RFC 5961.
func (r *receiver) segmentArrives(t *packet.Parsed) {
	seq, ahead := uint32(t.Seq), int32(uint32(t.Seq)-r.next)
	switch {
	case t.Flags.Has(packet.SYN|packet.ACK) && r.state == received && seq == r.irs && uint32(t.Ack) == r.iss+1:
		r.state = established // by a simultaneous open
		r.una = r.iss + 1
		r.challenge()
		return
	case t.Flags.Has(packet.SYN) && r.state == received && seq == r.irs:
		r.answer()
		return
	case t.Flags.Has(packet.RST):
		if seq == r.next || r.RFC793 && ahead >= 0 && ahead < receiverWindow || r.fin && seq == r.next-1 { // tcp_input.c:tcp_reset_check
			r.state = closed
		}
		return
	case t.Flags.Has(packet.SYN):
		if r.RFC793 && ahead >= 0 && ahead < receiverWindow { // page 71
			reset := r.made(r.sent(), packet.RST|packet.ACK, nil)
			r.state = closed
			r.send(reset.Packet())
			return
		}
		r.challenge()
		return
	case ahead > receiverWindow || ahead < -receiverWindow:
		r.challenge()
		return
	case !t.Flags.Has(packet.ACK) && !r.RFC793:
		return
	case t.Flags.Has(packet.ACK) && int32(uint32(t.Ack)-r.last()) > 0, t.Flags.Has(packet.ACK) && int32(uint32(t.Ack)-r.una) < -r.back():
		r.challenge()
		return
	case r.stamps && !r.Plain && t.HasTimestamp && int32(t.TSVal-r.newest) < 0:
		r.challenge()
		return
	case r.stamps && !r.Plain && !t.HasTimestamp: // RFC 7323, Section 3.2: MAY be discarded, and Linux takes it
	}
	if t.Flags.Has(packet.ACK) {
		if r.state == received && uint32(t.Ack) == r.iss+1 {
			r.state = established
			r.read() // what came with the SYN
		}
		if int32(uint32(t.Ack)-r.una) > 0 {
			r.una = uint32(t.Ack)
		}
	}
	if t.HasTimestamp && ahead <= 0 && int32(t.TSVal-r.newest) > 0 {
		r.newest = t.TSVal
	}
	if r.fin && t.Flags.Has(packet.ACK) && uint32(t.Ack) == r.sent()+1 {
		r.state = closed
	}
	if r.state != established || r.fin {
		return
	}
	if t.Flags.Has(packet.URG) && !r.Inline && t.Urgent > 0 {
		r.urgent[seq+uint32(t.Urgent)-1] = true
	}
	if len(t.Payload) > 0 {
		r.text(seq, t)
	} else if ahead < 0 {
		r.challenge() // a keep-alive
	}
	if t.Flags.Has(packet.FIN) && seq+uint32(len(t.Payload)) == r.next { // it closes too
		r.next++
		r.segment(r.sent(), packet.FIN|packet.ACK, nil)
		if r.fin = r.Cookies; !r.fin {
			r.state = closed
		}
	}
}

func (r *receiver) challenge() { r.segment(r.sent(), packet.ACK, nil) }

// text takes the payload, and gives the program what is in order.
func (r *receiver) text(seq uint32, t *packet.Parsed) {
	for i, v := range t.Payload {
		at := seq + uint32(i)
		if d := int32(at - r.next); d < 0 || d >= receiverWindow {
			continue
		}
		if _, has := r.early[at]; !has || r.Later {
			r.early[at] = v
		}
	}
	before := r.next
	for v, ok := r.early[r.next]; ok; v, ok = r.early[r.next] {
		delete(r.early, r.next)
		if !r.urgent[r.next] {
			r.stream = append(r.stream, v)
		}
		r.next++
	}
	if r.state == established && (r.next == before || !r.read()) {
		r.segment(r.sent(), packet.ACK, nil)
	}
}

// read gives the stream to the program, and reports whether it has an answer.
func (r *receiver) read() bool {
	if len(r.stream) == 0 || len(r.reply) > 0 && !answers(r.reply)[0].Retry {
		return false
	}
	flight := r.program()
	if len(flight) <= len(r.reply) || !bytes.HasPrefix(flight, r.reply) {
		return false
	}
	r.reply = flight
	r.flights++
	r.say()
	return true
}

// say sends what the client has not acknowledged.
func (r *receiver) say() {
	const size = 1400
	if r.speak != nil && len(r.reply) > 0 {
		r.speak(r)
		return
	}
	for at := max(int(int32(r.una-r.iss-1-r.base)), 0); at < len(r.reply); at += size {
		r.segment(r.iss+1+r.base+uint32(at), packet.ACK|packet.PSH, r.reply[at:min(at+size, len(r.reply))])
	}
}

// again is what its timers do.
func (r *receiver) again() {
	switch {
	case r.state == received:
		r.answer()
	case r.state == established:
		r.say()
	}
}

// program gives the stream to a TLS server, and returns its first flight.
func (r *receiver) program() []byte {
	name, flight := serve(r.stream)
	if name == "" && r.Lenient {
		name, flight = serve(lenient(r.stream))
	}
	if name != "" {
		r.names = append(r.names, name)
	}
	return flight
}

// lenient takes out what some servers read over in front of a hello's records, and
// between them: OpenSSL empty records, GnuTLS ChangeCipherSpec, older ones warnings.
func lenient(b []byte) (out []byte) {
	for len(b) >= 5 {
		n := 5 + int(b[3])<<8 + int(b[4])
		if n > len(b) {
			break
		}
		switch {
		case b[0] == recordHandshake && n == 5, b[0] == recordCCS && n <= 6, b[0] == recordAlert && n == 7 && b[5] == 1 && b[6] != 0:
		default:
			out = append(out, b[:n]...)
		}
		b = b[n:]
	}
	return append(out, b...)
}

// serve has a TLS server read b, and returns the name in the hello and what it
// says to it. A name that is not there is "none".
func serve(b []byte) (name string, flight []byte) {
	config := serverConfig().Clone()
	config.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		if name = strings.ToLower(h.ServerName); name == "" {
			name = "none"
		}
		return nil, nil
	}
	var c program
	c.in.Reset(b)
	tls.Server(&c, config).Handshake()
	if len(answers(c.out.Bytes())) == 0 {
		return name, nil // an alert, which is no answer to what is not there yet
	}
	return name, c.out.Bytes()
}

var serverConfig = sync.OnceValue(func() *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
})

// program is the connection of a server that has all it will get.
type program struct {
	net.Conn
	in  bytes.Reader
	out bytes.Buffer
}

func (c *program) Read(b []byte) (int, error)       { return c.in.Read(b) }
func (c *program) Write(b []byte) (int, error)      { return c.out.Write(b) }
func (c *program) SetDeadline(time.Time) error      { return nil }
func (c *program) SetWriteDeadline(time.Time) error { return nil }
func (c *program) Close() error                     { return nil }

var _ io.Reader = (*program)(nil)
