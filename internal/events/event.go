package events

import (
	"encoding/hex"
	"time"

	"tlsgate/conntrack"
	"tlsgate/internal/engine"
	"tlsgate/tlsrules/suites"
	"tlsgate/tlsrules/tlswire"
)

// event is one line. Field names are EVE's; ours stand under tlsgate.
type event struct {
	Timestamp string   `json:"timestamp"`
	FlowID    uint64   `json:"flow_id,omitempty"`
	Type      string   `json:"event_type"`
	InIface   string   `json:"in_iface,omitempty"`
	SrcIP     string   `json:"src_ip,omitempty"`
	SrcPort   uint16   `json:"src_port,omitempty"`
	DestIP    string   `json:"dest_ip,omitempty"`
	DestPort  uint16   `json:"dest_port,omitempty"`
	Proto     string   `json:"proto,omitempty"`
	TLS       *tlsPart `json:"tls,omitempty"`
	Flow      *flow    `json:"flow,omitempty"`
	TCP       *tcp     `json:"tcp,omitempty"`
	Stats     *stats   `json:"stats,omitempty"`
	Ours      *ours    `json:"tlsgate,omitempty"`
}

type tlsPart struct {
	Version         string           `json:"version,omitempty"`
	SNI             string           `json:"sni,omitempty"`
	JA3             *ja3             `json:"ja3,omitempty"`
	JA3S            *ja3             `json:"ja3s,omitempty"`
	JA4             string           `json:"ja4,omitempty"`
	SessionResumed  *bool            `json:"session_resumed,omitempty"`
	ClientALPNs     []string         `json:"client_alpns,omitempty"`
	ServerALPNs     []string         `json:"server_alpns,omitempty"`
	ClientHandshake *clientHandshake `json:"client_handshake,omitempty"`
	ServerHandshake *serverHandshake `json:"server_handshake,omitempty"`
	leaf
	Client *leaf `json:"client,omitempty"` // its certificate
}

type clientHandshake struct {
	Version string   `json:"version"` // the hello's legacy version
	Ciphers []uint16 `json:"ciphers"`
	Exts    []uint16 `json:"exts"`
	SigAlgs []uint16 `json:"sig_algs,omitempty"`
}

type serverHandshake struct {
	Version string   `json:"version"`
	Cipher  uint16   `json:"cipher"`
	Exts    []uint16 `json:"exts"`
}

// flow is EVE's flow object.
type flow struct {
	PktsToServer  uint64 `json:"pkts_toserver"`
	PktsToClient  uint64 `json:"pkts_toclient"`
	BytesToServer uint64 `json:"bytes_toserver"`
	BytesToClient uint64 `json:"bytes_toclient"`
	Start         string `json:"start"`
	End           string `json:"end"`
	Age           int64  `json:"age"` // seconds
	State         string `json:"state"`
	Reason        string `json:"reason"`
}

type tcp struct {
	State string `json:"state"`
}

// ours is what EVE has no field for.
type ours struct {
	Verdict      string       `json:"verdict,omitempty"`
	Rule         string       `json:"rule,omitempty"`
	Reason       string       `json:"reason,omitempty"`
	Detail       string       `json:"detail,omitempty"`
	Packet       uint64       `json:"packet,omitempty"`
	AlertSent    string       `json:"alert_sent,omitempty"`
	Observed     bool         `json:"observed,omitempty"`
	Stage        string       `json:"stage,omitempty"`
	Cipher       string       `json:"cipher,omitempty"`
	Group        string       `json:"group,omitempty"`
	SessionID    string       `json:"session_id,omitempty"`
	ClientRandom string       `json:"client_random,omitempty"`
	Protocol     string       `json:"protocol,omitempty"`
	ECH          *bool        `json:"ech,omitempty"`
	Phase        string       `json:"phase,omitempty"`
	Records      *recordsPart `json:"records,omitempty"`
	Alerts       []alert      `json:"alerts,omitempty"`
	Midstream    bool         `json:"midstream,omitempty"`
	Cut          bool         `json:"cut,omitempty"`    // a capture lacks bytes of it
	Waited       float64      `json:"waited,omitempty"` // seconds, for a gate
	Offloaded    bool         `json:"offloaded"`
	Diagnosis    *diagnosis   `json:"diagnosis,omitempty"`
	Pin          *pinPart     `json:"pin,omitempty"`
	beginning
	sessionPart
	details
	credentials
	later
}

type alert struct {
	From        string `json:"from"`
	Level       string `json:"level,omitempty"`
	Description string `json:"description,omitempty"`
	Encrypted   bool   `json:"encrypted,omitempty"`
	Inferred    bool   `json:"inferred,omitempty"` // by its length: TLS 1.3
}

type diagnosis struct {
	Code string `json:"code"`
	Text string `json:"text"`
}

func tlsEvent(r *engine.Report) *event {
	e := connection(r, "tls")
	e.TLS = handshake(r)
	e.Ours = gate(r)
	certify(e, r)
	return e
}

func dropEvent(r *engine.Report) *event {
	e := connection(r, "drop")
	e.TLS = handshake(r)
	e.Ours = gate(r)
	certify(e, r)
	remembered(e, &r.Said)
	return e
}

func flowEvent(r *engine.Report) *event {
	e := connection(r, "flow")
	e.Flow = &flow{
		PktsToServer: r.Packets[0], PktsToClient: r.Packets[1],
		BytesToServer: r.Bytes[0], BytesToClient: r.Bytes[1],
		Start: timestamp(r.Start), End: timestamp(r.Last),
		Age:    (r.Last - r.Start) / int64(time.Second),
		State:  flowState(r.State),
		Reason: r.End.String(),
	}
	e.TCP = &tcp{State: r.State.String()}
	e.Ours = gate(r)
	e.Ours.Diagnosis = &diagnosis{Code: r.Diagnosis.Code, Text: r.Diagnosis.Text}
	return e
}

func connection(r *engine.Report, kind string) *event {
	return &event{
		Timestamp: timestamp(r.Time), FlowID: r.ID, Type: kind, InIface: r.InInterface,
		SrcIP: r.Original.Addr().String(), SrcPort: r.Original.Port(),
		DestIP: r.Reply.Addr().String(), DestPort: r.Reply.Port(), Proto: "TCP",
	}
}

// handshake tells what the hellos said; nil when none was seen.
func handshake(r *engine.Report) *tlsPart {
	c := r.TLS
	if c == nil || !c.HasClientHello && !c.HasServerHello {
		return nil
	}
	part := &tlsPart{SessionResumed: resumed(r)}
	if c.HasClientHello {
		h := &c.ClientHello
		part.SNI = string(h.ServerName)
		part.ClientHandshake = &clientHandshake{
			Version: suites.VersionName(h.LegacyVersion),
			Ciphers: list(h.CipherSuites), Exts: list(h.Extensions), SigAlgs: h.SignatureAlgorithms,
		}
		part.JA3 = ja3Of(h.JA3(), h.AppendJA3(nil))
		part.JA4 = string(h.AppendJA4(nil))
		for p := range h.ALPN.All() {
			part.ClientALPNs = append(part.ClientALPNs, string(p))
		}
	}
	if c.HasServerHello {
		s := &c.ServerHello
		part.Version = suites.VersionName(s.Version)
		if len(s.ALPN) > 0 {
			part.ServerALPNs = []string{string(s.ALPN)}
		}
		part.JA3S = ja3Of(s.JA3S(), s.AppendJA3S(nil))
		part.ServerHandshake = &serverHandshake{
			Version: suites.VersionName(s.LegacyVersion), Cipher: s.CipherSuite, Exts: list(s.Extensions),
		}
	}
	return part
}

// remembered tells of the hellos what is known of a connection that is no longer read.
func remembered(e *event, s *engine.Said) {
	if s.ServerName == "" && s.Version == 0 {
		return
	}
	e.TLS = &tlsPart{SNI: s.ServerName}
	if s.ALPN != "" {
		e.TLS.ServerALPNs = []string{s.ALPN}
	}
	if s.Version != 0 {
		e.TLS.Version, e.Ours.Cipher = suites.VersionName(s.Version), suites.Name(s.Cipher)
	}
}

// list is never null, which readers would have to expect.
func list(numbers []uint16) []uint16 {
	if numbers == nil {
		return []uint16{}
	}
	return numbers
}

// gate tells what the firewall made of the connection.
func gate(r *engine.Report) *ours {
	d := &r.Decision
	o := &ours{Rule: d.Rule, Midstream: r.Midstream, Offloaded: r.Offloaded, Observed: d.Observed, Pin: pinOf(r), beginning: beginningOf(r), sessionPart: sessionOf(r)}
	o.Cut = r.Cut > 0 || r.Missing > 0 || r.Partial
	if d.Decided {
		o.Verdict = d.Action.Name()
		o.Stage = d.Stage.String()
	}
	if r.Held {
		o.Verdict = "hold"
	}
	o.Waited = float64(r.Waited/time.Millisecond) / 1000
	if r.Packet != 0 {
		o.Reason, o.Detail, o.Packet = d.Reason.String(), r.Detail, r.Packet
	}
	if r.AlertSent != 0 {
		o.AlertSent = suites.AlertName(r.AlertSent)
	}
	for _, a := range r.Alerts {
		o.Alerts = append(o.Alerts, alertOf(a))
	}
	if r.SawTLS {
		o.Phase = r.Phase.String()
		o.Records = records(r)
		o.later = laterOf(&r.Later)
	}
	if c := r.TLS; c != nil {
		o.Protocol = c.Protocol.String()
		tell(o, c)
	}
	return o
}

func tell(o *ours, c *tlswire.Conn) {
	if c.HasClientHello {
		h := &c.ClientHello
		o.ClientRandom = hex.EncodeToString(h.Random[:])
		o.SessionID = hex.EncodeToString(h.SessionID)
		ech := h.ECH.Present
		o.ECH = &ech
		o.details = detailsOf(c)
	}
	if c.HasServerHello {
		o.Cipher = suites.Name(c.ServerHello.CipherSuite)
		if c.ServerHello.Version <= 0x0303 {
			o.SessionID = hex.EncodeToString(c.ServerHello.SessionID)
		}
		if c.ServerGroup != 0 {
			o.Group = suites.GroupName(c.ServerGroup)
		}
	}
}

func alertOf(a engine.AlertSeen) alert {
	if a.Alert.Encrypted {
		return alert{From: a.From.String(), Encrypted: true, Inferred: a.Alert.Inferred}
	}
	return alert{From: a.From.String(), Level: a.Alert.Level.String(), Description: suites.AlertName(a.Alert.Description)}
}

// flowState gives EVE's word for a TCP state.
func flowState(s conntrack.State) string {
	switch s {
	case conntrack.None, conntrack.SynSent, conntrack.SynRecv, conntrack.SynSent2:
		return "new"
	case conntrack.Established:
		return "established"
	}
	return "closed"
}
