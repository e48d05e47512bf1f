package events

import (
	"encoding/hex"

	"tlsgate/internal/engine"
)

// pinPart tells what part a connection has in a pin.
type pinPart struct {
	Rule    string            `json:"rule"`
	Group   map[string]string `json:"group,omitempty"` // what its connections have in common
	Outcome string            `json:"outcome"`         // taken, shared or refused
	Holder  *pinHolder        `json:"holder,omitempty"`
}

// pinHolder is who holds it.
type pinHolder struct {
	To           string `json:"to"` // connection or session
	FlowID       uint64 `json:"flow_id,omitempty"`
	SrcIP        string `json:"src_ip,omitempty"`
	SrcPort      uint16 `json:"src_port,omitempty"`
	DestIP       string `json:"dest_ip,omitempty"`
	DestPort     uint16 `json:"dest_port,omitempty"`
	ClientRandom string `json:"client_random,omitempty"`
	Since        string `json:"since"`
	ByHand       bool   `json:"by_hand,omitempty"`
	Awaits       string `json:"awaits,omitempty"` // by what one is known that has yet to come
}

func pinOf(r *engine.Report) *pinPart {
	p := r.Pin
	if p == nil {
		return nil
	}
	part := &pinPart{Rule: p.Rule, Group: engine.GroupValues(p.Group), Outcome: p.Told.String()}
	h := p.Holder
	if h == nil {
		return part
	}
	part.Holder = &pinHolder{To: "connection", FlowID: h.ID, Since: timestamp(h.Since), ByHand: h.ByHand, Awaits: h.Awaits}
	if h.Session {
		part.Holder.To = "session"
	}
	if h.Client.IsValid() {
		part.Holder.SrcIP, part.Holder.SrcPort = h.Client.Addr().String(), h.Client.Port()
		part.Holder.DestIP, part.Holder.DestPort = h.Server.Addr().String(), h.Server.Port()
	}
	if h.Random != [32]byte{} {
		part.Holder.ClientRandom = hex.EncodeToString(h.Random[:])
	}
	return part
}
