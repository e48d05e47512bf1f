package tlswire

// Limits bounds what one Conn keeps and how long it reads on. A zero field is
// its default.
type Limits struct {
	Hello             int // body of any handshake message but Certificate, bytes; 64 KiB
	Certificate       int // body of a Certificate message, bytes; 192 KiB
	RecordsPerMessage int // records one handshake message is spread over; 16384
}

const (
	defaultHello             = 64 << 10
	defaultCertificate       = 192 << 10
	defaultRecordsPerMessage = 16384
)

func (l *Limits) message(t HandshakeType) int {
	if t == TypeCertificate {
		return orDefault(l.Certificate, defaultCertificate)
	}
	return orDefault(l.Hello, defaultHello)
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
	free [][]byte
}

const (
	// A buffer begins small whatever length a message claims: a sender must
	// not command 64 KiB with four bytes. Most hellos with an ML-KEM share
	// fit in.
	bufferSize    = 2048
	maxFreeBuffer = 16 << 10
	maxFree       = 256
)

func (p *Buffers) get() []byte {
	if p == nil || len(p.free) == 0 {
		return make([]byte, 0, bufferSize)
	}
	last := len(p.free) - 1
	b := p.free[last]
	p.free[last] = nil
	p.free = p.free[:last]
	return b
}

func (p *Buffers) put(b []byte) {
	if p != nil && b != nil && cap(b) <= maxFreeBuffer && len(p.free) < maxFree {
		p.free = append(p.free, b[:0])
	}
}
