package engine

import (
	"weak"

	"tlsgate/tlsrules"
	"tlsgate/tlsrules/certs"
	"tlsgate/tlsrules/tlswire"
	"tlsgate/tlsrules/via"
)

// Said is what the hellos of a connection have said, as far as it is told once
// nothing is read any more.
type Said struct {
	ServerName string
	ALPN       string // selected by the server, where that can be seen
	Version    uint16 // 0: no ServerHello was seen
	Cipher     uint16
}

// saying is what a connection has said, as far as it is remembered: most of what
// another policy may ask. It never changes, and many connections share one.
type saying struct {
	Said
	offered string // ALPN, as on the wire
	terms
}

// terms are what is remembered beside names.
type terms struct {
	known, never tlsrules.Stages // of the facts, as they stood at the end
	protocol     tlswire.Protocol
	via          via.Kinds

	hello, named, ech, earlyData, fallback bool // of the ClientHello
	resumes                                tlswire.Resumes

	server, groupSettled bool // of the ServerHello, and what follows it
	resumed              tlsrules.Resumed
	group, dhBits        uint16

	long bool // names were too long to be remembered

	chained bool // the server has sent a chain, and the leaf is this
	// Weak, or whoever opens many connections with large certificates would fill the
	// memory: it is known for as long as the cache, or a session, has it.
	leaf weak.Pointer[certs.Certificate]
}

// maxSayings bounds how many different ones a worker finds again. Beyond that
// it begins anew; connections keep what they have.
const maxSayings = 8192

// saidOf remembers what a connection has said; nil when that was nothing. If it does
// not last, for it is only looked at, it has nothing else forgotten.
func (e *Engine) saidOf(ins *inspection, lasts bool) *saying {
	c, f := &ins.tls, &ins.facts
	if !c.HasClientHello && !c.HasServerHello && !(f.Known | f.Never).Has(tlsrules.StageFirstBytes) {
		return nil
	}
	t := terms{
		known: f.Known, never: f.Never, protocol: f.Protocol, via: f.Via, hello: f.Client != nil, resumes: f.Resumes,
		server: f.Server != nil, groupSettled: f.GroupSettled, resumed: f.Resumed, group: f.Group, dhBits: f.DHBits,
	}
	var name, alpn, offered []byte
	var version, cipher uint16
	if c.HasClientHello {
		h := &c.ClientHello
		name, offered = h.ServerName, h.ALPN
		t.named, t.ech, t.earlyData, t.fallback = h.HasServerName, h.ECH.Present, h.EarlyData, h.FallbackSCSV()
	}
	if c.HasServerHello {
		alpn, version, cipher = c.ServerHello.ALPN, c.ServerHello.Version, c.ServerHello.CipherSuite
	}
	if t.long = len(name)+len(offered) > maxSaid; t.long {
		name, offered = name[:min(len(name), maxSaid/2)], nil
	}
	if len(f.Chain) > 0 {
		t.chained, t.leaf = true, weak.Make(f.Chain[0])
	}
	if s := e.sayings[saying{Said{string(name), string(alpn), version, cipher}, string(offered), t}]; s != nil {
		return s
	}
	s := &saying{Said{string(name), string(alpn), version, cipher}, string(offered), t}
	if !lasts && len(e.sayings) >= maxSayings {
		return s
	}
	if e.sayings == nil || len(e.sayings) >= maxSayings {
		e.sayings = map[saying]*saying{}
	}
	e.sayings[*s] = s
	return s
}
