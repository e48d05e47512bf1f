package engine

import (
	"bytes"
	"encoding/binary"
	"testing"

	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
	"tlsgate/tlsrules"
)

// TestSharedMemory: what a sender on this machine can still change goes on as it was
// read.
func TestSharedMemory(t *testing.T) {
	good, _ := hellos(t)
	for _, ready := range []bool{true, false} {
		l := newLab(t, config(), named("api.bank.example"))
		for _, k := range []*link{l.link4(), l.link6()} {
			if !k.synAck() || !k.ack(original) {
				t.Fatal("no connection")
			}
			s := k.segment(original, 0, good, packet.ACK|packet.PSH)
			raw := s.append(nil)
			was := bytes.Clone(raw)
			r := l.e.Packet(&nfq.Packet{Payload: raw, InDev: inside(raw), OutDev: 3 - inside(raw), ChecksumNotReady: !ready}, l.now)
			if r.Verdict == nfq.Drop || ready != (r.Payload == nil) || !ready && !bytes.Equal(r.Payload, was) {
				t.Errorf("checksum ready: %v: verdict %v, replaced by %d bytes", ready, r.Verdict, len(r.Payload))
			}
		}
	}
}

// TestSharedMemoryOnce: of a connection whose handshake is over nothing is copied,
// though record headers are read.
func TestSharedMemoryOnce(t *testing.T) {
	l := newLab(t, config(), policy(acceptAll, tlsrules.Rule{
		Name: "contents", Require: []tlsrules.Condition{condition("content_type", "handshake", "change_cipher_spec", "alert", "application_data")}, Otherwise: tlsrules.Reset,
	}))
	k := l.link4()
	turns := recording(t, "tls12 ecdhe")
	k.open()
	k.play(turns, strategies["mss"])
	s := k.segment(original, len(streams(turns)[original]), record(23, bytes.Repeat([]byte{7}, 1000)), packet.ACK|packet.PSH)
	raw := s.append(nil)
	r := l.e.Packet(&nfq.Packet{Payload: raw, InDev: inside(raw), OutDev: 3 - inside(raw), ChecksumNotReady: true}, l.now)
	if r.Verdict == nfq.Drop || r.Payload != nil {
		t.Errorf("verdict %v, replaced by %d bytes", r.Verdict, len(r.Payload))
	}
	if c := l.e.counts; c.Offloaded != 0 || c.Refused != 0 {
		t.Errorf("%d offloaded, %d refused", c.Offloaded, c.Refused)
	}
}

// TestSharedMemoryWindow: only a server that is known to have no room for copies is
// given none. One that has not been heard yet, of a connection that began unseen, is.
func TestSharedMemoryWindow(t *testing.T) {
	good, _ := hellos(t)
	for _, tt := range []struct {
		window int // the server's, -1: it is not heard
		copied bool
	}{{-1, true}, {roomy - 1, false}, {roomy, true}} {
		cfg := config()
		cfg.Default.Midstream = MidstreamAccept
		l := newLab(t, cfg, named("api.bank.example"))
		k := l.link4()
		l.alter = func(p *nfq.Packet) {
			if binary.BigEndian.Uint16(p.Payload[20:]) == 443 { // the server's
				binary.BigEndian.PutUint16(p.Payload[20+14:], uint16(tt.window))
			}
		}
		if tt.window >= 0 && !k.open() {
			t.Fatal("no connection")
		}
		s := k.segment(original, 0, good, packet.ACK|packet.PSH)
		raw := s.append(nil)
		r := l.e.Packet(&nfq.Packet{Payload: raw, InDev: inside(raw), OutDev: 3 - inside(raw), ChecksumNotReady: true}, l.now)
		if r.Verdict == nfq.Drop || tt.copied != (r.Payload != nil) {
			t.Errorf("window %d: verdict %v, replaced by %d bytes", tt.window, r.Verdict, len(r.Payload))
		}
	}
}
