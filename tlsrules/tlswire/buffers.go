package tlswire

import "math/bits"

// Limits bounds what one Conn keeps and how long it reads on. A zero field is
// its default, and so is all of a nil Limits.
type Limits struct {
	Hello             int // body of any other handshake message, bytes; 64 KiB
	Certificate       int // body of a Certificate or CertificateRequest, bytes; 192 KiB
	RecordsPerMessage int // records one handshake message is spread over; 16384
}

const (
	defaultHello             = 64 << 10
	defaultCertificate       = 192 << 10
	defaultRecordsPerMessage = 16384
)

func (l *Limits) message(t HandshakeType) int {
	switch {
	case l == nil:
		return (&Limits{}).message(t)
	case t == TypeCertificate, t == TypeCertificateRequest: // the names of all authorities can be as long
		return orDefault(l.Certificate, defaultCertificate)
	}
	return orDefault(l.Hello, defaultHello)
}

func (l *Limits) recordsPerMessage() int {
	if l == nil {
		return defaultRecordsPerMessage
	}
	return orDefault(l.RecordsPerMessage, defaultRecordsPerMessage)
}

func orDefault(n, def int) int {
	if n <= 0 {
		return def
	}
	return n
}

// Buffers are the buffers of handshake messages that are only partly there,
// shared by the Conns of one goroutine. The zero Buffers is ready for use. It
// is not safe for concurrent use.
type Buffers struct {
	free [len(bufferClasses)][][]byte
	held int
	// hello is for a second ClientHello: if it is broken the first one stays.
	hello ClientHello
}

// Held returns how many bytes all Conns that share p hold for messages that are
// only partly there.
func (p *Buffers) Held() int { return p.held }

// bufferClasses are the sizes kept for use again, and how many of each. A buffer
// begins as small as what is there of a message, whatever length it claims: a
// sender must not command 64 KiB with four bytes. Most hellos with an ML-KEM
// share fit in the first size, most chains of certificates in the second.
var bufferClasses = [...]struct{ size, free int }{
	{2 << 10, 256},
	{8 << 10, 64},
	{32 << 10, 8},
}

// grow returns a buffer with what b holds and room for n bytes more: b itself if
// it has that, else b is given back. b may be nil.
func (p *Buffers) grow(b []byte, n int) []byte {
	if need := len(b) + n; need > cap(b) {
		larger := append(p.get(need), b...)
		p.put(b)
		return larger
	}
	return b
}

// get returns an empty buffer with room for n bytes.
func (p *Buffers) get(n int) []byte {
	b := p.take(n)
	if p != nil {
		p.held += cap(b)
	}
	return b
}

func (p *Buffers) take(n int) []byte {
	for i, class := range bufferClasses {
		if n > class.size {
			continue
		}
		if p == nil || len(p.free[i]) == 0 {
			return make([]byte, 0, class.size)
		}
		last := len(p.free[i]) - 1
		b := p.free[i][last]
		p.free[i][last] = nil
		p.free[i] = p.free[i][:last]
		return b
	}
	return make([]byte, 0, 1<<bits.Len(uint(n-1)))
}

// put takes a buffer back; of sizes that are rarely needed it is let go of.
func (p *Buffers) put(b []byte) {
	if p == nil {
		return
	}
	p.held -= cap(b)
	for i, class := range bufferClasses {
		if cap(b) == class.size && len(p.free[i]) < class.free {
			p.free[i] = append(p.free[i], b[:0])
		}
	}
}
