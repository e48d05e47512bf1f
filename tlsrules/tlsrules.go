// Package tlsrules decides what may pass: facts of a connection in, a decision
// out, by the rules of POLICY.md. A condition on a fact that is not known yet
// is neither true nor false, and judgement waits for it.
//
// It knows the names and values of a policy, but not the file they came from,
// and nothing of packets, TCP, or time.
package tlsrules

import "math/bits"

// Stage is the moment at which a group of facts becomes known.
type Stage uint8

const (
	StageSYN Stage = iota
	StageFirstBytes
	StageClientHello
	StageServerHello
	StageCertificate
	StageRecords
)

var stageNames = [...]string{"syn", "first_bytes", "client_hello", "server_hello", "certificate", "records"}

// String returns the stage as POLICY.md spells it.
func (s Stage) String() string {
	if int(s) < len(stageNames) {
		return stageNames[s]
	}
	return "invalid"
}

// Stages is a set of stages. The zero Stages is empty.
type Stages uint8

// Add puts stages into the set.
func (s *Stages) Add(stages ...Stage) {
	for _, stage := range stages {
		*s |= 1 << stage
	}
}

// Remove takes a stage out of the set.
func (s *Stages) Remove(stage Stage) { *s &^= 1 << stage }

// Has reports whether the stage is in the set.
func (s Stages) Has(stage Stage) bool { return s>>stage&1 != 0 }

// Last returns the latest stage in the set, StageSYN when it is empty.
func (s Stages) Last() Stage { return Stage(max(0, bits.Len8(uint8(s))-1)) }
