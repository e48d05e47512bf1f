package tlswire

import "slices"

// Rest gives back what belongs to Buffers. What was told stays, until Reset;
// nothing is consumed before that.
func (c *Conn) Rest() {
	c.takeBack()
	for i := range c.sides {
		c.Buffers.put(c.sides[i].buf)
		c.sides[i].buf = nil
	}
}

// Clone returns a copy of h that shares no memory with it.
func (h *ClientHello) Clone() *ClientHello {
	k := *h
	for _, list := range []*[]uint16{
		&k.CipherSuites, &k.Extensions, &k.SupportedVersions, &k.SupportedGroups, &k.KeyShares, &k.SignatureAlgorithms,
	} {
		*list = slices.Clone(*list)
	}
	for _, list := range []*[]byte{&k.SessionID, &k.ServerName, (*[]byte)(&k.ALPN), &k.ECPointFormats} {
		*list = slices.Clone(*list)
	}
	k.words, k.octets = nil, nil
	if h.seldom != nil {
		seldom := *h.seldom
		seldom.first.text = slices.Clone(seldom.first.text)
		k.seldom = &seldom
	}
	return &k
}

// Clone returns a copy of h that shares no memory with it.
func (h *ServerHello) Clone() *ServerHello {
	k := *h
	k.SessionID, k.ALPN, k.Extensions = slices.Clone(h.SessionID), slices.Clone(h.ALPN), slices.Clone(h.Extensions)
	k.octets = nil
	return &k
}
