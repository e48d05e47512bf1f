package tlswire

import "encoding/binary"

// A Packing puts values into bytes, one behind the other, or takes them out again. One
// walk over the fields does both, so that what is put is what is taken. It is for
// memory alone: what was put by another version of this program must not be taken.
//
// The zero Packing puts.
type Packing struct {
	bytes []byte // put so far, or not taken yet
	takes bool
}

// PutInto returns a Packing that puts values behind dst.
func PutInto(dst []byte) Packing { return Packing{bytes: dst} }

// TakeFrom returns a Packing that takes what was put into b.
func TakeFrom(b []byte) Packing { return Packing{bytes: b, takes: true} }

// Takes reports whether values are taken out.
func (p *Packing) Takes() bool { return p.takes }

// Bytes returns what was put so far, or is not taken yet.
func (p *Packing) Bytes() []byte { return p.bytes }

// PackNumber packs a number: a small one takes one byte.
func PackNumber[T ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~int32](p *Packing, v *T) {
	if !p.takes {
		p.bytes = binary.AppendUvarint(p.bytes, uint64(*v))
		return
	}
	n, size := binary.Uvarint(p.bytes)
	*v, p.bytes = T(n), p.bytes[max(size, 0):]
}

// Raw packs bytes whose number is known.
func (p *Packing) Raw(b []byte) {
	if !p.takes {
		p.bytes = append(p.bytes, b...)
		return
	}
	p.bytes = p.bytes[copy(b, p.bytes):]
}

// Flags packs up to eight flags.
func (p *Packing) Flags(all ...*bool) {
	var bits uint8
	for i, f := range all {
		if *f {
			bits |= 1 << i
		}
	}
	p.Raw8(&bits)
	for i, f := range all {
		*f = bits&(1<<i) != 0
	}
}

// Raw8 packs a byte as it is.
func (p *Packing) Raw8(v *uint8) {
	switch {
	case !p.takes:
		p.bytes = append(p.bytes, *v)
	case len(p.bytes) > 0:
		*v, p.bytes = p.bytes[0], p.bytes[1:]
	}
}

// length packs how long a list is, and whether there is one; ok is false for none.
func (p *Packing) length(n int, is bool) (int, bool) {
	v := uint32(0)
	if is {
		v = uint32(n) + 1
	}
	PackNumber(p, &v)
	return int(v) - 1, v > 0
}

// octets packs a list of bytes, which is taken into memory.
func (p *Packing) octets(memory, list *[]byte) {
	n, ok := p.length(len(*list), *list != nil)
	switch {
	case !p.takes:
		p.bytes = append(p.bytes, *list...)
	case !ok:
		*list = nil
	default:
		n = min(n, len(p.bytes))
		start := len(*memory)
		*memory = append(*memory, p.bytes[:n]...)
		*list, p.bytes = (*memory)[start:len(*memory):len(*memory)], p.bytes[n:]
	}
}

// words packs a list of numbers, which is taken into memory.
func (p *Packing) words(memory, list *[]uint16) {
	n, ok := p.length(len(*list), *list != nil)
	switch {
	case !p.takes:
		for _, v := range *list {
			p.bytes = binary.BigEndian.AppendUint16(p.bytes, v)
		}
	case !ok:
		*list = nil
	default:
		n = min(n, len(p.bytes)/2)
		start := len(*memory)
		for i := range n {
			*memory = append(*memory, binary.BigEndian.Uint16(p.bytes[2*i:]))
		}
		*list, p.bytes = (*memory)[start:len(*memory):len(*memory)], p.bytes[2*n:]
	}
}

// Packs reports whether a Conn can be packed: no message is only partly there. What
// Message has returned is not valid any more.
func (c *Conn) Packs() bool {
	c.takeBack()
	return c.sides[0].buf == nil && c.sides[1].buf == nil
}

// Pack packs a Conn for which Packs is true, or fills one that was Reset. Fingerprints
// that were computed are computed again.
func (c *Conn) Pack(p *Packing) {
	PackNumber(p, &c.Protocol)
	PackNumber(p, &c.Phase)
	for _, v := range [...]*uint16{
		&c.Version, &c.ServerGroup, &c.DHBits, &c.SignatureScheme, &c.RetryGroup,
		&c.Heartbeats.Requests, &c.Heartbeats.Responses, &c.Heartbeats.Lies, &c.Heartbeats.Inferred,
	} {
		PackNumber(p, v)
	}
	p.Flags(&c.GroupSettled, &c.OCSPStapled, &c.HasClientHello, &c.HasServerHello, &c.Retry, &c.RetryCookie, &c.HandshakeDone, &c.rolesKnown)
	p.Flags(&c.retryAnswered, &c.renegotiating, &c.exchanged, &c.certified[0], &c.certified[1], &c.LastAlert.Encrypted, &c.LastAlert.Inferred)
	PackNumber(p, &c.ClientHelloFrom)
	PackNumber(p, &c.LastAlert.Level)
	PackNumber(p, &c.LastAlert.Description)
	PackNumber(p, &c.LastMessage.Type)
	PackNumber(p, &c.LastMessage.Length)
	PackNumber(p, &c.Fault.Field)
	PackNumber(p, &c.Fault.Offset)
	for i := range c.sides {
		PackNumber(p, &c.CertificateType[i])
		PackNumber(p, &c.Renegotiations[i])
		for k := range c.Records[i] {
			PackNumber(p, &c.Records[i][k])
		}
		c.Header[i].pack(p)
		c.sides[i].pack(p)
	}
	if c.HasClientHello {
		c.ClientHello.pack(p)
	}
	if c.HasServerHello || c.Retry {
		c.ServerHello.pack(p)
	}
}

func (h *Header) pack(p *Packing) {
	PackNumber(p, &h.Length)
	PackNumber(p, &h.Version)
	PackNumber(p, &h.Type)
	PackNumber(p, &h.Content)
	p.Flags(&h.Inferred)
}

func (s *side) pack(p *Packing) {
	for _, v := range [...]*uint32{&s.read, &s.skip, &s.records, &s.flight} {
		PackNumber(p, v)
	}
	PackNumber(p, &s.left)
	PackNumber(p, &s.heartbeat)
	p.Raw(s.head[:])
	p.Raw(s.message[:])
	for _, v := range [...]*uint8{&s.headLen, &s.messageLen, &s.flightRecords, (*uint8)(&s.rekeying), (*uint8)(&s.body), (*uint8)(&s.dead)} {
		p.Raw8(v)
	}
	p.Flags(&s.started, &s.skipping, &s.protected, &s.finished, &s.alerted)
}

func (h *ClientHello) pack(p *Packing) {
	if p.takes {
		h.reserve()
	}
	p.Raw(h.Random[:])
	for _, v := range [...]*uint16{&h.LegacyVersion, &h.SessionTicketLength, &h.RecordSizeLimit} {
		PackNumber(p, v)
	}
	for _, list := range [...]*[]byte{&h.SessionID, &h.ServerName, (*[]byte)(&h.ALPN), &h.ECPointFormats} {
		p.octets(&h.octets, list)
	}
	for _, list := range [...]*[]uint16{
		&h.CipherSuites, &h.Extensions, &h.SupportedVersions, &h.SupportedGroups, &h.KeyShares, &h.SignatureAlgorithms,
	} {
		p.words(&h.words, list)
	}
	PackNumber(p, &h.Length)
	PackNumber(p, &h.Records)
	for _, v := range [...]*uint8{
		(*uint8)(&h.Compressions), (*uint8)(&h.PSKModes), (*uint8)(&h.Heartbeat), &h.MaxFragmentLength, (*uint8)(&h.CertificateCompression),
	} {
		p.Raw8(v)
	}
	p.Flags(&h.HasServerName, &h.HasSessionTicket, &h.PSK, &h.EarlyData, &h.RenegotiationInfo, &h.ExtendedMasterSecret, &h.EncryptThenMAC, &h.StatusRequest)
	p.Flags(&h.Cookie, &h.DelegatedCredential, &h.SSLv2, &h.prints.answer, &h.ECH.Present, &h.ECH.Inner)
	if e := &h.ECH; e.Present {
		for _, v := range [...]*uint16{&e.KDF, &e.AEAD, &e.EncLength, &e.Length} {
			PackNumber(p, v)
		}
		p.Raw8(&e.ConfigID)
	}
	h.packSeldom(p)
}

// packSeldom packs what other fields say there is.
func (h *ClientHello) packSeldom(p *Packing) {
	if h.SessionTicketLength > 0 {
		p.Raw(h.more().tickets.ticket[:])
	}
	if h.PSK {
		t := &h.more().tickets
		PackNumber(p, &t.count)
		PackNumber(p, &t.binders)
		for i := range min(t.count, maxIdentities) {
			p.Raw(t.identities[i].Key[:])
			PackNumber(p, &t.identities[i].Length)
		}
	}
	if h.prints.answer {
		f := &h.more().first
		if p.takes {
			f.text = f.text[:0]
		}
		text := f.text
		p.octets(&f.text, &text)
		p.Raw(f.ja3[:])
		p.Raw(f.ja4[:])
	}
}

func (h *ServerHello) pack(p *Packing) {
	if p.takes {
		h.clear()
	}
	p.Raw(h.Random[:])
	for _, v := range [...]*uint16{&h.LegacyVersion, &h.Version, &h.CipherSuite, &h.Group} {
		PackNumber(p, v)
	}
	for _, list := range [...]*[]byte{&h.SessionID, &h.ALPN} {
		p.octets(&h.octets, list)
	}
	ids := h.Extensions
	p.words(&h.Extensions, &ids)
	p.Raw8(&h.Compression)
	p.Raw8((*uint8)(&h.Heartbeat))
	p.Flags(&h.PSK, &h.Retry, &h.SessionTicket, &h.ExtendedMasterSecret, &h.EncryptThenMAC, &h.RenegotiationInfo)
}
