package tlsrules

import (
	"math/bits"
	"net/netip"

	"tlsgate/tlsrules/suites"
	"tlsgate/tlsrules/tlswire"
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

	// StageSYN. Source sent the SYN. An interface without a name is one that
	// cannot be known: there is none, or a capture does not tell.
	Source, Destination       netip.Addr
	SourcePort, Port          uint16
	InInterface, OutInterface string

	// StageFirstBytes. The zero Protocol is not known yet.
	Protocol tlswire.Protocol

	// StageClientHello and StageServerHello. A HelloRetryRequest is not a
	// ServerHello yet.
	Client *tlswire.ClientHello
	Server *tlswire.ServerHello

	// Group is the group of the key exchange, zero until it is known. When
	// GroupSettled it will not be known any more: there is none, or it was not
	// seen.
	Group        uint16
	GroupSettled bool

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

// A step is a stage, or a fact of a stage that has a time of its own. Steps are
// in the order in which facts become known.
type step uint8

const (
	stepSYN step = iota
	stepFirstBytes
	stepClientHello
	stepServerHello
	stepALPN  // selected: with the ServerHello, or never
	stepGroup // with the ServerHello or the ServerKeyExchange, or never
	stepCertificate
	stepRecords
)

var stepStages = [...]Stage{
	StageSYN, StageFirstBytes, StageClientHello, StageServerHello,
	StageServerHello, StageServerHello, StageCertificate, StageRecords,
}

func (s step) stage() Stage { return stepStages[s] }
func (s step) bit() steps   { return 1 << s }

// steps is a set of steps.
type steps uint8

// tlsSteps are the steps that only a TLS connection takes.
const tlsSteps = ^(steps(1)<<stepClientHello - 1)

// view is Facts as conditions look at them: for each step at most one of
// known, never and moot holds.
type view struct {
	*Facts
	content tlswire.Content // of the record at hand, the latest one read
	alert   bool            // Facts.Alert is what it says

	known steps
	never steps // cannot become known any more
	moot  steps // asks about TLS on a connection that is something else
}

// look fills a zero view: which steps are known, with content the latest
// record's.
func (v *view) look(f *Facts, content tlswire.Content) {
	v.Facts, v.content, v.alert = f, content, f.HasAlert
	v.known, v.never = spread(f.Known), spread(f.Never)
	if f.Protocol == 0 {
		v.known &^= stepFirstBytes.bit()
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
	v.group()
}

// stage is the latest stage known when step s is taken.
func (v *view) stage(s step) Stage {
	known := v.known & (s.bit()<<1 - 1)
	return step(max(0, bits.Len8(uint8(known))-1)).stage()
}

// spread makes room between the stages for the steps that are not stages.
func spread(s Stages) steps {
	const upToServerHello = 1<<(StageServerHello+1) - 1
	return steps(s&upToServerHello | s&^upToServerHello<<(stepCertificate-step(StageCertificate)))
}

// selected says whether the ALPN protocol selected is known: TLS 1.3 sends it
// encrypted (RFC 8446, Section 4.2).
func (v *view) selected() {
	switch {
	case v.known&stepServerHello.bit() == 0:
		if v.never&stepServerHello.bit() != 0 {
			v.never |= stepALPN.bit()
		}
	case v.Server.Version >= suites.VersionTLS13:
		v.never |= stepALPN.bit()
	default:
		v.known |= stepALPN.bit()
	}
}

// group says whether the group is known: from the ServerHello, or up to TLS 1.2
// from the ServerKeyExchange (RFC 8422, Section 5.4).
func (v *view) group() {
	switch {
	case v.Group != 0:
		v.known |= stepGroup.bit()
	case v.GroupSettled, v.never&stepServerHello.bit() != 0:
		v.never |= stepGroup.bit()
	}
}
