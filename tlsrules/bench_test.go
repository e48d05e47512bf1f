package tlsrules

import (
	"fmt"
	"testing"
	"unsafe"

	"tlsgate/tlsrules/tlswire"
)

// manyRules has n rules of which the last decides, as a policy of partners has.
func manyRules(t testing.TB, n int) *Policy {
	var rules []Rule
	for i := range n - 1 {
		rules = append(rules, Rule{
			Match:   conds(cond(t, "destination", fmt.Sprintf("198.%d.%d.%d", 18+i>>16, i>>8&255, i&255)), cond(t, "sni", fmt.Sprintf("*.p%d.example", i))),
			Require: conds(cond(t, "cipher", bank...)), HasAction: true, Action: Accept, Otherwise: Reset,
		})
	}
	rules = append(rules, Rule{
		Name: "partner", Match: conds(cond(t, "destination", "203.0.113.0/24"), cond(t, "port", "443"), cond(t, "sni", "*.bank.example")),
		Require: conds(cond(t, "version", "1.2", "1.3"), cond(t, "cipher", bank...)), HasAction: true, Action: Accept, Otherwise: Reset,
	})
	return policy(t, Defaults{Drop, Drop, false}, rules...)
}

func TestDecideAllocates(t *testing.T) {
	p := manyRules(t, 100)
	observing := policy(t, Defaults{Accept, Accept, true},
		Rule{Match: conds(cond(t, "alpn", "h3", "h2")), Require: conds(cond(t, "content_type", "handshake"), cond(t, "offers_only_cipher", "0xC02F")), Observe: true},
		Rule{Match: conds(cond(t, "ja4", "t13d1516h2_*_e5627efa2ab1", "*_8daaf6152771_000000000000"), cond(t, "ech", "true")), Require: conds(cond(t, "ja3", "ada70206e40642a3e4461f35503241d5"), cond(t, "ja3s", "ada70206e40642a3e4461f35503241d5"))},
		Rule{Unless: conds(cond(t, "sni", "none"), cond(t, "group", "x448")), HasAction: true, Action: Drop})
	facts := []*Facts{atSYN(), withContent(atFirstBytes(tlswire.ProtocolTLS), tlswire.Handshake), atClientHello(), atServerHello(), withContent(atServerHello(), tlswire.ApplicationData)}
	got := testing.AllocsPerRun(100, func() {
		var j, k Judgement
		for _, f := range facts {
			p.Decide(f, &j)
			observing.Decide(f, &k)
			observing.Observed(&k)
		}
	})
	if got != 0 {
		t.Errorf("got %v allocations", got)
	}
	if size := unsafe.Sizeof(Judgement{}); size > 64 {
		t.Errorf("a Judgement has %d bytes", size)
	}
}

func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{1, 10, 1000, 10000} {
		p := manyRules(b, n)
		all := atServerHello()
		b.Run(fmt.Sprintf("%d rules, all at once", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var j Judgement
				if d := p.Decide(all, &j); d.Action != Accept || !d.Final {
					b.Fatal(told(d))
				}
			}
		})
		stages := []*Facts{atSYN(), atFirstBytes(tlswire.ProtocolTLS), atClientHello(), atServerHello()}
		b.Run(fmt.Sprintf("%d rules, four stages", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var j Judgement
				for _, f := range stages {
					p.Decide(f, &j)
				}
			}
		})
	}
	p := policy(b, Defaults{Accept, Accept, false}, Rule{Require: conds(cond(b, "content_type", "handshake", "application_data")), HasAction: true, Action: Accept})
	record := withContent(atServerHello(), tlswire.ApplicationData)
	b.Run("one record more", func(b *testing.B) {
		b.ReportAllocs()
		var j Judgement
		for b.Loop() {
			p.Decide(record, &j)
		}
	})
}
