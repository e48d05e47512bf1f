package main

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
)

// links counts what the kernel tells of changes to links: new ones, new names, others
// under an old number. Its zero value has heard of none. Safe for concurrent use.
type links struct{ changes atomic.Uint64 }

// listen counts until ctx ends. What it cannot hear, for it has no socket or too much
// was told at once, it takes for a change each time it tries again.
func (l *links) listen(ctx context.Context) {
	for ctx.Err() == nil {
		told, done := make(chan netlink.LinkUpdate, 64), make(chan struct{})
		stop := context.AfterFunc(ctx, func() { close(done) })
		if netlink.LinkSubscribe(told, done) == nil {
			l.changes.Add(1)
			for range told {
				l.changes.Add(1)
			}
		}
		stop()
		l.changes.Add(1)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// names looks interfaces up by index, and remembers names until there is a change. It
// serves one worker; how many it remembers is bounded.
func (l *links) names() func(uint32) string {
	names, heard := map[uint32]string{}, uint64(0)
	return func(index uint32) string {
		if index == 0 {
			return ""
		}
		if now := l.changes.Load(); now != heard || len(names) > 1024 {
			heard = now
			clear(names)
		}
		if name, ok := names[index]; ok {
			return name
		}
		link, err := net.InterfaceByIndex(int(index))
		if err != nil {
			return ""
		}
		names[index] = link.Name
		return link.Name
	}
}
