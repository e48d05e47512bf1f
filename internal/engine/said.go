package engine

import "tlsgate/tlsrules/tlswire"

// Said is what the hellos of a connection have said, as far as it is remembered
// once nothing is read any more. It never changes, and many connections share one.
type Said struct {
	ServerName string
	ALPN       string // selected by the server, where that can be seen
	Version    uint16 // 0: no ServerHello was seen
	Cipher     uint16
}

// maxSayings bounds how many different ones a worker finds again. Beyond that
// it begins anew; connections keep what they have.
const maxSayings = 8192

// saidOf remembers what the hellos have said; nil when there was none.
func (e *Engine) saidOf(c *tlswire.Conn) *Said {
	if !c.HasClientHello && !c.HasServerHello {
		return nil
	}
	var name, alpn []byte
	var version, cipher uint16
	if c.HasClientHello {
		name = c.ClientHello.ServerName
	}
	if c.HasServerHello {
		alpn, version, cipher = c.ServerHello.ALPN, c.ServerHello.Version, c.ServerHello.CipherSuite
	}
	if s := e.sayings[Said{string(name), string(alpn), version, cipher}]; s != nil {
		return s
	}
	if e.sayings == nil || len(e.sayings) >= maxSayings {
		e.sayings = map[Said]*Said{}
	}
	s := &Said{string(name), string(alpn), version, cipher}
	e.sayings[*s] = s
	return s
}
