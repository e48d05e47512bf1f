package tlsrules

import (
	"net/netip"
	"testing"

	"tlsgate/tlsrules/certs"
	"tlsgate/tlsrules/suites"
	"tlsgate/tlsrules/tlswire"
	"tlsgate/tlsrules/via"
)

// alpn writes protocols as RFC 7301, Section 3.1 does.
func alpn(names ...string) (list tlswire.ProtocolList) {
	for _, n := range names {
		list = append(append(list, byte(len(n))), n...)
	}
	return list
}

func suite(t testing.TB, name string) uint16 {
	t.Helper()
	s, ok := suites.Lookup(name)
	if !ok {
		t.Fatalf("no suite %s", name)
	}
	return s.Code
}

// atSYN are the facts of a connection whose SYN was seen.
func atSYN() *Facts {
	f := &Facts{
		Source: netip.MustParseAddr("192.0.2.10"), SourcePort: 40887,
		Destination: netip.MustParseAddr("203.0.113.10"), Port: 443,
		InInterface: "eth1", OutInterface: "wan0",
	}
	f.Known.Add(StageSYN)
	return f
}

func atFirstBytes(p tlswire.Protocol) *Facts {
	f := atSYN()
	f.Protocol = p
	f.Known.Add(StageFirstBytes)
	return f
}

// atClientHello has an ordinary hello, with GREASE and a signalling value.
func atClientHello() *Facts {
	f := atFirstBytes(tlswire.ProtocolTLS)
	f.Known.Add(StageClientHello)
	f.Client = &tlswire.ClientHello{
		LegacyVersion: suites.VersionTLS12,
		Random:        [32]byte{1, 2, 3},
		CipherSuites:  []uint16{0x0a0a, 0x1301, 0xc02f, 0xc030, 0x002f, 0x00ff},
		Extensions:    []uint16{0x1a1a, 0, 10, 16, 43},
		HasServerName: true, ServerName: []byte("API.bank.example"),
		ALPN:                alpn("h2", "http/1.1"),
		SupportedVersions:   []uint16{0x2a2a, suites.VersionTLS13, suites.VersionTLS12},
		SupportedGroups:     []uint16{0x3a3a, 29, 23},
		SignatureAlgorithms: []uint16{0x0403, 0x0804},
	}
	return f
}

// atServerHello has selected TLS 1.2 and a suite; the group is known.
func atServerHello() *Facts {
	f := atClientHello()
	f.Known.Add(StageServerHello)
	f.Server = &tlswire.ServerHello{
		LegacyVersion: suites.VersionTLS12, Version: suites.VersionTLS12,
		CipherSuite: 0xc02f, ALPN: []byte("h2"),
	}
	f.Group = 29
	return f
}

// atCertificate has all that a TLS 1.2 handshake tells, and all that came
// before it. No handshake has both the group and the prime.
func atCertificate() *Facts {
	f := atServerHello()
	f.Known.Add(StageCertificate)
	f.Via.Add(via.Direct)
	f.Contains, f.ContainsOver = 1, true
	f.Resumes, f.Resumed = tlswire.ResumesTicket, ResumedKnown
	f.DHBits = 2048
	f.CertExpired = true
	f.Chain = []*certs.Certificate{{
		Subject: "C=US, O=Bank, Inc., CN=api.bank.example", SubjectParts: []string{"C=US", "O=Bank, Inc.", "CN=api.bank.example"},
		Issuer: "O=Example", IssuerParts: []string{"O=Example"},
		CommonName: "api.bank.example",
		SANs: []certs.Name{{Kind: certs.DNSName, Value: "API.bank.example"}, {Kind: certs.DNSName, Value: "*.pay.bank.example"},
			{Kind: certs.IPAddress, Value: "192.0.2.7"}, {Kind: certs.EmailName, Value: "mail.example"}},
		SHA256: [32]byte{1, 2}, HasSPKI: true, SPKISHA256: [32]byte{31: 3}, Key: certs.Key{Kind: certs.RSA, Bits: 2048},
	}}
	return f
}

func atTLS13() *Facts {
	f := atServerHello()
	f.Server.Version, f.Server.CipherSuite, f.Server.ALPN = suites.VersionTLS13, 0x1301, nil
	f.Known.Remove(StageCertificate)
	f.Never.Add(StageCertificate)
	return f
}

func withContent(f *Facts, c tlswire.Content) *Facts {
	f.Content = c
	return f
}

func withAlert(f *Facts, a tlswire.AlertMessage) *Facts {
	f.Content, f.Alert, f.HasAlert = tlswire.AlertContent, a, true
	return f
}

func cond(t testing.TB, key string, values ...string) Condition {
	t.Helper()
	k, ok := ParseKey(key)
	if !ok {
		t.Fatalf("no key %s", key)
	}
	c, err := ParseCondition(k, values)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func conds(list ...Condition) []Condition { return list }

func policy(t testing.TB, def Defaults, rules ...Rule) *Policy {
	t.Helper()
	p, err := New(rules, def)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
