package tlsrules

import (
	"testing"

	"tlsgate/tlsrules/tlswire"
)

var bank = []string{
	"ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-SHA256",
	"ECDHE-RSA-AES256-SHA384", "ECDHE-RSA-AES128-SHA", "ECDHE-RSA-AES256-SHA",
}

func TestExplain(t *testing.T) {
	static := atServerHello()
	static.Server.CipherSuite = suite(t, "AES128-SHA")
	none := atServerHello()
	none.Server.CipherSuite, none.Client.CipherSuites = suite(t, "AES128-SHA"), []uint16{0x002f, 0x00ff}
	noName := atClientHello()
	noName.Client.HasServerName = false
	noGroup := atServerHello()
	noGroup.Group, noGroup.GroupSettled = 0, true
	accept := Defaults{Accept, Accept, false}

	require := func(key string, values ...string) []Rule {
		return []Rule{{Name: "partner", Require: conds(cond(t, key, values...)), HasAction: true, Action: Accept, Otherwise: Reset}}
	}
	for _, tt := range []struct {
		name  string
		def   Defaults
		rules []Rule
		facts *Facts
		want  string
	}{
		{"the partner bank", accept, require("cipher", bank...), static,
			`server selected AES128-SHA (TLS_RSA_WITH_AES_128_CBC_SHA); rule "partner" allows 6 suites: ECDHE-RSA-AES128-GCM-SHA256, ECDHE-RSA-AES256-GCM-SHA384, ECDHE-RSA-AES128-SHA256, ECDHE-RSA-AES256-SHA384, ECDHE-RSA-AES128-SHA, ECDHE-RSA-AES256-SHA; of them the client offered ECDHE-RSA-AES128-GCM-SHA256, ECDHE-RSA-AES256-GCM-SHA384`},
		{"the client is to blame", accept, require("cipher", bank[:1]...), none,
			`server selected AES128-SHA (TLS_RSA_WITH_AES_128_CBC_SHA); rule "partner" allows only suite ECDHE-RSA-AES128-GCM-SHA256; the client offered none of them`},
		{"version", accept, require("version", "1.3"), atServerHello(), `server selected TLS 1.2; rule "partner" allows only version 1.3`},
		{"port", accept, require("port", "8443"), atSYN(), `the server's port is 443; rule "partner" allows only port 8443`},
		{"server name", accept, require("sni", "a.example", "*.b.example"), noName, `client sent no server name; rule "partner" allows 2 names: a.example, *.b.example`},
		{"alpn", accept, require("alpn", "h3"), atClientHello(), `client offered ALPN "h2", "http/1.1"; rule "partner" allows only protocol h3`},
		{"what is too much", accept, require("offers_only_cipher", "AES128-SHA", "0xC030", "0xC02F"), atClientHello(),
			`client offered TLS_AES_128_GCM_SHA256 besides; rule "partner" allows 3 suites: AES128-SHA, ECDHE-RSA-AES256-GCM-SHA384, ECDHE-RSA-AES128-GCM-SHA256`},
		{"offered versions", accept, require("offers_version", "1.0"), atClientHello(), `client offered TLS 1.3, TLS 1.2; rule "partner" allows only version 1.0`},
		{"unseen in TLS 1.3", accept, require("alpn_selected", "h2"), atTLS13(),
			`TLS 1.3 encrypts the ALPN protocol selected; rule "partner" requires it (unseen = "allow" would not) and allows only protocol h2`},
		{"no group", accept, require("group", "x25519"), noGroup,
			`the handshake names no group; rule "partner" requires it (unseen = "allow" would not) and allows only group x25519`},
		{"midstream", accept, require("version", "1.2"), midstream(),
			`version was not seen and cannot be known any more; rule "partner" requires it (unseen = "allow" would not) and allows only version 1.2`},
		{"record", accept, require("content_type", "handshake"), withContent(atServerHello(), tlswire.ApplicationData),
			`a record of type application_data was sent; rule "partner" allows only content type handshake`},
		{"alert", accept, require("alert", "warning"), withAlert(atSYN(), tlswire.AlertMessage{Level: 2, Description: 40}),
			`a fatal alert handshake_failure was sent; rule "partner" allows only alert warning`},
		{"an action", accept, []Rule{{Name: "evil", Match: conds(cond(t, "sni", "*.bank.example"), cond(t, "port", "443")), HasAction: true, Action: Drop}}, atClientHello(),
			`rule "evil" has action = "drop" for what it matches: the server's port is 443, client asked for server name "API.bank.example"`},
		{"an action for all", accept, []Rule{{Name: "all", HasAction: true, Action: Reset}}, atSYN(),
			`rule "all" has action = "reset" for every connection`},
		{"default", Defaults{Reset, Reset, false}, nil, atSYN(), `no rule decides; default.action is "reset"`},
		{"not TLS", Defaults{Accept, Drop, false}, nil, atFirstBytes(tlswire.ProtocolHTTP),
			`the first bytes are HTTP, not TLS; no rule decides; default.not_tls is "drop"`},
		{"not TLS under a rule", Defaults{Accept, Drop, false}, require("version", "1.2"), atFirstBytes(tlswire.ProtocolUnknown),
			`the first bytes are not TLS; rule "partner" requires what only TLS has; default.not_tls is "drop"`},
		{"undecided", accept, []Rule{{Name: "a", Match: conds(cond(t, "sni", "x.example")), HasAction: true}}, atSYN(),
			`undecided: rule "a" waits for client_hello`},
		{"undecided default", accept, nil, atSYN(), `undecided: waits for first_bytes`},
	} {
		p := policy(t, tt.def, tt.rules...)
		var j Judgement
		d := p.Decide(tt.facts, &j)
		if got := p.Explain(d, tt.facts); got != tt.want {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.name, got, tt.want)
		}
	}
	p := policy(t, accept)
	if got := p.Explain(Decision{Decided: true, Reason: ReasonMalformedRecord, Index: -1}, atSYN()); got != "malformed.record" {
		t.Errorf("a reason of others: got %s", got)
	}
}

// TestExplainNeverPanics: decisions of one policy and facts of another moment.
func TestExplainEverything(t *testing.T) {
	facts := []*Facts{{}, atSYN(), midstream(), atFirstBytes(tlswire.ProtocolSSH), atClientHello(), atServerHello(), atTLS13(), withAlert(atSYN(), tlswire.AlertMessage{Encrypted: true})}
	for _, k := range Keys() {
		for _, f := range facts {
			c := Condition{key: k, step: keys[k].step.bit(), text: []string{"x"}}
			var v view
			v.look(f, f.Content)
			if c.seen(&v) == "" || c.unseen(&v) == "" {
				t.Errorf("%s: nothing said", k)
			}
		}
	}
}

func TestReasons(t *testing.T) {
	for k, want := range map[Reason]string{
		ReasonRule: "rule", ReasonNotTLS: "not_tls", ReasonRefusedEarlier: "refused.earlier",
		ReasonRequire(KeyCipher): "require.cipher", ReasonRequire(KeyServerName): "require.sni", 255: "invalid",
	} {
		if got := k.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	for _, k := range Keys() {
		if got, ok := ParseKey(k.String()); !ok || got != k || ReasonRequire(k).Key() != k {
			t.Errorf("%s does not come back", k)
		}
	}
	for a := Drop; a <= Continue; a++ {
		if got, err := ParseAction(a.String()); err != nil || got != a {
			t.Errorf("%s does not come back", a)
		}
	}
	if ReasonDefault.Key() != KeyNone {
		t.Error("a reason without a key has one")
	}
}
