package events

import (
	"encoding/hex"
	"slices"

	"tlsgate/internal/engine"
	"tlsgate/tlsrules/suites"
	"tlsgate/tlsrules/tlswire"
)

// ja3 is EVE's object, of JA3 and of JA3S.
type ja3 struct {
	Hash   string `json:"hash"`
	String string `json:"string"`
}

func ja3Of(hash [16]byte, text []byte) *ja3 {
	return &ja3{hex.EncodeToString(hash[:]), string(text)}
}

// details is what hellos say beside what EVE has fields for. What a hello does
// not have is left out.
type details struct {
	ECHOuter             *echOuter    `json:"ech_outer,omitempty"`
	EarlyData            bool         `json:"early_data,omitempty"`
	FallbackSCSV         bool         `json:"fallback_scsv,omitempty"`
	ExtendedMasterSecret *agreed      `json:"extended_master_secret,omitempty"`
	EncryptThenMAC       *agreed      `json:"encrypt_then_mac,omitempty"`
	Compression          *compression `json:"compression,omitempty"`
	CompressCertificate  []string     `json:"compress_certificate,omitempty"`
	Groups               []string     `json:"groups,omitempty"`
	KeyShares            []string     `json:"key_shares,omitempty"`
	PostQuantum          *postQuantum `json:"post_quantum,omitempty"`
	HelloRetry           *helloRetry  `json:"hello_retry,omitempty"`
	PSK                  *psk         `json:"psk,omitempty"`
	RecordSizeLimit      uint16       `json:"record_size_limit,omitempty"`
	MaxFragmentLength    uint8        `json:"max_fragment_length,omitempty"`
	StatusRequest        bool         `json:"status_request,omitempty"`
	DelegatedCredential  bool         `json:"delegated_credential,omitempty"`
	HeartbeatModes       *modes       `json:"heartbeat_modes,omitempty"`
}

// echOuter is an encrypted_client_hello as it looks from outside; the numbers
// are those of the HPKE registries.
type echOuter struct {
	ConfigID  uint8  `json:"config_id"`
	KDF       uint16 `json:"kdf"`
	AEAD      uint16 `json:"aead"`
	EncLength uint16 `json:"enc_length"`
	Length    uint16 `json:"length"`
}

// agreed is an extension without content. In TLS 1.3 these mean nothing, and
// none is selected.
type agreed struct {
	Offered  bool `json:"offered"`
	Selected bool `json:"selected"`
}

type compression struct {
	Offered  []string `json:"offered"`
	Selected string   `json:"selected,omitempty"`
}

type postQuantum struct {
	Offered  []string `json:"offered,omitempty"`
	Selected bool     `json:"selected"`
}

type helloRetry struct {
	Group  string `json:"group,omitempty"`
	Cookie bool   `json:"cookie,omitempty"`
}

type psk struct {
	Identities int      `json:"identities,omitempty"`
	Lengths    []uint16 `json:"lengths,omitempty"` // of the first four
	Modes      []string `json:"modes,omitempty"`
}

type modes struct {
	Offered  string `json:"offered,omitempty"`
	Selected string `json:"selected,omitempty"`
}

// detailsOf reads the hellos of a connection that had a ClientHello.
func detailsOf(c *tlswire.Conn) details {
	h := &c.ClientHello
	d := details{
		EarlyData: h.EarlyData, FallbackSCSV: h.FallbackSCSV(),
		CompressCertificate: slices.Collect(h.CertificateCompression.All()),
		Groups:              groupNames(h.SupportedGroups), KeyShares: groupNames(h.KeyShares),
		PSK:             pskOf(h),
		RecordSizeLimit: h.RecordSizeLimit, MaxFragmentLength: h.MaxFragmentLength,
		StatusRequest: h.StatusRequest, DelegatedCredential: h.DelegatedCredential,
		Compression: compressionOf(c), PostQuantum: postQuantumOf(c),
	}
	if e := &h.ECH; e.Present && !e.Inner {
		d.ECHOuter = &echOuter{e.ConfigID, e.KDF, e.AEAD, e.EncLength, e.Length}
	}
	if c.Retry {
		d.HelloRetry = &helloRetry{Cookie: c.RetryCookie}
		if c.RetryGroup != 0 {
			d.HelloRetry.Group = suites.GroupName(c.RetryGroup)
		}
	}
	var s tlswire.ServerHello // says nothing until there is one
	if c.HasServerHello {
		s = c.ServerHello
	}
	d.ExtendedMasterSecret = agreedOn(h.ExtendedMasterSecret, s.ExtendedMasterSecret)
	d.EncryptThenMAC = agreedOn(h.EncryptThenMAC, s.EncryptThenMAC)
	if h.Heartbeat != 0 || s.Heartbeat != 0 {
		d.HeartbeatModes = &modes{modeName(h.Heartbeat), modeName(s.Heartbeat)}
	}
	return d
}

func modeName(m tlswire.HeartbeatMode) string {
	if m == 0 {
		return ""
	}
	return m.String()
}

func agreedOn(offered, selected bool) *agreed {
	if !offered && !selected {
		return nil
	}
	return &agreed{offered, selected}
}

// compressionOf is nil where there is none, as nearly everywhere.
func compressionOf(c *tlswire.Conn) *compression {
	offered := c.ClientHello.Compressions
	var selected string
	if c.HasServerHello {
		for name := range tlswire.CompressionOf(c.ServerHello.Compression).All() {
			selected = name
		}
	}
	if offered&^tlswire.CompressionNull == 0 && (selected == "" || selected == "null") {
		return nil
	}
	return &compression{slices.Collect(offered.All()), selected}
}

func postQuantumOf(c *tlswire.Conn) *postQuantum {
	var offered []string
	for _, g := range c.ClientHello.SupportedGroups {
		if suites.IsPostQuantum(g) {
			offered = append(offered, suites.GroupName(g))
		}
	}
	selected := suites.IsPostQuantum(c.ServerGroup)
	if offered == nil && !selected {
		return nil
	}
	return &postQuantum{offered, selected}
}

func pskOf(h *tlswire.ClientHello) *psk {
	p := psk{Modes: slices.Collect(h.PSKModes.All())}
	p.Identities, _ = h.IdentityCount()
	for _, id := range h.Identities() {
		p.Lengths = append(p.Lengths, id.Length)
	}
	if p.Identities == 0 && p.Modes == nil {
		return nil
	}
	return &p
}

func groupNames(groups []uint16) []string {
	var names []string
	for _, g := range groups {
		names = append(names, suites.GroupName(g))
	}
	return names
}

// later is what happened after the hellos.
type later struct {
	Renegotiation *renegotiation `json:"renegotiation,omitempty"`
	Heartbeat     *heartbeat     `json:"heartbeat,omitempty"`
}

type renegotiation struct {
	By     []string `json:"by"`
	Count  int      `json:"count"`
	Secure bool     `json:"secure"`
}

type heartbeat struct {
	Requests  uint16 `json:"requests"`
	Responses uint16 `json:"responses"`
	Lies      uint16 `json:"lies,omitempty"`
	Inferred  uint16 `json:"inferred,omitempty"`
}

func laterOf(l *engine.Later) later {
	var out later
	for side, n := range l.Renegotiations {
		if n == 0 {
			continue
		}
		if out.Renegotiation == nil {
			out.Renegotiation = &renegotiation{Secure: l.SecureRenegotiation}
		}
		out.Renegotiation.By = append(out.Renegotiation.By, tlswire.Side(side).String())
		out.Renegotiation.Count += int(n)
	}
	if b := l.Heartbeats; b != (tlswire.Heartbeats{}) {
		out.Heartbeat = &heartbeat{b.Requests, b.Responses, b.Lies, b.Inferred}
	}
	return out
}
