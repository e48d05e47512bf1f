package engine

import (
	"time"

	"tlsgate/conntrack"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/certs"
	"tlsgate/tlsrules/tlswire"
)

// Certificates are what the two sides of one connection said of certificates, up
// to TLS 1.2, beside the server's chain, which is among the Facts.
type Certificates struct {
	More    [2]int                      // certificates beyond certs.MaxChain, by who sent them
	Broken  [2]bool                     // a list that no receiver takes; what stands before the fault is told
	Client  []*certs.Certificate        // the TLS client's chain; nil if it sent none
	Request *tlswire.CertificateRequest // the server's; nil if there was none

	request tlswire.CertificateRequest
}

// certificates is where to put what a connection says of certificates: most say
// nothing but the server's chain.
func (ins *inspection) certificates() *Certificates {
	if ins.certs == nil {
		ins.certs = new(Certificates)
	}
	return ins.certs
}

// forget makes c ready for another connection.
func (c *Certificates) forget() {
	if c != nil {
		*c = Certificates{request: c.request}
	}
}

// certificate takes the Certificate message of a side, and reports whether there
// is anything new to judge by. A list that is broken is for its receiver to
// refuse.
func (e *Engine) certificate(c *conntrack.Conn[flow], from tlswire.Side) bool {
	f := &c.Value
	t, facts := &f.ins.tls, &f.ins.facts
	list := tlswire.CertificateList(t.Message())
	var chain []*certs.Certificate
	if list == nil { // there is a hole in the capture
		f.full()
		if from == t.ClientHelloFrom {
			f.unanswered = false
		} else if !facts.Known.Has(tlsrules.StageCertificate) {
			facts.Never.Add(tlsrules.StageCertificate)
		}
		return true
	}
	if e.laden(t.CertificateType[from], list) {
		e.limit(c, tlsrules.ReasonLimitBuffered, "its certificates are new, and there are more of those in memory than limits.buffered allows")
		return false
	}
	switch t.CertificateType[from] {
	case tlswire.CertificateX509:
		chain = e.chain(f, from, list)
	case tlswire.CertificateRawPublicKey:
		if key := list.RawPublicKey(); len(key) > 0 {
			chain = []*certs.Certificate{e.certs.ParsePublicKey(key)}
		}
	default: // of a kind that is not read, but has fingerprints
		chain = []*certs.Certificate{e.certs.Parse(list)}
	}
	if from == t.ClientHelloFrom {
		f.unanswered = false
		if chain != nil {
			f.ins.certificates().Client = chain
		}
		return true
	}
	f.full()
	switch facts.Resumed {
	case tlsrules.ResumedKnown:
		if e.doubtful(c) {
			break
		}
		// No client takes it, and it has been judged by the one it began with.
		e.circumstance(c, e.cfg.Default.Malformed, tlsrules.ReasonMalformedHandshake, "the server resumes a session and sends a certificate")
		return false
	case tlsrules.ResumedUnknown:
		// The id that was echoed is one of compatibility mode (RFC 8446, Appendix
		// D.4). Servers should not, but some do, and clients go on.
		facts.Resumed = tlsrules.ResumedNo
		f.ins.judgement.Again()
		f.ins.decision = tlsrules.Decision{}
	}
	facts.Chain = chain
	facts.CertExpired = len(chain) > 0 && chain[0].Expired(time.Unix(0, e.cfg.Wall.Time(e.now)))
	e.know(facts, tlsrules.StageCertificate)
	return true
}

// laden reports whether there is no room for a chain that takes memory of its own. All
// that connections and sessions hold have as much as limits.buffered again, and chains of
// more than a usual length half of it, as messages that are partly there.
func (e *Engine) laden(kind tlswire.CertificateType, list tlswire.CertificateList) bool {
	all := e.certs.Beyond()
	if all <= e.cfg.Limits.Buffered/2 || e.cfg.Recorded {
		return false
	}
	mine := 0
	if kind != tlswire.CertificateX509 {
		mine = len(list)
		list = nil
	}
	for der := range list.All() {
		if !e.certs.Has(der) {
			mine += len(der)
		}
	}
	return mine > modest || mine > 0 && all > e.cfg.Limits.Buffered
}

// chain reads a list of X.509 certificates.
func (e *Engine) chain(f *flow, from tlswire.Side, list tlswire.CertificateList) []*certs.Certificate {
	var all [certs.MaxChain][]byte
	n := 0
	for der := range list.All() {
		if n < len(all) {
			all[n] = der
		}
		n++
	}
	if broken, more := list.Broken(), n > len(all); broken || more {
		told := f.ins.certificates()
		told.More[from], told.Broken[from] = max(0, n-len(all)), broken
	}
	return e.certs.Chain(all[:min(n, len(all))])
}

// uncertified notes that the server has gone on to where a certificate cannot
// come any more. If there was none, that is known of a full handshake; of a
// session that began unseen nothing is.
func (e *Engine) uncertified(f *flow) {
	switch facts := &f.ins.facts; {
	case facts.Known.Has(tlsrules.StageCertificate), facts.Never.Has(tlsrules.StageCertificate):
	case facts.Resumed == tlsrules.ResumedNo:
		e.know(facts, tlsrules.StageCertificate)
	default:
		facts.Never.Add(tlsrules.StageCertificate)
	}
}

// certificateRequest takes what the server asks of the client's certificate. The
// tls event waits for the answer.
func (e *Engine) certificateRequest(f *flow) {
	told := f.ins.certificates()
	tlswire.ParseCertificateRequest(f.ins.tls.Message(), f.ins.tls.Version, &told.request)
	told.Request = &told.request
	f.unanswered = true
}
