package tlsrules

import (
	"math/bits"

	"tlsgate/tlsrules/tlswire"
)

// Judgement is what Decide remembers of one connection. The zero Judgement has
// asked nothing yet. It belongs to one connection, one policy and one
// goroutine, and must not be copied once used.
type Judgement struct {
	// more are bound rules for which bound has no room: only a connection with
	// so many allocates.
	more   *[]uint16
	search search     // what was found when rules were last asked of it
	bound  [12]uint16 // rules whose requirements hold for this connection
	nbound uint16     // of both

	next    uint16 // rules before it have nothing new to say
	ruling  ruling // in force; while undecided, what is waited for
	would   ruling // what an observing rule would have done
	seen    steps  // taken: rules have been asked with what they made known
	needs   steps  // that requirements of bound rules ask about
	waits   steps  // while undecided, that may end it
	flags   flags
	content tlswire.Content
}

// ruling is a Decision, packed.
type ruling struct {
	rule   uint16 // index + 1; 0 is none
	action Action
	reason Reason
	stage  Stage
}

type flags uint8

const (
	decided      flags = 1 << iota
	ended              // no rule is asked any more; requirements may be open
	refused            // for good
	observed           // refused, but only said so
	wouldNow           // would has not been told yet
	wouldAlready       // would has been found
	pins               // a bound rule has a pin
	holds              // a bound rule has a hold
)

func (f flags) has(g flags) bool { return f&g != 0 }

// Again prepares for another ClientHello, after a HelloRetryRequest or for a
// renegotiation: rules are asked anew from the first, and what was required of
// the connection stays required, for a server may go by either hello. A refusal
// stays one.
func (j *Judgement) Again() {
	if j.flags.has(refused) {
		return
	}
	j.flags &^= decided | ended
	j.next, j.waits = 0, 0
	j.seen &= stepSYN.bit()
}

// atHand is the record that f tells of, or the latest one before.
func (j *Judgement) atHand(f *Facts) tlswire.Content {
	switch {
	case f.Content != 0:
		return f.Content
	case f.HasAlert:
		return tlswire.AlertContent
	}
	return j.content
}

// at returns the k-th bound rule.
func (j *Judgement) at(k int) int {
	if k < len(j.bound) {
		return int(j.bound[k])
	}
	return int((*j.more)[k-len(j.bound)])
}

// bind makes what rule i demands hold for the connection, and reports whether it
// did not yet.
func (j *Judgement) bind(i int, r *rule) bool {
	for k := range int(j.nbound) {
		if j.at(k) == i {
			return false
		}
	}
	j.needs |= r.needs
	if r.Pin != nil {
		j.flags |= pins
	}
	if r.Hold != nil {
		j.flags |= holds
	}
	if int(j.nbound) < len(j.bound) {
		j.bound[j.nbound] = uint16(i)
	} else {
		if j.more == nil {
			j.more = new([]uint16)
		}
		*j.more = append(*j.more, uint16(i))
	}
	j.nbound++
	return true
}

// note keeps the first refusal of an observing rule: enforced, there would be
// no second one.
func (j *Judgement) note(r ruling) {
	if !j.flags.has(wouldAlready) {
		j.would = r
		j.flags |= wouldNow | wouldAlready
	}
}

// accept accepts the connection; by the same rule as before it was earlier.
func (j *Judgement) accept(r ruling) {
	if was := j.ruling; j.flags.has(decided) && was.rule == r.rule && was.reason == r.reason {
		return
	}
	j.ruling = r
	j.flags |= decided
}

// wait leaves the connection undecided, for one of some steps.
func (j *Judgement) wait(rule int, waits steps) {
	j.flags &^= decided
	j.waits = waits
	j.ruling = ruling{rule: uint16(rule + 1), stage: step(bits.TrailingZeros16(uint16(waits))).stage()}
}
