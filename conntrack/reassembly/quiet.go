package reassembly

import "tlsgate/conntrack/seqnum"

// Quiet is what there is to know of a Stream that holds no bytes.
type Quiet struct {
	Next, Una              seqnum.Value
	Started, Broken, Leapt bool
}

// Quiet returns that, false if the stream holds bytes.
func (s *Stream) Quiet() (q Quiet, ok bool) {
	if len(s.kept)+len(s.log)+len(s.fresh) > 0 || s.held != 0 {
		return Quiet{}, false
	}
	return Quiet{s.next, s.una, s.started, s.broken, s.leapt}, true
}

// Resume makes the zero Stream the one that was quiet.
func (s *Stream) Resume(q Quiet) {
	s.next, s.una, s.started, s.broken, s.leapt = q.Next, q.Una, q.Started, q.Broken, q.Leapt
}
