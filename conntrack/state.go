package conntrack

import "time"

// State is a state of nf_conntrack_proto_tcp.c: what someone in the middle can
// say of a connection. The zero State is None.
type State uint8

const (
	None State = iota
	SynSent
	SynRecv
	Established
	FinWait
	CloseWait
	LastAck
	TimeWait
	Close
	SynSent2 // simultaneous open
	states
)

var stateNames = [states]string{
	"NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2",
}

// String returns netfilter's spelling.
func (s State) String() string {
	if s < states {
		return stateNames[s]
	}
	return stateNames[None]
}

// Timeouts say how long a connection may be silent, by State. Zero means the
// default of that state.
type Timeouts [states]time.Duration

// defaultTimeouts are netfilter's, except where a connection that was seen to
// end may live on for one of its ends: the RST or FIN may never have arrived,
// and whoever forgets the connection would meet its bytes again as midstream.
var defaultTimeouts = Timeouts{
	SynSent:     120 * time.Second,
	SynRecv:     120 * time.Second, // for as long its SYN-ACK may be a cookie that is good
	Established: 5 * 24 * time.Hour,
	FinWait:     time.Hour, // half closed: the other half may be idle for long
	CloseWait:   time.Hour, // as FinWait
	LastAck:     120 * time.Second,
	TimeWait:    120 * time.Second,
	Close:       120 * time.Second, // an RST its receiver may not have got
	SynSent2:    120 * time.Second,
}

func (t Timeouts) withDefaults() Timeouts {
	for s := range t {
		if t[s] <= 0 {
			t[s] = defaultTimeouts[s]
		}
	}
	if t[None] <= 0 {
		t[None] = t[SynSent]
	}
	return t
}

// half reports whether the connection has not completed its handshake.
func (s State) half() bool { return s == SynSent || s == SynRecv || s == SynSent2 }

// over reports whether both ends are thought to be done.
func (s State) over() bool { return s == TimeWait || s == Close || s == LastAck }

// closing gives the state that the FINs seen and acknowledged make.
//
//	one FIN               FinWait    its receiver may still send
//	one FIN, acknowledged CloseWait  as netfilter names it, whichever end it was
//	two FINs              LastAck    the last acknowledgement is missing
//	both acknowledged     TimeWait
func (c *Conn[V]) closing() State {
	o, r := &c.sides[Original], &c.sides[Reply]
	oAcked := o.finSeen && o.fin.Less(o.acked)
	rAcked := r.finSeen && r.fin.Less(r.acked)
	switch {
	case oAcked && rAcked:
		return TimeWait
	case o.finSeen && r.finSeen:
		return LastAck
	case oAcked || rAcked:
		return CloseWait
	}
	return FinWait
}
