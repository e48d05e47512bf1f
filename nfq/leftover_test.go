package nfq

import (
	"slices"
	"testing"
)

// TestQueuesOf: of the rules in place only those of ours tell queues, as iptables-save of
// either variant prints them.
func TestQueuesOf(t *testing.T) {
	for _, tt := range []struct {
		rule string
		want []uint16
	}{
		{"-A TLSGATE-QUEUE -j NFQUEUE --queue-num 5 --queue-bypass", []uint16{5}},
		{"-A TLSGATE-QUEUE -j NFQUEUE --queue-num 65535", []uint16{65535}},
		{"-A TLSGATE-QUEUE -p tcp -j NFQUEUE --queue-balance 2:4 --queue-cpu-fanout", []uint16{2, 3, 4}},
		{"-A TLSGATE-QUEUE -j NFQUEUE --queue-balance 65534:65535", []uint16{65534, 65535}},
		{"-A TLSGATE-QUEUE -j NFQUEUE --queue-balance 4:2", nil},
		{"-A TLSGATE-QUEUE -j NFQUEUE --queue-balance 4:", nil},
		{"-A TLSGATE-QUEUE -j NFQUEUE --queue-num 65536", nil},
		{"-A TLSGATE-QUEUE -j NFQUEUE --queue-num", nil},
		{"-A TLSGATE-QUEUE -j NFQUEUE", nil},
		{"-A TLSGATE-QUEUE -j ACCEPT", nil},
		{"-A FORWARD -j NFQUEUE --queue-num 7", nil},
		{":TLSGATE-QUEUE - [0:0]", nil},
		{"NFQUEUE", nil},
		{"", nil},
	} {
		saved := "*mangle\n-A FORWARD -j TLSGATE-QUEUE\n" + tt.rule + "\n-A TLSGATE-QUEUE -j NFQUEUE --queue-num 9\nCOMMIT\n"
		if got, want := queuesOf(saved), append(slices.Clone(tt.want), 9); !slices.Equal(got, want) {
			t.Errorf("%s: %d, want %d", tt.rule, got, want)
		}
	}
}

// TestServes: the queues of rules are as many as their workers, one at least.
func TestServes(t *testing.T) {
	for _, tt := range []struct {
		first   uint16
		workers int
		want    []uint16
	}{
		{5, 0, []uint16{5}},
		{5, 1, []uint16{5}},
		{5, 3, []uint16{5, 6, 7}},
		{65534, 4, []uint16{65534, 65535}},
	} {
		var got []uint16
		for q := range 1 << 16 {
			if (Rules{Queue: tt.first, Workers: tt.workers}).serves(uint16(q)) {
				got = append(got, uint16(q))
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%d workers from %d on: %d", tt.workers, tt.first, got)
		}
	}
}
