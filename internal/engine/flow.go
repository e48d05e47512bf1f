package engine

import (
	"tlsgate/conntrack"
	"tlsgate/conntrack/reassembly"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/tlswire"
	"tlsgate/tlsrules/via"
)

// phase is how far the engine has come with a connection.
type phase uint8

const (
	refused  phase = iota // nothing with payload passes any more
	reading               // bytes are read and judged
	settling              // accepted for good; what was read is not yet acknowledged
	decided               // accepted for good: nothing is read any more
)

// flow is what the engine hangs on a connection. The zero flow is refused;
// attach fills it. Once nothing is read any more the inspection is given back
// and the summary stays.
type flow struct {
	streams [2]reassembly.Stream
	ins     *inspection
	lasting

	firstByte                        int64 // since when its time to decide is running; 0: it is not
	neighbours[conntrack.Conn[flow]]       // in waiting

	via    *via.Conn // listens to what is not TLS; nil until there is something
	search *search   // for the texts of the policy; nil until something is said
	rec    *recorded // of a capture
	alert  *alert    // refused with one
}

// lasting is what is left of a connection that is decided, and not waited for by
// anybody: many have the same.
type lasting struct {
	sum   summary
	phase phase
	// provisional: accepted as what began unseen, or by what the side that was
	// called said first; a ClientHello is judged as any other all the same.
	provisional bool
	said        bool // the handshake has said what the tls event tells
	unanswered  bool // but for what the client answers a CertificateRequest
	complete    bool // nothing more of it will be said in clear, an alert neither
	told        bool // the tls event is out, or will never be
	offloaded   bool
	counted     bool // among the accepted
	watched     bool // of a capture: decided or not, it is read to its end
	graced      bool // it passes only because the time of grace is not over
	trusted     bool // a rule has accepted it by its first packet alone
	answered    bool // its SYN was missed, and its SYN-ACK was not
	wary        bool // urgent data points to what comes later in clear text
	pinned      bool // it has part in pins, or asks for them: Engine.pins
	barred      bool // refused, and the kernel's mark says so or both ends have heard it
	cleared     bool // packets of ours have had the kernel's mark say nothing

	gate     gateway   // whether it waits for one
	adoption uint16    // under which it was judged, Engine's
	devices  [2]uint32 // interface towards the sender of each direction
}

// summary is what remains to be told of a connection when it ends.
type summary struct {
	decision tlsrules.Decision
	packet   uint64 // at which it was refused; the first is 1
	records  [2]tlswire.RecordCounts
	alerts   tlswire.Alerts
	later    tlswire.Heartbeats // and, of Later, the two below
	began    [2]uint8
	secure   bool
	told     bool // an event has told of it
	phase    tlswire.Phase
	sawTLS   bool
	via      via.Kind
	stood    bool    // judged again, by a policy that would have asked what is lost
	said     *saying // nil: nothing was
}

// remember and afterwards keep a Later in the summary, where its parts leave no hole.
func (s *summary) remember(l Later) {
	s.later, s.began, s.secure = l.Heartbeats, l.Renegotiations, l.SecureRenegotiation
}

func (s *summary) afterwards() Later { return Later{s.later, s.began, s.secure} }

// inspection is what reading a connection takes. It is given back and used
// again, so that a new connection allocates nothing once the engine is warm.
type inspection struct {
	tls        tlswire.Conn
	facts      tlsrules.Facts
	judgement  tlsrules.Judgement
	decision   tlsrules.Decision // as far as it goes
	resumption resumption
	certs      *Certificates // nil until there was something to tell
	stamps     stamps
	// condemned: it will be refused with an alert, once there is a hello to answer.
	condemned bool
}

// maxSpare bounds what is kept of a burst of connections.
const maxSpare = 4096

func (e *Engine) inspection() *inspection {
	if n := len(e.spare); n > 0 {
		ins := e.spare[n-1]
		e.spare = e.spare[:n-1]
		return ins
	}
	ins := &inspection{}
	ins.tls.Limits = &e.limits
	ins.tls.Buffers = &e.buffers
	return ins
}

// release gives back what reading took; the summary keeps what is still told.
func (e *Engine) release(c *conntrack.Conn[flow]) {
	f := &c.Value
	for d := range f.streams {
		f.streams[d].Release(&e.budget)
	}
	ins := f.ins
	if ins == nil {
		return
	}
	f.summarise()
	f.sum.records = ins.tls.Records
	f.sum.remember(laterOf(&ins.tls))
	f.sum.via = f.began()
	if said := e.saidOf(ins, true); said != nil {
		f.sum.said = said
	}
	f.ins = nil
	e.forgetTold(ins)
	e.dismiss(f)
	e.endSearch(f)
	if !e.keep(c, ins) {
		e.giveBack(ins)
	}
}

// giveBack makes what reading took ready for another connection.
func (e *Engine) giveBack(ins *inspection) {
	ins.tls.Reset()
	ins.facts = tlsrules.Facts{}
	ins.judgement = tlsrules.Judgement{}
	ins.decision = tlsrules.Decision{}
	ins.resumption = resumption{}
	ins.certs.forget()
	ins.stamps, ins.condemned = stamps{}, false
	if len(e.spare) < maxSpare {
		e.spare = append(e.spare, ins)
	}
}

// summarise keeps how far the connection came, for it may be read anew.
func (f *flow) summarise() {
	f.sum.phase = max(f.sum.phase, f.ins.tls.Phase)
	f.sum.sawTLS = f.sum.sawTLS || f.ins.sawTLS()
}

// sawTLS reports whether the connection speaks TLS.
func (ins *inspection) sawTLS() bool {
	return ins.tls.HasClientHello || ins.tls.Protocol == tlswire.ProtocolTLS || ins.tls.Protocol == tlswire.ProtocolSSLv2
}

// certain reports whether a rule has accepted the connection whatever it turns
// out to carry: then it is still read to be told of, but nothing it says can
// harm it. What only a default has accepted is not certain.
func (ins *inspection) certain() bool {
	d := &ins.decision
	return d.Decided && d.Final && d.Action == tlsrules.Accept && d.Reason == tlsrules.ReasonRule
}

// side names the sender of direction d as the decoder does.
func side(d conntrack.Direction) tlswire.Side {
	if d == conntrack.Original {
		return tlswire.Client
	}
	return tlswire.Server
}
