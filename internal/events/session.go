package events

import (
	"strings"

	"tlsgate/internal/engine"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/suites"
)

// sessionPart tells of the session: what the client asked for and what the
// server did.
type sessionPart struct {
	Resumes    []string `json:"resumes,omitempty"`    // what the client asked for
	Resumption string   `json:"resumption,omitempty"` // none, known or unknown
	// ResumptionInferred: TLS 1.3 does not say which session it was.
	ResumptionInferred bool   `json:"resumption_inferred,omitempty"`
	Session            *began `json:"session,omitempty"`
	Grace              bool   `json:"grace,omitempty"` // it passes only because the time of grace is not over
}

// began is where the session that is resumed began.
type began struct {
	FlowID    uint64 `json:"flow_id,omitempty"`
	Timestamp string `json:"timestamp"`
	Rule      string `json:"rule,omitempty"`
}

// sessionOf tells what is known of a connection's session.
func sessionOf(r *engine.Report) sessionPart {
	p := sessionPart{Grace: r.Graced}
	f := r.Facts
	if f == nil || f.Client == nil {
		return p
	}
	if f.Resumes != 0 {
		p.Resumes = strings.Split(f.Resumes.String(), ",")
	}
	switch f.Resumed {
	case 0:
		return p
	case tlsrules.ResumedNo:
		p.Resumption = "none"
		return p
	}
	p.Resumption = f.Resumed.String()
	p.ResumptionInferred = r.TLS.Version >= suites.VersionTLS13
	if s := r.Session; s != nil {
		p.Session = &began{FlowID: s.Connection, Timestamp: timestamp(s.Time), Rule: s.Rule}
	}
	return p
}

// resumed is EVE's session_resumed; nil if it is not known.
func resumed(r *engine.Report) *bool {
	if r.Facts == nil || r.Facts.Resumed == 0 {
		return nil
	}
	is := r.Facts.Resumed != tlsrules.ResumedNo
	return &is
}
