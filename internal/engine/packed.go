package engine

import (
	"tlsgate/conntrack"
	"tlsgate/conntrack/reassembly"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/certs"
	"tlsgate/tlsrules/tlswire"
	"tlsgate/tlsrules/via"
)

// A connection of which records are read is silent most of its life. While it is, what
// reading it takes is packed: its own numbers and what the hellos have said into bytes,
// which the garbage collector need not look at; what many connections have the same is
// kept once; what few have, and points elsewhere, lies apart. The inspection serves
// another. One that waits for something, or of which bytes are held, stays as it is.

// packed are the connections that rest so. The zero packed is empty.
type packed struct {
	common rested[common]
	apart  aparts
	blocks blocks

	bytes []byte // of the connection at hand
	same  common // the same
	// glance is what a connection was read with that is only looked at, valid until
	// the next.
	glance *inspection
}

// readHandle marks the handles of those that are read.
const readHandle = 1 << 31

// mostPacked bounds what is packed of one connection: twice what most have said. What
// has said more stays as it is.
const mostPacked = 16 * blockData

// blocksEach bounds what all have packed, for each connection that there may be, and
// mostCommon how much they have that only many should have. Beyond that connections
// stay as they are.
const (
	blocksEach = 10
	mostCommon = 8192
)

// common is what many connections have the same.
type common struct {
	lasting
	decision  tlsrules.Decision
	judgement tlsrules.Judgement // if it is alone
	in, out   string             // interfaces
}

// apart is what few connections have. The zero apart is nothing.
type apart struct {
	from      *session
	certs     *Certificates
	judgement *tlsrules.Judgement // that is not alone
	via       *via.Conn
	search    *search
	chain     []*certs.Certificate
}

func (a *apart) empty() bool {
	return a.from == nil && a.certs == nil && a.judgement == nil && a.via == nil && a.search == nil && a.chain == nil
}

// silent reports whether a connection is read, and waits for nothing but its packets.
func (f *flow) silent() bool {
	return f.phase != refused && f.ins != nil && !f.watched && !f.pinned && !f.gate.has(hasHold) &&
		f.firstByte == 0 && f.before == nil && f.after == nil && f.rec == nil && f.alert == nil
}

// putRead packs what reading a connection takes, and returns its handle, 0 if it has
// to stay as it is.
func (e *Engine) putRead(c *conntrack.Conn[flow]) uint32 {
	f, x := &c.Value, &e.packed
	ins := f.ins
	var streams [2]reassembly.Quiet
	for d := range streams {
		var quiet bool
		if streams[d], quiet = f.streams[d].Quiet(); !quiet {
			return 0
		}
	}
	if !ins.tls.Packs() || e.told[ins] > 0 || !ins.isOf(c) {
		return 0
	}
	p := tlswire.PutInto(x.bytes[:0])
	ins.pack(&p, &streams)
	if x.bytes = p.Bytes(); len(x.bytes) > mostPacked-2*5 || x.blocks.n > e.cfg.Limits.Connections*blocksEach-mostPacked/blockData {
		return 0
	}
	x.same = common{lasting: f.lasting, decision: ins.decision, in: ins.facts.InInterface, out: ins.facts.OutInterface}
	x.common.most = mostCommon
	a := apart{from: ins.resumption.from, certs: ins.certs, via: f.via, search: f.search, chain: ins.facts.Chain}
	if ins.judgement.Alone() {
		x.same.judgement = ins.judgement
	} else {
		j := ins.judgement
		a.judgement = &j
	}
	same := x.common.put(&x.same)
	if same == 0 {
		return 0
	}
	rare := x.apart.put(&a)
	tlswire.PackNumber(&p, &same)
	tlswire.PackNumber(&p, &rare)
	x.bytes = p.Bytes()
	f.ins, f.via, f.search, ins.certs = nil, nil, nil, nil
	e.giveBack(ins)
	return x.blocks.put(x.bytes) | readHandle
}

// takeRead gives a connection back what it is read with; or, if it is only looked at,
// a copy.
func (e *Engine) takeRead(c *conntrack.Conn[flow], handle uint32, copied bool) {
	f, x := &c.Value, &e.packed
	at := handle &^ readHandle
	x.bytes = x.blocks.append(x.bytes[:0], at)
	ins := x.glance
	switch {
	case !copied:
		ins = e.inspection()
	case ins == nil:
		ins = e.inspection()
		x.glance = ins
	default:
		ins.tls.Reset()
		ins.facts, ins.resumption = tlsrules.Facts{}, resumption{}
	}
	var streams [2]reassembly.Quiet
	var same, rare uint32
	p := tlswire.TakeFrom(x.bytes)
	ins.pack(&p, &streams)
	tlswire.PackNumber(&p, &same)
	tlswire.PackNumber(&p, &rare)
	for d, q := range streams {
		f.streams[d].Resume(q)
	}
	f.ins = ins
	own, a := &x.common.at(same).what, x.apart.get(rare)
	f.lasting, f.via, f.search = own.lasting, a.via, a.search
	ins.decision, ins.judgement = own.decision, own.judgement
	if a.judgement != nil {
		ins.judgement = *a.judgement
	}
	ins.facts.InInterface, ins.facts.OutInterface, ins.facts.Chain = own.in, own.out, a.chain
	ins.resumption.from, ins.certs = a.from, a.certs
	ins.ends(c)
	if !copied {
		x.common.drop(same)
		x.apart.drop(rare)
		x.blocks.give(at)
	}
}

// ends takes the addresses from the connection.
func (ins *inspection) ends(c *conntrack.Conn[flow]) {
	from, to, f := c.Addr(conntrack.Original), c.Addr(conntrack.Reply), &ins.facts
	f.Source, f.SourcePort, f.Destination, f.Port = from.Addr(), from.Port(), to.Addr(), to.Port()
}

// isOf reports whether the facts are of the connection, and of its own hellos, so that
// they can be put together again.
func (ins *inspection) isOf(c *conntrack.Conn[flow]) bool {
	from, to, f := c.Addr(conntrack.Original), c.Addr(conntrack.Reply), &ins.facts
	return f.Source == from.Addr() && f.SourcePort == from.Port() && f.Destination == to.Addr() && f.Port == to.Port() &&
		(f.Client == nil || f.Client == &ins.tls.ClientHello) && (f.Server == nil || f.Server == &ins.tls.ServerHello)
}

// pack packs the numbers of an inspection and of its streams, or fills one that is
// empty but for what is kept apart, or once for many.
func (ins *inspection) pack(p *tlswire.Packing, streams *[2]reassembly.Quiet) {
	for d := range streams {
		q := &streams[d]
		unacked := q.Una.Size(q.Next)
		tlswire.PackNumber(p, &q.Next)
		tlswire.PackNumber(p, &unacked)
		q.Una = q.Next.Sub(unacked)
		p.Flags(&q.Started, &q.Broken, &q.Leapt)
	}
	ins.tls.Pack(p)
	ins.facts.Pack(p)
	r, s := &ins.resumption, &ins.stamps
	client, server := ins.facts.Client != nil, ins.facts.Server != nil
	p.Flags(&client, &server, &ins.condemned, &r.hasTicket, &r.kept, &r.inferred, &s.known[0], &s.known[1])
	if client {
		ins.facts.Client = &ins.tls.ClientHello
	}
	if server {
		ins.facts.Server = &ins.tls.ServerHello
	}
	if r.hasTicket {
		p.Raw(r.ticket[:])
	}
	tlswire.PackNumber(p, &s.values[0])
	tlswire.PackNumber(p, &s.values[1])
}
