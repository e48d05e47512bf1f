package lab

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// sprayEvery is how often Spray sends, some packets each time.
const sprayEvery = time.Millisecond / 2

// Spray sends the IP packets that next appends from a host to the gateway, until ctx
// ends: rate of them a second, those that are late included, or with 0 as many as it can.
// The host's own IP takes no part, nor does a queueing discipline. taken counts those that
// the gateway's link has taken; the others are sent again. Spray has a thread of its own,
// so that several send more.
func (h *Host) Spray(ctx context.Context, rate int, taken *atomic.Uint64, next func(dst []byte) []byte) error {
	s, err := newSender(h)
	if err != nil {
		return err
	}
	defer s.close()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	burst := senderFrames
	if rate > 0 {
		burst = min(max(rate/int(time.Second/sprayEvery), 1), senderFrames)
	}
	var ip []byte
	start := time.Now()
	for n := 0; ctx.Err() == nil; n += burst {
		if rate > 0 {
			time.Sleep(time.Until(start.Add(time.Duration(n) * time.Second / time.Duration(rate))))
		}
		for range burst {
			ip = next(ip[:0])
			s.ethernet(h, ip)
		}
		if err := s.flush(); err != nil {
			return err
		}
		taken.Add(uint64(burst))
	}
	return nil
}

// ethernet has an IP packet wait to be sent to the gateway.
func (s *sender) ethernet(h *Host, ip []byte) {
	kind := uint16(unix.ETH_P_IP)
	if ip[0]>>4 == 6 {
		kind = unix.ETH_P_IPV6
	}
	f := s.next(ethernetSize + len(ip))
	copy(f, h.link.gateway)
	copy(f[6:], nobody)
	put(f[12:], kind)
	copy(f[ethernetSize:], ip)
}
