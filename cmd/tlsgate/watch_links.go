package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"

	"tlsgate/internal/control"
	"tlsgate/internal/engine"
)

const (
	// wholeSize is what a link may make of packets at most (linux/netdevice.h:
	// GSO_LEGACY_MAX_SIZE): a queued packet is a netlink attribute and has 65531 bytes.
	wholeSize = 65536

	linksEvery = 10 * time.Second // the kernel does not tell of every change
	lately     = time.Minute
)

// oversize is what makes packets that are longer than a message of the queue can hold, as
// far as we know: links that may (BIG TCP), and such packets seen. While there are any,
// the kernel cuts up what it queues. Its zero value knows nothing. Safe for concurrent use.
type oversize struct {
	mu     sync.Mutex
	links  string // "" for none
	seen   uint64 // packets
	at     time.Time
	latest string
	cut    bool
}

// bigLinks names the links that may hand over packets which are too long, and what each
// of them has to be set to.
func bigLinks(links []netlink.Link) string {
	var big []string
	for _, l := range links {
		a := l.Attrs()
		if a.Flags&net.FlagUp == 0 {
			continue
		}
		var over []string
		for _, s := range []struct {
			name string
			size uint32
		}{{"gso_max_size", a.GSOMaxSize}, {"gso_ipv4_max_size", a.GSOIPv4MaxSize}, {"gro_max_size", a.GROMaxSize}, {"gro_ipv4_max_size", a.GROIPv4MaxSize}} {
			if s.size > wholeSize {
				over = append(over, fmt.Sprintf("%s %d", s.name, s.size))
			}
		}
		if over != nil {
			big = append(big, a.Name+" ("+strings.Join(over, ", ")+")")
		}
	}
	const told = 4
	if len(big) > told {
		big = append(big[:told], fmt.Sprintf("%d more", len(big)-told))
	}
	return strings.Join(big, ", ")
}

const (
	linksText = "links may hand over packets that are too long for a queue: %s"
	linksHint = "until they are set to 65536 (ip link set dev LINK gso_max_size 65536 gro_max_size 65536), the kernel cuts up what it queues, which takes several times the work"
)

// watchLinks looks at the links now and then, and at what comes of those that are not
// ours to see.
func (w *watchman) watchLinks(ctx context.Context) {
	every := time.NewTicker(time.Second)
	defer every.Stop()
	heard, looked := uint64(0), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
			if now := w.devices.changes.Load(); now != heard || time.Since(looked) > linksEvery {
				heard, looked = now, time.Now()
				w.lookAtLinks()
			}
			w.lookAtPackets()
			w.lookAtWall()
			w.lookAtCertificates()
		}
	}
}

func (w *watchman) lookAtLinks() {
	all, err := netlink.LinkList()
	if err != nil { // next time
		return
	}
	g := &w.oversize
	g.mu.Lock()
	defer g.mu.Unlock()
	was := g.links
	if g.links = bigLinks(all); g.links != was && g.links != "" {
		w.say(linksText+"; "+linksHint, g.links)
	} else if g.links != was {
		w.say("links hand over no packets any more that are too long for a queue")
	}
	w.segment(g.links != "" || g.seen > 0)
}

// segment has the kernel cut up what it queues, or not. What cannot be asked for now is
// asked for again. g.mu is held.
func (w *watchman) segment(cut bool) {
	if w.oversize.cut == cut {
		return
	}
	for _, x := range w.workers {
		if x.queue.Segment(cut) != nil {
			return
		}
	}
	w.oversize.cut = cut
}

// lookAtPackets tells of packets that were too long, and has no others come.
func (w *watchman) lookAtPackets() {
	n, latest := uint64(0), engine.TooLong{}
	for _, x := range w.workers {
		s := x.engine.Stats()
		n += s.Dropped[engine.DropTruncated]
		if l := x.engine.TooLong(); l.Size != 0 {
			latest = l
		}
	}
	g := &w.oversize
	g.mu.Lock()
	defer g.mu.Unlock()
	if n == g.seen {
		return
	}
	tell := time.Since(g.at) > linksEvery
	g.latest = fmt.Sprintf("%d packets were too long for a queue and dropped, the latest one of %d bytes%s", n, latest.Size, ends(&latest))
	g.seen = n
	if tell {
		g.at = time.Now()
		w.say("%s; from now on the kernel cuts up what it queues, which takes several times the work: have its sender, or the link it comes by, keep to 65536 bytes (gso_max_size, gro_max_size)", g.latest)
	}
	w.segment(true)
}

// ends says whose packet it was.
func ends(l *engine.TooLong) string {
	s := ""
	if l.Src.IsValid() {
		s = fmt.Sprintf(" from %s to %s", l.Src, l.Dst)
	}
	if link, err := net.InterfaceByIndex(int(l.Device)); l.Device != 0 && err == nil {
		s += " by " + link.Name
	}
	return s
}

// trouble is what health is to tell.
func (w *watchman) trouble() (problems []control.Problem) {
	g := &w.oversize
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.links != "" {
		problems = append(problems, control.Problem{Code: "links", Text: fmt.Sprintf(linksText, g.links) + ": " + linksHint})
	}
	if g.seen > 0 && time.Since(g.at) < lately {
		problems = append(problems, control.Problem{Code: "too_long", Text: g.latest})
	}
	return problems
}
