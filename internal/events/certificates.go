package events

import (
	"encoding/hex"
	"strconv"
	"time"

	"tlsgate/internal/engine"
	"tlsgate/tlsrules/certs"
	"tlsgate/tlsrules/suites"
	"tlsgate/tlsrules/tlswire"
)

// leaf is what EVE says of a certificate: of the server's in the tls object
// itself, of the client's in an object of its own.
type leaf struct {
	Subject        string   `json:"subject,omitempty"`
	IssuerDN       string   `json:"issuerdn,omitempty"`
	Serial         string   `json:"serial,omitempty"`
	Fingerprint    string   `json:"fingerprint,omitempty"` // SHA-1
	SubjectAltName []string `json:"subjectaltname,omitempty"`
	NotBefore      string   `json:"notbefore,omitempty"`
	NotAfter       string   `json:"notafter,omitempty"`
}

// certificate is what EVE has no fields for.
type certificate struct {
	Type       string `json:"type,omitempty"` // raw_public_key, openpgp; X.509 is not said
	Version    int    `json:"version,omitempty"`
	SHA256     string `json:"sha256"`
	SPKISHA256 string `json:"spki_sha256,omitempty"`
	Key        string `json:"key"`
	Signature  string `json:"signature,omitempty"`
	SelfSigned bool   `json:"self_signed"`
	Expired    bool   `json:"expired"`
	MoreNames  int    `json:"more_names,omitempty"` // of the subjectAltName, than are told
	Problem    string `json:"problem,omitempty"`
}

// link is one certificate of a chain.
type link struct {
	Subject     string `json:"subject"`
	Issuer      string `json:"issuer"`
	Serial      string `json:"serial"`
	Fingerprint string `json:"fingerprint"`
	SHA256      string `json:"sha256"`
	NotBefore   string `json:"notbefore,omitempty"`
	NotAfter    string `json:"notafter,omitempty"`
	Key         string `json:"key"`
	Problem     string `json:"problem,omitempty"`
}

// certificateRequest is what the server asks of the client's certificate.
type certificateRequest struct {
	Types       []string `json:"types"`
	SigAlgs     []string `json:"sig_algs,omitempty"`
	Authorities int      `json:"authorities"`
}

// credentials are what the two sides prove who they are with, up to TLS 1.2.
type credentials struct {
	Certificate        *certificate        `json:"certificate,omitempty"`
	Chain              []link              `json:"chain,omitempty"`      // the leaf first
	ChainMore          int                 `json:"chain_more,omitempty"` // certificates that are not told
	ChainBroken        bool                `json:"chain_broken,omitempty"`
	ClientCertificate  *certificate        `json:"client_certificate,omitempty"`
	ClientChain        []link              `json:"client_chain,omitempty"`
	ClientChainMore    int                 `json:"client_chain_more,omitempty"`
	ClientChainBroken  bool                `json:"client_chain_broken,omitempty"`
	CertificateRequest *certificateRequest `json:"certificate_request,omitempty"`
	OCSPStapled        bool                `json:"ocsp_stapled,omitempty"`
	DHBits             uint16              `json:"dh_bits,omitempty"`
	SignatureScheme    string              `json:"signature_scheme,omitempty"`
}

// maxNames is how many names of a certificate are told in one event.
const maxNames = 256

// eveTime is the form of EVE's notbefore; "" for a time that could not be read.
func eveTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format("2006-01-02T15:04:05")
}

// leafOf gives EVE's fields.
func leafOf(c *certs.Certificate) leaf {
	l := leaf{
		Subject: c.Subject, IssuerDN: c.Issuer, Serial: c.Serial, Fingerprint: c.Fingerprint(),
		NotBefore: eveTime(c.NotBefore), NotAfter: eveTime(c.NotAfter),
	}
	for _, n := range c.SANs[:min(len(c.SANs), maxNames)] {
		if n.Value != "" {
			l.SubjectAltName = append(l.SubjectAltName, n.Value)
		}
	}
	return l
}

// certificateOf gives the rest; expired is as of a time.
func certificateOf(c *certs.Certificate, t tlswire.CertificateType, now int64) *certificate {
	p := &certificate{
		Version: c.Version, SHA256: hex.EncodeToString(c.SHA256[:]), Key: c.Key.String(), Signature: c.Signature,
		SelfSigned: c.SelfSigned, Expired: c.Expired(time.Unix(0, now)), Problem: c.Problem,
		MoreNames: c.MoreSANs + max(0, len(c.SANs)-maxNames),
	}
	if c.HasSPKI {
		p.SPKISHA256 = hex.EncodeToString(c.SPKISHA256[:])
	}
	switch t {
	case tlswire.CertificateX509:
	case tlswire.CertificateRawPublicKey:
		p.Type = "raw_public_key"
	case tlswire.CertificateOpenPGP:
		p.Type = "openpgp"
	default:
		p.Type = strconv.Itoa(int(t))
	}
	return p
}

func chainOf(chain []*certs.Certificate) []link {
	links := make([]link, len(chain))
	for i, c := range chain {
		links[i] = link{
			Subject: c.Subject, Issuer: c.Issuer, Serial: c.Serial,
			Fingerprint: c.Fingerprint(), SHA256: hex.EncodeToString(c.SHA256[:]),
			NotBefore: eveTime(c.NotBefore), NotAfter: eveTime(c.NotAfter),
			Key: c.Key.String(), Problem: c.Problem,
		}
	}
	return links
}

// certify adds what is known of certificates to both parts of an event.
func certify(e *event, r *engine.Report) {
	part, o, t := e.TLS, e.Ours, r.TLS
	if part == nil || r.Facts == nil || !t.HasServerHello {
		return
	}
	client, server := t.ClientHelloFrom, t.ClientHelloFrom.Other()
	o.OCSPStapled, o.DHBits = t.OCSPStapled, r.Facts.DHBits
	if t.SignatureScheme != 0 {
		o.SignatureScheme = suites.SignatureName(t.SignatureScheme)
	}
	if chain := r.Facts.Chain; len(chain) > 0 {
		if !chain[0].RawPublicKey {
			part.leaf = leafOf(chain[0])
		}
		o.Certificate, o.Chain = certificateOf(chain[0], t.CertificateType[server], r.Time), chainOf(chain)
	}
	c := r.Certificates
	if c == nil {
		return
	}
	o.ChainMore, o.ChainBroken = c.More[server], c.Broken[server]
	o.ClientChainMore, o.ClientChainBroken = c.More[client], c.Broken[client]
	if chain := c.Client; len(chain) > 0 {
		if !chain[0].RawPublicKey {
			l := leafOf(chain[0])
			part.Client = &l
		}
		o.ClientCertificate, o.ClientChain = certificateOf(chain[0], t.CertificateType[client], r.Time), chainOf(chain)
	}
	if q := c.Request; q != nil {
		o.CertificateRequest = &certificateRequest{Types: typeNames(q.Types), Authorities: q.Authorities}
		for _, scheme := range q.SignatureAlgorithms {
			o.CertificateRequest.SigAlgs = append(o.CertificateRequest.SigAlgs, suites.SignatureName(scheme))
		}
	}
}

// clientCertificateTypes are of the registry of TLS ClientCertificateType
// Identifiers.
var clientCertificateTypes = map[byte]string{
	1: "rsa_sign", 2: "dss_sign", 3: "rsa_fixed_dh", 4: "dss_fixed_dh", 5: "rsa_ephemeral_dh", 6: "dss_ephemeral_dh",
	20: "fortezza_dms", 64: "ecdsa_sign", 65: "rsa_fixed_ecdh", 66: "ecdsa_fixed_ecdh", 67: "gost_sign256", 68: "gost_sign512",
}

func typeNames(types []byte) []string {
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = clientCertificateTypes[t]
		if names[i] == "" {
			names[i] = strconv.Itoa(int(t))
		}
	}
	return names
}
