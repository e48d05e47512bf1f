package nfq

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Where verdicts are given in the order of their packets, those that follow one another
// and say the same are one message: it is for every packet up to its number that still
// waits (nfnetlink_queue.c:nfqnl_recv_verdict_batch). The kernel reads, looks up and
// locks once, not for each.

const (
	msgVerdictBatch = unix.NFNL_SUBSYS_QUEUE<<8 | 3 // NFQNL_MSG_VERDICT_BATCH

	// Where what stands in a verdict's message. The sequence number is ours to use: it
	// says for how many packets the message is, 0 for one, and an error repeats it.
	atKind     = 4
	atSequence = 8
	atID       = sizeNetlink + sizeNetfilter + sizeAttribute + 4
)

// latest is the verdict given last, if the next may be one with it. The zero latest is
// none.
type latest struct {
	is   bool
	v    Verdict
	id   uint32
	mark uint32
	at   int // where its message begins
}

// same reports whether a verdict has become one with the one before it. That is only
// right if no packet waits with a lower number that is not meant: Config.InOrder says
// so, and that packets came whose messages we could not read says the contrary.
func (q *batchQueue) same(id uint32, v Verdict, mark uint32, payload []byte) bool {
	l := &q.latest
	if !l.is || l.id+1 != id || l.v != v || l.mark != mark || len(payload) > 0 ||
		q.counters.malformed.Load() != 0 || q.counters.truncated.Load() != 0 {
		return false
	}
	m := q.out[l.at:]
	binary.NativeEndian.PutUint16(m[atKind:], msgVerdictBatch)
	binary.NativeEndian.PutUint32(m[atSequence:], uint32(answered(m))+1)
	binary.BigEndian.PutUint32(m[atID:], id)
	l.id = id
	return true
}

// answered is for how many packets a verdict's message is.
func answered(m []byte) int { return int(max(1, binary.NativeEndian.Uint32(m[atSequence:]))) }
