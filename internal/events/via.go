package events

import (
	"strings"

	"tlsgate/internal/engine"
)

// beginning tells how TLS began, and where to and from whom, as far as what came
// before it has told.
type beginning struct {
	Via     string      `json:"via,omitempty"`
	Tunnel  *tunnel     `json:"tunnel,omitempty"`
	Proxied *connecting `json:"proxied,omitempty"`
}

// tunnel is where a CONNECT or SOCKS request asks to be led.
type tunnel struct {
	Host string `json:"host"`
	Port uint16 `json:"port"`
}

// connecting are the addresses of a connection that somebody else has handed on.
type connecting struct {
	SrcIP    string `json:"src_ip"`
	SrcPort  uint16 `json:"src_port"`
	DestIP   string `json:"dest_ip"`
	DestPort uint16 `json:"dest_port"`
}

func beginningOf(r *engine.Report) (b beginning) {
	if r.Via != 0 {
		b.Via = r.Via.String()
	}
	if r.Tunnel.Host != "" {
		b.Tunnel = &tunnel{Host: strings.ToValidUTF8(r.Tunnel.Host, "\uFFFD"), Port: r.Tunnel.Port}
	}
	if p := r.Proxied; p.Source.IsValid() {
		b.Proxied = &connecting{p.Source.Addr().String(), p.Source.Port(), p.Destination.Addr().String(), p.Destination.Port()}
	}
	return b
}
