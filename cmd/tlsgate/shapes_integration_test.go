package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// shapesPolicy is the partner's with a rule on names before it, and without
// offloading, so that a whole transfer goes through the queue.
const shapesPolicy = `
[intercept]
offload = false

[[rule]]
name   = "names"
match  = { port = 443, sni = "refused.lab.example" }
action = "reset"
` + partnerPolicy

const (
	permittedName = "allowed.lab.example"
	refusedName   = "refused.lab.example" // as long
)

// Hellos of the tests. large has the post-quantum key share of TLS 1.3, though
// the server speaks TLS 1.2.
var (
	small = tls.Config{MaxVersion: tls.VersionTLS12}
	large = tls.Config{}
)

// shape is how a client's bytes come to the firewall.
type shape struct {
	title   string
	network lab.Options
	how     *lab.Segmentation // nil: by the kernel's TCP
	records int               // the hello is in records of that size
	hello   *tls.Config
	bytes   int64
	large   bool // packets come to the queue larger than any link takes
}

// shaped is what of a stream is in the shape: a hello and what follows it.
const shaped = 4096

var shapes = []shape{
	{title: "one byte a segment", how: &lab.Segmentation{Size: 1, First: shaped}, hello: &small, bytes: 100_000},
	{title: "large hello, one byte a segment", how: &lab.Segmentation{Size: 1, First: shaped}, hello: &large, bytes: 100_000},
	{title: "reverse", how: &lab.Segmentation{Size: 50, Order: lab.Backward}, hello: &large, bytes: 50_000},
	{title: "reverse, one byte a segment", how: &lab.Segmentation{Size: 1, First: shaped, Order: lab.Backward}, hello: &small, bytes: 50_000},
	{title: "shuffled", how: &lab.Segmentation{Size: 40, Order: lab.Shuffled, Seed: 1}, hello: &large, bytes: 50_000},
	{title: "shuffled, one byte a segment", how: &lab.Segmentation{Size: 1, First: shaped, Order: lab.Shuffled, Seed: 2}, hello: &small, bytes: 50_000},
	{title: "duplicated", how: &lab.Segmentation{Size: 100, Copies: lab.CopySame}, hello: &large, bytes: 100_000},
	{title: "duplicated and shuffled", how: &lab.Segmentation{Size: 100, Copies: lab.CopySame, Order: lab.Shuffled, Seed: 3}, hello: &large, bytes: 50_000},
	{title: "one byte a record", records: 1, hello: &small, bytes: 1 << 20},
	{title: "large hello, seven bytes a record", records: 7, hello: &large, bytes: 1 << 20},
	{title: "large hello", hello: &large, bytes: 1 << 20},
	{title: "large packets", hello: &small, bytes: 10 << 20, large: true},
	{title: "no offload", network: lab.Options{NoOffload: true}, hello: &large, bytes: 2 << 20},
	{title: "loss", network: lab.Options{Loss: 0.05}, hello: &large, bytes: 50_000},
	{title: "loss, no offload", network: lab.Options{Loss: 0.05, NoOffload: true}, hello: &small, bytes: 50_000},
	{title: "small packets", network: lab.Options{MTU: 1280}, hello: &large, bytes: 1 << 20},
	{title: "small packets, no offload", network: lab.Options{MTU: 1280, NoOffload: true}, hello: &large, bytes: 1 << 20},
}

// connect is a connection of the client in the shape.
func (s *shape) connect(t testing.TB, l *lab.Lab, server netip.AddrPort) net.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), visitTime)
	defer cancel()
	if s.how != nil {
		c, err := l.Client.DialRaw(ctx, server, *s.how)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if s.records == 0 {
		return dial(t, l, server)
	}
	address := l.Client.IPv4
	if server.Addr().Is6() {
		address = l.Client.IPv6
	}
	r, err := l.Client.Reframe(netip.AddrPortFrom(address, 0).String(), server, s.records)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	c, err := l.Client.DialContext(ctx, "tcp", r.AddrPort().String())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// config is the client's, with the suites given.
func (s *shape) config(name string, suites ...uint16) *tls.Config {
	c := s.hello.Clone()
	c.ServerName, c.CipherSuites = name, suites
	return c
}

// TestIntegrationShapes has the same verdicts whatever shape a hello comes in.
func TestIntegrationShapes(t *testing.T) {
	for _, group := range slices.Collect(func(yield func([]shape) bool) { // a lab for each network
		for i, j := 0, 0; i < len(shapes); i = j {
			for j = i; j < len(shapes) && fmt.Sprint(shapes[j].network) == fmt.Sprint(shapes[i].network); j++ {
			}
			if !yield(shapes[i:j]) {
				return
			}
		}
	}) {
		l := labtest.New(t, group[0].network)
		w := watchTLS(t, l, &tls.Config{MaxVersion: tls.VersionTLS12})
		f := startFirewall(t, l, shapesPolicy)
		for _, s := range group {
			t.Run(s.title, func(t *testing.T) {
				families(t, l, func(t *testing.T, server netip.Addr) {
					s.permitted(t, l, w, f, netip.AddrPortFrom(server, 443))
					s.refusedSuite(t, l, w, f, netip.AddrPortFrom(server, 443))
					s.refusedHello(t, l, w, f, netip.AddrPortFrom(server, 443))
				})
			})
		}
	}
}

func (s *shape) permitted(t *testing.T, l *lab.Lab, w *witness, f *firewall, to netip.AddrPort) {
	before := queued(t, l)
	state, err := exchange(s.connect(t, l, to), s.config(permittedName, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256), s.bytes)
	v := w.next(t)
	if state == nil || err != nil || v.err != nil || v.name != permittedName {
		t.Fatalf("permitted: %v at the client, %v at the server", err, v.err)
	}
	if e := eventOf(t, f, "tls", v); e.Ours.Verdict != "accept" || e.Ours.Rule != "partner" {
		t.Errorf("permitted: %+v", e)
	}
	packets := int64(0)
	for i, n := range queued(t, l) {
		packets += int64(n - before[i])
	}
	size := 2 * s.bytes / packets // half of them are acknowledgements
	if s.large && size <= 1500 || s.network.NoOffload && size > 1500 {
		t.Errorf("%d packets in the queue for %d bytes in each direction, %d bytes a packet", packets, s.bytes, size)
	}
}

// refusedSuite is refused by the ServerHello.
func (s *shape) refusedSuite(t *testing.T, l *lab.Lab, w *witness, f *firewall, to netip.AddrPort) {
	_, e := s.refused(t, l, w, f, to, s.config(permittedName, tls.TLS_RSA_WITH_AES_128_CBC_SHA))
	(&attempt{rule: "partner", reason: "require.cipher", cipher: "TLS_RSA_WITH_AES_128_CBC_SHA", detail: said12}).explained(t, e)
}

// refusedHello is refused by the ClientHello, of which the server must not get all.
func (s *shape) refusedHello(t *testing.T, l *lab.Lab, w *witness, f *firewall, to netip.AddrPort) {
	v, e := s.refused(t, l, w, f, to, s.config(refusedName, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256))
	if v.name != "" {
		t.Errorf("the server has read the hello for %s", v.name)
	}
	if e.Ours.Rule != "names" || e.Ours.Reason != "rule" || e.TLS.SNI != refusedName {
		t.Errorf("refusal: %+v", e)
	}
}

// refused makes a connection and judges what client and server see of its end.
func (s *shape) refused(t *testing.T, l *lab.Lab, w *witness, f *firewall, to netip.AddrPort, config *tls.Config) (*visit, event) {
	t.Helper()
	f.forget()
	c := w.await(t, func() net.Conn { return s.connect(t, l, to) })
	lossy := s.network.Loss > 0
	var ending sync.WaitGroup
	if lossy {
		// A reset that is lost is sent again when another packet comes. There
		// may be none: the connection is ended here some time after the refusal.
		ending.Go(func() {
			within(visitTime, func() bool { return len(f.drops()) > 0 })
			time.Sleep(200 * time.Millisecond)
			c.Close()
			w.hangUp()
		})
	}
	state, err := exchange(c, config, s.bytes)
	ended := time.Now()
	ending.Wait()
	v := w.next(t)
	e := eventOf(t, f, "drop", v)
	if state != nil || err == nil || !lossy && !strings.Contains(err.Error(), "reset") {
		t.Errorf("the client saw %v, want a reset", err)
	}
	promptly(t, "the client", e, ended)
	if !lossy {
		refusedAtServer(t, v, e)
	} else if v.done || v.err == nil || v.read.Load() != 0 {
		t.Errorf("the server saw %v and read %d bytes", v.err, v.read.Load())
	}
	return v, e
}

// swap is a hello for another name in the place of one: as long, and as valid.
func swap(_ int64, b []byte) []byte {
	if bytes.Contains(b, []byte(permittedName)) {
		return bytes.ReplaceAll(b, []byte(permittedName), []byte(refusedName))
	}
	return bytes.ReplaceAll(b, []byte(refusedName), []byte(permittedName))
}

// TestIntegrationChangedCopies has segments that come twice and differ. What
// the server makes of them must be what was judged.
func TestIntegrationChangedCopies(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	w := watchTLS(t, l, &tls.Config{MaxVersion: tls.VersionTLS12})
	f := startFirewall(t, l, shapesPolicy)
	garbled := func(offset int64, b []byte) []lab.Segment { // discarded by the server, then the truth
		return []lab.Segment{{Offset: offset, Data: swap(offset, b), BadChecksum: true}, {Offset: offset, Data: b}}
	}
	late := func(offset int64, b []byte) []lab.Segment { // the end comes first, and once more with another name
		i := bytes.Index(b, []byte("lab.example"))
		if i < 0 {
			return []lab.Segment{{Offset: offset, Data: b}}
		}
		other := swap(offset, b)
		return []lab.Segment{
			{Offset: offset + 20, Data: other[20:]}, {Offset: offset + 20, Data: b[20:]}, {Offset: offset, Data: b[:20]},
		}
	}
	// A copy that comes when the segment was acknowledged is not read by
	// anybody: there is nothing to refuse then.
	race, overlap := []string{"tcp.overlap", ""}, []string{"tcp.overlap"}
	tests := []struct {
		title string
		how   lab.Segmentation
		name  string   // in the client's hello
		seen  string   // by the server, if it saw any
		why   []string // reasons of the refusal; "" for none
	}{
		{"changed", lab.Segmentation{Copies: lab.CopyChanged, First: shaped}, permittedName, permittedName, race},
		{"changed, small segments", lab.Segmentation{Copies: lab.CopyChanged, First: shaped, Size: 10}, permittedName, permittedName, race},
		{"another name later", lab.Segmentation{Copies: lab.CopyChanged, First: shaped, Alter: swap}, permittedName, permittedName, race},
		{"the refused name first", lab.Segmentation{Copies: lab.CopyChanged, First: shaped, Alter: swap}, refusedName, "", []string{"rule"}},
		{"the refused name later", lab.Segmentation{Copies: lab.CopyChangedFirst, First: shaped, Alter: swap}, refusedName, permittedName, race},
		{"another name first", lab.Segmentation{Copies: lab.CopyChangedFirst, First: shaped, Alter: swap}, permittedName, "", []string{"rule"}},
		{"another name before the beginning", lab.Segmentation{Plan: late, First: shaped}, permittedName, "", overlap},
		{"the refused name before the beginning", lab.Segmentation{Plan: late, First: shaped}, refusedName, "", overlap},
		{"bad checksum, then the refused name", lab.Segmentation{Plan: garbled, First: shaped}, refusedName, "", []string{"rule"}},
		{"bad checksum, then the permitted name", lab.Segmentation{Plan: garbled, First: shaped}, permittedName, permittedName, []string{""}},
	}
	families(t, l, func(t *testing.T, server netip.Addr) {
		for _, tt := range tests {
			t.Run(tt.title, func(t *testing.T) {
				s := shape{how: &tt.how, hello: &small}
				c := w.await(t, func() net.Conn { return s.connect(t, l, netip.AddrPortFrom(server, 443)) })
				_, err := exchange(c, s.config(tt.name, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256), 1000)
				v := w.next(t)
				if v.name != "" && v.name != tt.seen || v.read.Load() > 0 && (v.name != tt.name || err != nil) {
					t.Errorf("the server has read a hello for %q and %d bytes; the client saw %v", v.name, v.read.Load(), err)
				}
				reason := ""
				if !slices.Contains(tt.why, "") || errors.Is(v.err, syscall.ECONNRESET) {
					wasReset(t, "the server", v.err)
					reason = eventOf(t, f, "drop", v).Ours.Reason
				}
				if !slices.Contains(tt.why, reason) || reason == "" && tt.name == tt.seen && err != nil {
					t.Errorf("refused for %q, want one of %q; the client saw %v", reason, tt.why, err)
				}
			})
		}
	})
}

// TestIntegrationChangedFirst has garbage first: whoever reads that does not
// read TLS, and does not get what follows in its place.
func TestIntegrationChangedFirst(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	w := watchTLS(t, l, &tls.Config{MaxVersion: tls.VersionTLS12})
	startFirewall(t, l, shapesPolicy)
	families(t, l, func(t *testing.T, server netip.Addr) {
		for _, size := range []int{0, 10} {
			s := shape{how: &lab.Segmentation{Copies: lab.CopyChangedFirst, First: shaped, Size: size}, hello: &small}
			_, err := exchange(s.connect(t, l, netip.AddrPortFrom(server, 443)),
				s.config(permittedName, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256), 1000)
			if v := w.next(t); err == nil || v.err == nil || v.name != "" {
				t.Errorf("segments of %d: the client saw %v, the server %v, and a hello for %q", size, err, v.err, v.name)
			}
		}
	})
}
