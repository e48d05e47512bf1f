package tlsrules

import "tlsgate/tlsrules/tlswire"

// resumesNames are the values of KeyResumes, by their places in a condition's
// bits.
var resumesNames = []string{none, tlswire.ResumesSessionID.String(), tlswire.ResumesTicket.String(), tlswire.ResumesPSK.String()}

// resumesBits gives what a client asks for its places there.
func resumesBits(r tlswire.Resumes) uint64 {
	if r == 0 {
		return 1
	}
	return uint64(r) << 1
}

func seenResumes(r tlswire.Resumes) string {
	if r == 0 {
		return "client did not ask to resume a session"
	}
	return "client asked to resume a session by " + r.String()
}

// Resumed is what a server did. The zero Resumed is not known yet.
type Resumed uint8

const (
	ResumedNo      Resumed = iota + 1 // a full handshake
	ResumedKnown                      // a session that was watched from its beginning
	ResumedUnknown                    // one that was not
)

var resumedNames = []string{"", "no", "known", "unknown"}

// String returns the value as a policy spells it.
func (r Resumed) String() string {
	if int(r) < len(resumedNames) {
		return resumedNames[r]
	}
	return "invalid"
}
