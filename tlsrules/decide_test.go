package tlsrules

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tlsgate/tlsrules/tlswire"
)

// told writes a decision short.
func told(d Decision) string {
	if !d.Decided {
		return fmt.Sprintf("waits %s %s", d.Rule, d.Stage)
	}
	s := fmt.Sprintf("%s %s", d.Action, d.Reason)
	if d.Rule != "" {
		s += " " + d.Rule
	}
	s += " " + d.Stage.String()
	if d.Final {
		s += " final"
	}
	if d.Observed {
		s += " observed"
	}
	return s
}

// course judges a connection through its facts, one after the other.
func course(p *Policy, facts ...*Facts) (story []string) {
	var j Judgement
	for _, f := range facts {
		story = append(story, told(p.Decide(f, &j)))
		if d, ok := p.Observed(&j); ok {
			story = append(story, "would "+told(d))
		}
	}
	return story
}

func midstream() *Facts {
	f := atSYN()
	f.Never.Add(StageFirstBytes, StageClientHello, StageServerHello, StageCertificate)
	return f
}

func TestDecide(t *testing.T) {
	var (
		accept = Defaults{Accept, Accept, false}
		closed = Defaults{Drop, Drop, false}
		source = cond(t, "source", "192.0.2.10")
		other  = cond(t, "source", "198.51.100.1")
		sni    = cond(t, "sni", "api.bank.example")
		evil   = cond(t, "sni", "evil.example")
		suite  = cond(t, "cipher", "ECDHE-RSA-AES128-GCM-SHA256")
		weak   = cond(t, "cipher", "AES128-SHA")
		v12    = cond(t, "version", "1.2")
		h2     = cond(t, "alpn_selected", "h2")
		hs     = cond(t, "content_type", "handshake", "change_cipher_spec")
		data   = cond(t, "content_type", "application_data")
		fatal  = cond(t, "alert", "fatal")
		tls    = cond(t, "protocol", "tls")
		http   = cond(t, "protocol", "http")
		x448   = cond(t, "group", "x448")
	)
	both := atServerHello() // known after all
	both.Never = both.Known
	lateBoth := atServerHello()
	lateBoth.Never, lateBoth.Group = lateBoth.Known, 0
	noGroupYet, noGroup := atServerHello(), atServerHello()
	noGroupYet.Group = 0
	noGroup.Group, noGroup.GroupSettled = 0, true
	handshake, appData := withContent(atServerHello(), tlswire.Handshake), withContent(atServerHello(), tlswire.ApplicationData)
	tlsBytes, httpBytes := atFirstBytes(tlswire.ProtocolTLS), atFirstBytes(tlswire.ProtocolHTTP)

	for _, tt := range []struct {
		name  string
		def   Defaults
		rules []Rule
		facts []*Facts
		want  []string
	}{
		{"no rules: the default waits to see whether it is TLS", accept, nil,
			[]*Facts{atSYN(), tlsBytes}, []string{"waits  first_bytes", "accept default first_bytes final"}},
		{"no rules, not TLS", Defaults{Accept, Reset, false}, nil,
			[]*Facts{atSYN(), httpBytes}, []string{"waits  first_bytes", "reset not_tls first_bytes final"}},
		{"a default that refuses whatever it is does so at once", closed, nil,
			[]*Facts{atSYN()}, []string{"drop default syn final"}},
		{"no rules, midstream", Defaults{Accept, Drop, false}, nil,
			[]*Facts{midstream()}, []string{"accept default syn final"}},
		{"a match on the SYN decides at the SYN", accept, []Rule{{Name: "a", Match: conds(source), HasAction: true, Action: Reset}},
			[]*Facts{atSYN()}, []string{"reset rule a syn final"}},
		{"match unknown waits, and later rules with it", accept, []Rule{
			{Name: "a", Match: conds(evil), HasAction: true, Action: Drop},
			{Name: "b", Match: conds(source), HasAction: true, Action: Reset},
		}, []*Facts{atSYN(), tlsBytes, atClientHello()},
			[]string{"waits a client_hello", "waits a client_hello", "reset rule b client_hello final"}},
		{"one false condition is enough while another is unknown", accept, []Rule{
			{Name: "a", Match: conds(evil, other), HasAction: true, Action: Drop},
			{Name: "b", Match: conds(source), HasAction: true, Action: Accept},
		}, []*Facts{atSYN()}, []string{"accept rule b syn final"}},
		{"unless true: the next rule", accept, []Rule{
			{Name: "a", Match: conds(source), Unless: conds(sni), HasAction: true, Action: Drop},
			{Name: "b", HasAction: true, Action: Accept},
		}, []*Facts{atSYN(), atClientHello()}, []string{"waits a client_hello", "accept rule b client_hello final"}},
		{"unless false: the rule applies", accept, []Rule{
			{Name: "a", Unless: conds(evil), HasAction: true, Action: Drop},
		}, []*Facts{atClientHello()}, []string{"drop rule a client_hello final"}},
		{"unless needs all its keys", accept, []Rule{
			{Name: "a", Unless: conds(sni, other), HasAction: true, Action: Drop},
		}, []*Facts{atSYN()}, []string{"drop rule a syn final"}},
		{"unless true ends the waiting of match", accept, []Rule{
			{Name: "a", Match: conds(evil), Unless: conds(source), HasAction: true, Action: Drop},
			{Name: "b", HasAction: true, Action: Accept},
		}, []*Facts{atSYN()}, []string{"accept rule b syn final"}},
		{"unless never known does not hold", accept, []Rule{
			{Name: "a", Unless: conds(sni), HasAction: true, Action: Drop},
		}, []*Facts{midstream()}, []string{"drop rule a syn final"}},
		{"match never known is false", accept, []Rule{
			{Name: "a", Match: conds(sni), HasAction: true, Action: Drop},
		}, []*Facts{midstream()}, []string{"accept default syn final"}},

		{"accepted, and its requirement violated later", accept, []Rule{
			{Name: "a", Match: conds(sni), Require: conds(weak), HasAction: true, Action: Accept, Otherwise: Reset},
		}, []*Facts{atClientHello(), atServerHello()},
			[]string{"accept rule a client_hello", "reset require.cipher a server_hello final"}},
		{"accepted, and its requirement held", accept, []Rule{
			{Name: "a", Match: conds(sni), Require: conds(suite), HasAction: true, Action: Accept, Otherwise: Reset},
		}, []*Facts{atClientHello(), atServerHello()},
			[]string{"accept rule a client_hello", "accept rule a server_hello final"}},
		{"require without action continues", accept, []Rule{
			{Name: "a", Require: conds(suite), Otherwise: Reset},
			{Name: "b", Match: conds(sni), HasAction: true, Action: Accept},
		}, []*Facts{atSYN(), atClientHello(), atServerHello()},
			[]string{"waits b client_hello", "accept rule b client_hello", "accept rule b server_hello final"}},
		{"what continue requires binds whoever accepts", accept, []Rule{
			{Name: "a", Require: conds(weak), HasAction: true, Action: Continue, Otherwise: Drop},
			{Name: "b", HasAction: true, Action: Accept},
		}, []*Facts{atSYN(), atServerHello()}, []string{"accept rule b syn", "drop require.cipher a server_hello final"}},
		{"a rule behind the deciding one requires nothing", accept, []Rule{
			{Name: "a", HasAction: true, Action: Accept},
			{Name: "b", Require: conds(weak), Otherwise: Reset},
		}, []*Facts{atSYN(), atServerHello()}, []string{"accept rule a syn final", "accept rule a syn final"}},
		{"a requirement known already is judged with the rule", accept, []Rule{
			{Name: "a", Match: conds(v12), Require: conds(other), HasAction: true, Action: Accept, Otherwise: Drop},
		}, []*Facts{atServerHello()}, []string{"drop require.source a server_hello final"}},
		{"the first in time counts, not the first in the file", accept, []Rule{
			{Name: "a", Require: conds(weak), Otherwise: Drop},
			{Name: "b", Require: conds(evil), Otherwise: Reset},
		}, []*Facts{atServerHello()}, []string{"reset require.sni b client_hello final"}},
		{"a group comes after the hello", accept, []Rule{
			{Name: "a", Require: conds(x448), HasAction: true, Action: Accept, Otherwise: Reset},
		}, []*Facts{noGroupYet, atServerHello()}, []string{"accept rule a syn", "reset require.group a server_hello final"}},
		{"no group at all", accept, []Rule{
			{Name: "a", Require: conds(x448), HasAction: true, Action: Accept, Otherwise: Reset},
		}, []*Facts{noGroup}, []string{"reset require.group a server_hello final"}},
		{"what is known wins over never", accept, []Rule{
			{Name: "a", Require: conds(x448), HasAction: true, Action: Accept, Otherwise: Reset},
		}, []*Facts{lateBoth, both}, []string{"accept rule a syn", "reset require.group a server_hello final"}},
		{"unseen violates", accept, []Rule{{Name: "a", Require: conds(h2), HasAction: true, Action: Accept, Otherwise: Drop}},
			[]*Facts{atTLS13()}, []string{"drop require.alpn_selected a server_hello final"}},
		{"unseen allowed", accept, []Rule{{Name: "a", Require: conds(h2), HasAction: true, Action: Accept, Otherwise: Drop, UnseenAllow: true}},
			[]*Facts{atTLS13()}, []string{"accept rule a server_hello final"}},
		{"midstream, unseen", accept, []Rule{{Name: "a", Require: conds(v12), HasAction: true, Action: Accept, Otherwise: Drop}},
			[]*Facts{midstream()}, []string{"drop require.version a syn final"}},

		{"records are judged every time", accept, []Rule{{Name: "a", Require: conds(hs), HasAction: true, Action: Accept, Otherwise: Drop}},
			[]*Facts{atSYN(), handshake, handshake, atServerHello(), appData, handshake},
			[]string{"accept rule a syn", "accept rule a syn", "accept rule a syn", "accept rule a syn", "drop require.content_type a records final", "drop require.content_type a records final"}},
		{"an alert is required of only when there is one", accept, []Rule{{Name: "a", Require: conds(fatal), HasAction: true, Action: Accept, Otherwise: Drop}},
			[]*Facts{handshake, withContent(atSYN(), tlswire.AlertContent), withAlert(atSYN(), tlswire.AlertMessage{Level: 2}), withAlert(atSYN(), tlswire.AlertMessage{Level: 1})},
			[]string{"accept rule a syn", "accept rule a syn", "accept rule a syn", "drop require.alert a records final"}},
		{"a match on records is asked with each", accept, []Rule{
			{Name: "a", Match: conds(data), HasAction: true, Action: Reset},
			{Name: "b", Match: conds(source), HasAction: true, Action: Accept},
		}, []*Facts{atSYN(), handshake, atServerHello(), appData},
			[]string{"waits a records", "accept rule b records", "accept rule b records", "reset rule a records final"}},
		{"a match on records does not hide the rules behind it", accept, []Rule{
			{Name: "a", Match: conds(data), HasAction: true, Action: Reset},
			{Name: "b", Match: conds(sni), HasAction: true, Action: Drop},
		}, []*Facts{withContent(atFirstBytes(tlswire.ProtocolTLS), tlswire.Handshake), atClientHello()},
			[]string{"waits b client_hello", "drop rule b client_hello final"}},
		{"a match on records that another key makes false is over", accept, []Rule{
			{Name: "a", Match: conds(other, data), HasAction: true, Action: Reset},
			{Name: "b", HasAction: true, Action: Accept},
		}, []*Facts{atSYN()}, []string{"accept rule b syn final"}},
		{"unless on records, false for good in match", accept, []Rule{
			{Name: "a", Match: conds(source), Unless: conds(hs), HasAction: true, Action: Drop},
		}, []*Facts{handshake, appData}, []string{"accept default records", "drop rule a records final"}},

		{"facts and a record at once: the facts were first", accept, []Rule{
			{Name: "a", Match: conds(hs), Unless: conds(cond(t, "version", "1.3")), HasAction: true, Action: Drop},
		}, []*Facts{withContent(atClientHello(), tlswire.Handshake), appData}, []string{"waits a server_hello", "drop rule a server_hello final"}},

		{"not TLS: a match on TLS is false", accept, []Rule{{Name: "a", Match: conds(sni), HasAction: true, Action: Drop}},
			[]*Facts{httpBytes}, []string{"accept not_tls first_bytes final"}},
		{"not TLS: unless on TLS does not hold", accept, []Rule{{Name: "a", Unless: conds(sni), HasAction: true, Action: Drop}},
			[]*Facts{httpBytes}, []string{"drop rule a first_bytes final"}},
		{"not TLS: an accepting rule that could not ask", Defaults{Accept, Drop, false}, []Rule{
			{Name: "a", Match: conds(source), Require: conds(suite), HasAction: true, Action: Accept, Otherwise: Reset},
		}, []*Facts{atSYN(), httpBytes}, []string{"accept rule a syn", "drop not_tls first_bytes final"}},
		{"not TLS: unseen allowed", Defaults{Accept, Drop, false}, []Rule{
			{Name: "a", Match: conds(source), Require: conds(suite), HasAction: true, Action: Accept, Otherwise: Reset, UnseenAllow: true},
		}, []*Facts{atSYN(), httpBytes}, []string{"accept rule a syn", "accept rule a syn final"}},
		{"not TLS: a rule without TLS stands", Defaults{Accept, Drop, false}, []Rule{
			{Name: "a", Require: conds(suite), Otherwise: Reset},
			{Name: "b", Match: conds(http), HasAction: true, Action: Accept},
		}, []*Facts{httpBytes}, []string{"accept rule b first_bytes final"}},
		{"not TLS: required TLS", accept, []Rule{
			{Name: "a", Require: conds(tls), HasAction: true, Action: Accept, Otherwise: Reset},
		}, []*Facts{atSYN(), httpBytes}, []string{"accept rule a syn", "reset require.protocol a first_bytes final"}},

		{"observe: the policy", Defaults{Drop, Drop, true}, nil, []*Facts{atSYN(), atServerHello()},
			[]string{"drop default syn final observed", "drop default syn final observed"}},
		{"observe: a rule refuses nothing and hides nothing", accept, []Rule{
			{Name: "a", Match: conds(source), HasAction: true, Action: Drop, Observe: true},
			{Name: "b", Match: conds(sni), HasAction: true, Action: Reset},
		}, []*Facts{atSYN(), atClientHello()},
			[]string{"waits b client_hello", "would drop rule a syn observed", "reset rule b client_hello final"}},
		{"observe: an accepting rule's requirement", accept, []Rule{
			{Name: "a", Require: conds(weak), HasAction: true, Action: Accept, Otherwise: Reset, Observe: true},
		}, []*Facts{atSYN(), atServerHello(), atServerHello()},
			[]string{"accept rule a syn", "accept rule a server_hello final", "would reset require.cipher a server_hello observed", "accept rule a server_hello final"}},
		{"observe: told once, as enforced there would be one", accept, []Rule{
			{Name: "a", Match: conds(source), HasAction: true, Action: Drop, Observe: true},
			{Name: "b", Match: conds(source), HasAction: true, Action: Reset, Observe: true},
		}, []*Facts{atServerHello()}, []string{"accept default first_bytes final", "would drop rule a syn observed"}},
	} {
		got := course(policy(t, tt.def, tt.rules...), tt.facts...)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestSecondHello(t *testing.T) {
	p := policy(t, Defaults{Accept, Accept, false},
		Rule{Name: "bank", Match: conds(cond(t, "sni", "api.bank.example")), Require: conds(cond(t, "cipher", "AES128-SHA")), HasAction: true, Action: Accept, Otherwise: Reset},
		Rule{Name: "evil", Match: conds(cond(t, "sni", "evil.example")), HasAction: true, Action: Drop})

	var j Judgement
	if got, want := told(p.Decide(atClientHello(), &j)), "accept rule bank client_hello"; got != want {
		t.Fatalf("first: got %s", got)
	}
	j.Again()
	second := atClientHello()
	second.Client.ServerName = []byte("other.example")
	if got, want := told(p.Decide(second, &j)), "accept default client_hello"; got != want {
		t.Errorf("second: got %s, want %s", got, want)
	}
	second.Server = atServerHello().Server
	second.Known.Add(StageServerHello)
	if got, want := told(p.Decide(second, &j)), "reset require.cipher bank server_hello final"; got != want {
		t.Errorf("what the first hello bound: got %s, want %s", got, want)
	}
	j.Again()
	if got := p.Decide(atClientHello(), &j); !got.Final || got.Action != Reset {
		t.Errorf("a refusal does not end: got %s", told(got))
	}

	j = Judgement{}
	p.Decide(atClientHello(), &j)
	j.Again()
	second = atClientHello()
	second.Client.ServerName = []byte("evil.example")
	if got, want := told(p.Decide(second, &j)), "drop rule evil client_hello final"; got != want {
		t.Errorf("worse second: got %s, want %s", got, want)
	}
}

func TestManyBoundRules(t *testing.T) {
	var rules []Rule
	for range 100 {
		rules = append(rules, Rule{Require: conds(cond(t, "version", "1.2"))})
	}
	rules = append(rules, Rule{Name: "last", Require: conds(cond(t, "cipher", "AES128-SHA")), Otherwise: Drop})
	p := policy(t, Defaults{Accept, Accept, false}, rules...)
	got := course(p, atClientHello(), atServerHello())
	want := []string{"accept default first_bytes", "drop require.cipher last server_hello final"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestZeroValues(t *testing.T) {
	var d Decision
	if d.Decided || d.Action != Drop {
		t.Error("the zero Decision does not drop")
	}
	var j Judgement
	p := policy(t, Defaults{Accept, Accept, false})
	if d := p.Decide(&Facts{}, &j); d.Decided {
		t.Errorf("nothing is known: got %s", told(d))
	}
	broken := atServerHello() // stages marked known whose facts are missing
	broken.Client, broken.Server, broken.Protocol = nil, nil, 0
	p = policy(t, Defaults{Accept, Accept, false}, Rule{Match: conds(cond(t, "sni", "none"), cond(t, "version", "1.2")), HasAction: true})
	if d := p.Decide(broken, &j); d.Decided {
		t.Errorf("missing facts: got %s", told(d))
	}
}
