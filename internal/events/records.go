package events

import (
	"tlsgate/internal/engine"
	"tlsgate/tlsrules/tlswire"
)

// recordsPart counts records by outer content type, as Wireshark does. Its fields
// stand in the order of their names, as those of a map would.
type recordsPart struct {
	ToClient recordCounts `json:"toclient"`
	ToServer recordCounts `json:"toserver"`
}

type recordCounts struct {
	Alert            uint32 `json:"alert,omitempty"`
	ApplicationData  uint32 `json:"application_data,omitempty"`
	ChangeCipherSpec uint32 `json:"change_cipher_spec,omitempty"`
	Handshake        uint32 `json:"handshake,omitempty"`
	Heartbeat        uint32 `json:"heartbeat,omitempty"`
}

func records(r *engine.Report) *recordsPart {
	return &recordsPart{ToServer: countsOf(&r.Records[tlswire.Client]), ToClient: countsOf(&r.Records[tlswire.Server])}
}

func countsOf(c *tlswire.RecordCounts) recordCounts {
	return recordCounts{
		Alert:            c.Of(tlswire.RecordTypeAlert),
		ApplicationData:  c.Of(tlswire.RecordTypeApplicationData),
		ChangeCipherSpec: c.Of(tlswire.RecordTypeChangeCipherSpec),
		Handshake:        c.Of(tlswire.RecordTypeHandshake),
		Heartbeat:        c.Of(tlswire.RecordTypeHeartbeat),
	}
}
