package engine

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"tlsgate/tlsrules/tlswire"
)

// TestPartner: the same verdict for every segmentation, family and number.
func TestPartner(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			refuse := kind == "tls10" || kind == "tls11" || kind == "tls12 rsa"
			turns := recording(t, kind)
			dir, hello := reach(t, turns, atMessage(tlswire.TypeServerHello))
			for _, variant := range []struct {
				name  string
				turns []turn
			}{{"", turns}, {"one byte records ", smallRecords(turns)}} {
				for name, strategy := range strategies {
					for _, iss := range []uint32{1000, 0xffff_ff80, 0xffff_ffff} {
						for _, family := range []string{"192.0.2.10 203.0.113.10", "2001:db8::10 2001:db8:1::10"} {
							l := newLab(t, config(), partner())
							client, server, _ := strings.Cut(family, " ")
							k := l.link(client, server, iss, iss+77)
							k.play(variant.turns, strategy)
							what := variant.name + name + " " + client
							if refuse {
								checkRefused(t, what, l, k, int(dir), hello)
							} else {
								checkPassed(t, what, l, k, variant.turns)
							}
						}
					}
				}
			}
		})
	}
}

// TestLossy: a permitted connection is not harmed by losses on either side of us
// and what follows from them, and a refused one is refused all the same.
func TestLossy(t *testing.T) {
	for _, kind := range kinds {
		turns := recording(t, kind)
		for seed := range uint64(30) {
			for _, name := range []string{"shuffled", "mss", "duplicated"} {
				l := newLab(t, config(), partner())
				k := l.link4()
				k.open()
				k.lossy = rand.New(rand.NewPCG(seed, 1))
				k.talk(turns, strategies[name])
				refuse := kind == "tls10" || kind == "tls11" || kind == "tls12 rsa"
				if want := streams(turns); !refuse && (!bytes.Equal(k.ends[1].got, want[0]) || !bytes.Equal(k.ends[0].got, want[1]) || l.drops != 0) {
					t.Errorf("%s %s %d: %d of %d and %d of %d bytes, %d drops, %+v", kind, name, seed,
						len(k.ends[1].got), len(want[0]), len(k.ends[0].got), len(want[1]), l.drops, l.sink.drop)
				}
				if refuse && (len(l.sink.drop) != 1 || l.sink.drop[0].Decision.Reason.String() != "require.cipher") {
					t.Errorf("%s %s %d: drop events %+v", kind, name, seed, l.sink.drop)
				}
			}
		}
	}
}

func checkRefused(t *testing.T, what string, l *lab, k *link, dir, limit int) {
	t.Helper()
	if len(l.sink.drop) != 1 || len(l.sink.tls) != 1 {
		t.Fatalf("%s: got %d drop and %d tls events, want 1 and 1", what, len(l.sink.drop), len(l.sink.tls))
	}
	d := l.sink.drop[0]
	if got := d.Decision.Reason.String(); got != "require.cipher" || d.Decision.Rule != "partner" {
		t.Errorf("%s: refused by %q, %s", what, d.Decision.Rule, got)
	}
	if !strings.Contains(d.Detail, `rule "partner" allows 6 suites`) || !strings.HasPrefix(d.Detail, "server selected ") {
		t.Errorf("%s: detail %q", what, d.Detail)
	}
	if d.Packet != d.Packets[0]+d.Packets[1] || d.Packet < 5 {
		t.Errorf("%s: refused at packet %d of %v", what, d.Packet, d.Packets)
	}
	if got := len(k.ends[1-dir].got); got >= limit {
		t.Errorf("%s: %d bytes delivered, the refused hello ends at %d", what, got, limit)
	}
	if !k.closed() {
		t.Errorf("%s: closed: client %v, server %v", what, k.ends[0].closed, k.ends[1].closed)
	}
	if k.mark != l.marks.Refused() {
		t.Errorf("%s: connection mark %#x", what, k.mark)
	}
}

func checkPassed(t *testing.T, what string, l *lab, k *link, turns []turn) {
	t.Helper()
	sent := streams(turns)
	for d := range sent {
		if got := k.ends[1-d].got; !bytes.Equal(got, sent[d]) {
			t.Errorf("%s: direction %d got %d bytes of %d", what, d, len(got), len(sent[d]))
		}
	}
	if len(l.sink.drop) != 0 {
		t.Errorf("%s: dropped: %s", what, l.sink.drop[0].Detail)
	}
	if len(l.sink.tls) != 1 {
		t.Errorf("%s: %d tls events", what, len(l.sink.tls))
	}
	if k.mark != l.marks.Accepted(5) || k.offloaded == 0 {
		t.Errorf("%s: connection mark %#x, %d packets offloaded", what, k.mark, k.offloaded)
	}
	if used := l.e.budget.Used(); used != 0 {
		t.Errorf("%s: %d bytes held of a connection that is left to the kernel", what, used)
	}
}
