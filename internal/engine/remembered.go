package engine

import (
	"time"

	"tlsgate/conntrack"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/certs"
	"tlsgate/tlsrules/tlswire"
)

const fallbackSCSV = 0x5600 // RFC 7507, Section 2

// memory is what a connection's facts are put together in once nothing of it is
// read any more, and what they are judged with.
type memory struct {
	facts     tlsrules.Facts
	judgement tlsrules.Judgement
	client    tlswire.ClientHello
	server    tlswire.ServerHello
	chain     [1]*certs.Certificate
}

// firstFacts are what the first packet of a connection tells, which came in and
// went out at these interfaces.
func (e *Engine) firstFacts(c *conntrack.Conn[flow], in, out uint32) tlsrules.Facts {
	f := tlsrules.Facts{
		Source:       c.Addr(conntrack.Original).Addr(),
		Destination:  c.Addr(conntrack.Reply).Addr(),
		SourcePort:   c.Addr(conntrack.Original).Port(),
		Port:         c.Addr(conntrack.Reply).Port(),
		Began:        uint32(e.cfg.Wall.Time(c.Start) / int64(time.Second)),
		InInterface:  e.cfg.Interface(in),
		OutInterface: e.cfg.Interface(out),
	}
	f.Known.Add(tlsrules.StageSYN)
	return f
}

// remembered puts together what is still known of a connection. It is valid until
// the next call.
func (e *Engine) remembered(c *conntrack.Conn[flow]) *tlsrules.Facts {
	f, m := &c.Value, &e.memory
	*m = memory{facts: e.firstFacts(c, f.devices[conntrack.Original], f.devices[conntrack.Reply])}
	facts := &m.facts
	s := f.sum.said
	if s == nil || c.Midstream && !s.hello { // of which the beginning was not seen
		return facts
	}
	facts.Known, facts.Never, facts.Protocol, facts.Via = s.known, s.never, s.protocol, s.via
	facts.Known.Remove(tlsrules.StageRecords)
	facts.Lost = tlsrules.LostHello | tlsrules.LostTexts
	if s.long {
		facts.Lost |= tlsrules.LostNames
	}
	facts.Resumes, facts.Resumed = s.resumes, s.resumed
	facts.Group, facts.DHBits, facts.GroupSettled = s.group, s.dhBits, s.groupSettled
	if s.hello {
		m.client = tlswire.ClientHello{
			ServerName: []byte(s.ServerName), HasServerName: s.named, ALPN: tlswire.ProtocolList(s.offered), EarlyData: s.earlyData,
		}
		m.client.ECH.Present = s.ech
		if s.fallback {
			m.client.CipherSuites = []uint16{fallbackSCSV}
		}
		facts.Client = &m.client
	}
	if s.server {
		m.server = tlswire.ServerHello{Version: s.Version, CipherSuite: s.Cipher, ALPN: []byte(s.ALPN)}
		facts.Server = &m.server
	}
	if leaf := s.leaf.Value(); leaf != nil {
		m.chain[0] = leaf
		facts.Chain, facts.CertExpired = m.chain[:], leaf.Expired(time.Unix(0, c.Start))
	} else if s.chained {
		facts.Lost |= tlsrules.LostCertificate
	}
	return facts
}
