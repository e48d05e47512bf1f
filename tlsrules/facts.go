package tlsrules

import (
	"math/bits"
	"net/netip"

	"tlsgate/tlsrules/certs"
	"tlsgate/tlsrules/suites"
	"tlsgate/tlsrules/tlswire"
	"tlsgate/tlsrules/via"
)

// Facts is what is known of a connection. Whoever reads the connection fills
// it; this package only looks. The zero Facts knows nothing. What it points to
// must not change during Decide and Explain.
type Facts struct {
	// Known are the stages whose facts stand below. Never are those whose facts
	// cannot become known any more: not seen, or encrypted. Known wins where
	// both have a stage. On a connection that is not TLS neither is looked at
	// for the stages from StageClientHello on.
	Known, Never Stages
	// Lost is zero for a connection that has been read up to now: all that stands
	// here is known.
	Lost Lost

	// StageSYN. Began is when the connection began, in seconds since the Unix
	// epoch. Source sent the SYN. An interface without a name is one that
	// cannot be known: there is none, or a capture does not tell.
	SourcePort, Port          uint16
	Source, Destination       netip.Addr
	InInterface, OutInterface string
	Began                     uint32

	// StageFirstBytes. The zero Protocol is not known yet. Via is how TLS
	// began, empty where it did not.
	Protocol tlswire.Protocol
	Via      via.Kinds
	// Contains has a bit for each pattern of Policy.Patterns that has been found
	// in cleartext, at whatever stage.
	Contains uint64

	// StageClientHello and StageServerHello. A HelloRetryRequest is not a
	// ServerHello yet.
	Client *tlswire.ClientHello
	Server *tlswire.ServerHello
	// Resumes is what the client asks for, with StageClientHello.
	Resumes tlswire.Resumes
	// Resumed is what the server did; zero until it is known, which up to TLS
	// 1.2 may take until the message after the ServerHello.
	Resumed Resumed

	// Group is the group of the key exchange, DHBits the size of the prime of a
	// finite-field one (StageCertificate); zero until it is known. When
	// GroupSettled they will not be known any more: there is none, or it was not
	// seen.
	Group, DHBits uint16
	GroupSettled  bool
	// ContainsOver: no more will be searched for Contains.
	ContainsOver bool

	// StageCertificate: the server's chain as sent, the leaf first, or that of
	// the session resumed; empty where none was sent. CertExpired: the leaf is
	// not valid at the time.
	Chain       []*certs.Certificate
	CertExpired bool

	// Renegotiates is set once one of the sides has begun a renegotiation.
	Renegotiates bool

	// Content is the record whose header was read since the last Decide; zero
	// when there was none. Alert is the alert read since, if HasAlert. What
	// they say is judged once for every record and every alert.
	Content  tlswire.Content
	Alert    tlswire.AlertMessage
	HasAlert bool
}

// Stage returns the latest stage known, records aside: those come and go.
func (f *Facts) Stage() Stage {
	known := f.Known
	known.Remove(StageRecords)
	return known.Last()
}

// notTLS reports whether the first bytes are those of something else.
func (f *Facts) notTLS() bool {
	switch f.Protocol {
	case 0, tlswire.ProtocolTLS, tlswire.ProtocolSSLv2:
		return false
	}
	return f.Known.Has(StageFirstBytes)
}

// foreign reports whether the connection is not TLS.
func (v *view) foreign() bool { return v.moot&stepClientHello.bit() != 0 }

// A step is a stage, or a fact of a stage that has a time of its own. Steps are
// in the order in which facts become known.
type step uint8

const (
	stepSYN step = iota
	stepFirstBytes
	stepContains // whenever a pattern is found, until the cleartext is over
	stepClientHello
	stepServerHello
	stepALPN    // selected: with the ServerHello, or never
	stepResumed // with the ServerHello or the message after it
	stepGroup   // with the ServerHello or the ServerKeyExchange, or never
	stepCertificate
	stepDH // with the ServerKeyExchange, or never
	stepRecords

	stepCount = int(iota)
)

var stepStages = [stepCount]Stage{
	stepSYN: StageSYN, stepFirstBytes: StageFirstBytes, stepContains: StageFirstBytes,
	stepClientHello: StageClientHello, stepServerHello: StageServerHello,
	stepALPN: StageServerHello, stepResumed: StageServerHello, stepGroup: StageServerHello,
	stepCertificate: StageCertificate, stepDH: StageCertificate, stepRecords: StageRecords,
}

// stageSteps are the steps that are a stage's own.
var stageSteps = [...]step{
	StageSYN: stepSYN, StageFirstBytes: stepFirstBytes, StageClientHello: stepClientHello,
	StageServerHello: stepServerHello, StageCertificate: stepCertificate, StageRecords: stepRecords,
}

func (s step) stage() Stage { return stepStages[s] }
func (s step) bit() steps   { return 1 << s }

// steps is a set of steps.
type steps uint16

// tlsSteps are the steps that only a TLS connection takes.
const tlsSteps = ^(steps(1)<<stepClientHello - 1)

// view is Facts as conditions look at them: for each step at most one of
// known, never and moot holds.
type view struct {
	*Facts
	content tlswire.Content // of the record at hand, the latest one read
	search  search          // what was found of the patterns
	alert   bool            // Facts.Alert is what it says

	known steps
	never steps // cannot become known any more
	moot  steps // asks about TLS on a connection that is something else, or about what this handshake has not
}

// look fills a zero view: which steps are known, with content the latest
// record's.
func (v *view) look(f *Facts, content tlswire.Content) {
	v.Facts, v.content, v.search, v.alert = f, content, f.search(), f.HasAlert
	v.known, v.never = spread(f.Known), spread(f.Never)
	if f.Protocol == 0 {
		v.known &^= stepFirstBytes.bit()
	}
	if v.search.over() {
		v.known |= stepContains.bit()
	}
	if f.notTLS() {
		v.known &^= tlsSteps
		v.never &^= tlsSteps
		v.moot = tlsSteps
		return
	}
	if f.Client == nil {
		v.known &^= stepClientHello.bit()
	}
	if f.Server == nil || f.Server.Retry {
		v.known &^= stepServerHello.bit()
	}
	v.known &^= stepRecords.bit()
	if content != 0 {
		v.known |= stepRecords.bit()
	}
	v.never &^= v.known
	v.selected()
	v.resumption()
	v.group()
	v.dh()
}

// stage is the latest stage known when step s is taken. Texts may be found at
// any stage.
func (v *view) stage(s step) Stage {
	known := v.known & (s.bit()<<1 - 1)
	if s == stepContains {
		known = v.known &^ stepRecords.bit()
	}
	known &^= stepContains.bit()
	return step(max(0, bits.Len16(uint16(known))-1)).stage()
}

// spread makes room between the stages for the steps that are not stages.
func spread(s Stages) steps { return spreads[s] }

var spreads = func() (all [1 << 8]steps) {
	for s := range all {
		for stage, own := range stageSteps {
			if Stages(s).Has(Stage(stage)) {
				all[s] |= own.bit()
			}
		}
	}
	return all
}()

// takes lets a step that has a time of its own be known, or never.
func (v *view) takes(s step, known, never bool) {
	switch {
	case known:
		v.known |= s.bit()
	case never || v.never&stepServerHello.bit() != 0:
		v.never |= s.bit()
	}
}

// selected says whether the ALPN protocol selected is known: TLS 1.3 sends it
// encrypted (RFC 8446, Section 4.2).
func (v *view) selected() {
	known := v.known&stepServerHello.bit() != 0
	tls13 := known && v.Server.Version >= suites.VersionTLS13
	v.takes(stepALPN, known && !tls13, tls13)
}

// resumption says whether it is known that the session was resumed.
func (v *view) resumption() { v.takes(stepResumed, v.Resumed != 0, false) }

// group says whether the group is known: from the ServerHello, or up to TLS 1.2
// from the ServerKeyExchange (RFC 8422, Section 5.4).
func (v *view) group() { v.takes(stepGroup, v.Group != 0, v.GroupSettled) }

// dh says whether the size of the prime is known. An exchange without one asks
// for none; that of a session that began unseen was not seen.
func (v *view) dh() {
	watched := v.Resumed == ResumedNo || v.Resumed == ResumedKnown
	seen := v.GroupSettled && v.known&stepServerHello.bit() != 0 && (watched || v.Group != 0)
	if v.DHBits == 0 && seen {
		v.moot |= stepDH.bit()
		return
	}
	v.takes(stepDH, v.DHBits != 0, v.GroupSettled)
}
