package engine

import (
	"testing"

	"tlsgate/conntrack/packet"
	"tlsgate/nfq"
)

// TestLargeSegments: neither end is told to send segments that would be cut short.
func TestLargeSegments(t *testing.T) {
	good, _ := hellos(t)
	for _, tt := range []struct {
		name    string
		options []byte
		want    uint16 // 0: the packet is left as it is
		mptcp   MPTCP
	}{
		{"Ethernet", []byte{2, 4, 5, 180}, 0, MPTCPStrip},
		{"the largest", []byte{2, 4, 0xff, 0x78}, 0, MPTCPStrip},
		{"loopback", []byte{2, 4, 0xff, 0xd7}, mostSegment, MPTCPStrip},
		{"loopback, MPTCP", []byte{2, 4, 0xff, 0xd7, 30, 4, 1, 1}, mostSegment, MPTCPStrip},
		{"loopback, MPTCP accepted", []byte{2, 4, 0xff, 0xd7, 30, 4, 1, 1}, mostSegment, MPTCPAccept},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := config()
			cfg.MPTCP = tt.mptcp
			l := newLab(t, cfg, named("api.bank.example"))
			for _, k := range []*link{l.link4(), l.link6()} {
				s := k.segment(original, -1, nil, packet.SYN)
				s.ack, s.options = 0, tt.options
				raw := s.append(nil)
				r := l.e.Packet(&nfq.Packet{Payload: raw, InDev: inside(raw), OutDev: 3 - inside(raw)}, l.now)
				var p packet.Parsed
				switch {
				case r.Verdict == nfq.Drop:
					t.Errorf("dropped")
				case tt.want == 0 && r.Payload != nil:
					t.Errorf("replaced by %x", r.Payload)
				case tt.want != 0:
					if st := packet.Decode(r.Payload, &p); st != packet.OK || !p.ChecksumOK() || p.MSS != tt.want || p.MPTCP != (tt.mptcp == MPTCPAccept) {
						t.Errorf("replaced by %x: MSS %d, MPTCP %v, checksum %v", r.Payload, p.MSS, p.MPTCP, p.ChecksumOK())
					}
				}
				if !k.synAck() || !k.ack(original) || !k.data(original, 0, good) {
					t.Error("the connection does not work")
				}
			}
		})
	}
}
