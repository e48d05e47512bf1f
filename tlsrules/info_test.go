package tlsrules

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRuleStages(t *testing.T) {
	p := policy(t, Defaults{Accept, Accept, false},
		Rule{Name: "src", Match: conds(cond(t, "source", "192.0.2.1")), HasAction: true, Action: Accept},
		Rule{Name: "bind", Require: conds(cond(t, "cipher", "0xC02F"))},
		Rule{Name: "sni", Match: conds(cond(t, "sni", "a.example")), Require: conds(cond(t, "offers_version", "1.2")), HasAction: true, Action: Accept},
		Rule{Name: "text", Match: conds(cond(t, "contains", "grace")), HasAction: true, Action: Drop},
		Rule{Name: "data", Match: conds(cond(t, "content_type", "heartbeat")), HasAction: true, Action: Drop},
		Rule{Name: "all", HasAction: true, Action: Accept})
	type row struct {
		Name         string
		Stage, Final Stage
		Always       bool
	}
	var got []row
	for _, r := range p.Rules() {
		got = append(got, row{r.Name, r.Stage, r.Final, r.Always})
	}
	want := []row{
		{"src", StageSYN, StageSYN, false},
		{"bind", StageServerHello, StageServerHello, false},
		{"sni", StageClientHello, StageServerHello, false},
		{"text", StageCertificate, StageCertificate, false},
		{"data", StageRecords, StageRecords, true},
		{"all", StageSYN, StageRecords, true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if at, always := p.Final(); at != StageRecords || !always {
		t.Errorf("default: got %s, %t", at, always)
	}
}

func TestWarnings(t *testing.T) {
	match := func(c ...Condition) Rule { return Rule{Name: "r", Match: c, HasAction: true, Action: Accept} }
	require := func(c ...Condition) Rule {
		return Rule{Name: "r", Require: c, HasAction: true, Action: Accept}
	}
	all := Rule{Name: "all", HasAction: true, Action: Accept}
	for _, tt := range []struct {
		name  string
		rules []Rule // warnings are those of the last
		want  []string
	}{
		{"nothing to warn of", []Rule{match(cond(t, "sni", "a.example"), cond(t, "protocol", "tls"))}, nil},
		{"behind a rule for all", []Rule{all, match(cond(t, "port", "443"))}, []string{`is never asked: rule "all" before it decides every connection`}},
		{"behind a wider rule", []Rule{
			{Name: "wide", Match: conds(cond(t, "source", "192.0.2.0/24"), cond(t, "sni", "*.example")), HasAction: true, Action: Drop},
			match(cond(t, "source", "192.0.2.7"), cond(t, "sni", "*.b.example", "a.example"), cond(t, "port", "443")),
		}, []string{`is never asked: rule "wide" before it decides every connection it matches`}},
		{"behind a narrower rule", []Rule{
			{Name: "narrow", Match: conds(cond(t, "source", "192.0.2.7")), HasAction: true, Action: Drop},
			match(cond(t, "source", "192.0.2.0/24")),
		}, nil},
		{"the name itself is not below", []Rule{match(cond(t, "sni", "*.example.com")), {Name: "x", Match: conds(cond(t, "sni", "example.com")), HasAction: true}}, nil},
		{"behind a rule that only observes", []Rule{{Name: "o", HasAction: true, Action: Drop, Observe: true}, match(cond(t, "port", "443"))}, nil},
		{"behind a rule with unless", []Rule{{Name: "u", Unless: conds(cond(t, "port", "443")), HasAction: true}, match(cond(t, "port", "443"))}, nil},
		{"unless eats match", []Rule{{Name: "r", Match: conds(cond(t, "port", "443")), Unless: conds(cond(t, "port", "400-500")), HasAction: true}},
			[]string{"never matches: unless holds wherever match does"}},
		{"TLS facts of HTTP", []Rule{match(cond(t, "protocol", "http"), cond(t, "sni", "a.example"))}, []string{"never matches: protocol http has no sni"}},
		{"an alert that is no alert", []Rule{match(cond(t, "alert", "fatal"), cond(t, "content_type", "handshake"))}, []string{"never matches: an alert has no other content_type than alert"}},
		{"suites of another version in match", []Rule{match(cond(t, "version", "1.3"), cond(t, "cipher", "AES128-SHA"))}, []string{"never matches: no suite of cipher exists in a version of version"}},
		{"alpn_selected in TLS 1.3", []Rule{match(cond(t, "version", "1.3"), cond(t, "alpn_selected", "h2"))}, []string{"never matches: TLS 1.3 encrypts the ALPN protocol selected"}},
		{"no effect", []Rule{{Name: "r", HasAction: true, Action: Continue}}, []string{`has no effect: action = "continue" without require, pin or hold`}},
		{"drop at a record", []Rule{{Name: "r", Require: conds(cond(t, "content_type", "handshake")), Otherwise: Drop}},
			[]string{`stops the whole connection with the first such record: behind a byte that was dropped TCP delivers nothing, and both ends wait; "reset" tells them, and a hold has data wait`}},
		{"drop but for records", []Rule{{Name: "r", Unless: conds(cond(t, "content_type", "handshake")), HasAction: true, Action: Drop}},
			[]string{`stops the whole connection with the first such record: behind a byte that was dropped TCP delivers nothing, and both ends wait; "reset" tells them, and a hold has data wait`}},
		{"drop before records", []Rule{{Name: "r", Match: conds(cond(t, "sni", "a.example")), HasAction: true, Action: Drop}}, nil},
		{"alert for impatience", []Rule{{Name: "r", Hold: &Hold{Patience: 1}, Otherwise: Alert}},
			[]string{`resets a connection whose data has waited for too long: behind the handshake no alert is read any more`}},
		{"alert for nothing", []Rule{{Name: "r", Hold: &Hold{}, Otherwise: Alert}}, nil},
		{"alert at a record", []Rule{{Name: "r", Match: conds(cond(t, "content_type", "application_data")), HasAction: true, Action: Alert}},
			[]string{`sends its alert only as long as the server's records are in clear: behind the ServerHello in TLS 1.3, and behind ChangeCipherSpec before, the connection is reset`}},
		{"no version in common", []Rule{{Name: "r", Match: conds(cond(t, "version", "1.3")), Require: conds(cond(t, "version", "1.2"))}},
			[]string{"is never satisfied: match and require have no version in common"}},
		{"no suite in the versions", []Rule{require(cond(t, "version", "1.0"), cond(t, "cipher", "0xC02F"))}, []string{"is never satisfied: no suite of cipher exists in version 1.0"}},
		{"POLICY.md's own example", []Rule{require(cond(t, "version", "1.2", "1.3"), cond(t, "cipher", "0xC02F", "0xC030"))},
			[]string{"refuses every TLS 1.3 connection: none of the allowed suites exists there"}},
		{"the suites matched tell the version", []Rule{{Name: "r", Match: conds(cond(t, "cipher", "0xC02F", "0xC030")), Require: conds(cond(t, "cipher", "0xC02F"))}}, nil},
		{"a suite too many", []Rule{require(cond(t, "version", "1.0"), cond(t, "cipher", "0xC02F", "AES128-SHA"))},
			[]string{"allows suites that no allowed version (1.0) has: ECDHE-RSA-AES128-GCM-SHA256"}},
		{"only TLS 1.3 suites say what they want", []Rule{require(cond(t, "cipher", "TLS_AES_128_GCM_SHA256"))}, nil},
		{"group without a group", []Rule{require(cond(t, "version", "1.2"), cond(t, "cipher", "AES128-SHA"), cond(t, "group", "x25519"))}, []string{"is never satisfied: no suite of cipher has a group"}},
		{"required alpn", []Rule{require(cond(t, "alpn_selected", "h2"))}, []string{`refuses every TLS 1.3 connection: alpn_selected is encrypted there, and unseen = "allow" is not set`}},
		{"required alpn of TLS 1.3", []Rule{require(cond(t, "alpn_selected", "h2"), cond(t, "version", "1.3"))},
			[]string{`is never satisfied: TLS 1.3 encrypts the ALPN protocol selected, and unseen = "allow" is not set`}},
		{"required certificate", []Rule{require(cond(t, "cert_key", "rsa>=2048"), cond(t, "cert_expired", "false"))},
			[]string{`refuses every TLS 1.3 connection: cert_key is encrypted there, and unseen = "allow" is not set`}},
		{"a certificate of TLS 1.3", []Rule{match(cond(t, "version", "1.3"), cond(t, "cert_name", "a.example"))}, []string{"never matches: TLS 1.3 encrypts the certificate"}},
		{"a certificate up to TLS 1.2", []Rule{match(cond(t, "version", "1.2"), cond(t, "cert_name", "a.example"))}, nil},
		{"behind a rule for a wider name of the certificate", []Rule{
			{Name: "wide", Match: conds(cond(t, "cert_name", "*.example"), cond(t, "via", "starttls")), HasAction: true, Action: Drop},
			match(cond(t, "cert_name", "*.b.example"), cond(t, "via", "starttls:smtp"))},
			[]string{`is never asked: rule "wide" before it decides every connection it matches`}},
		{"behind a rule for another key", []Rule{
			{Name: "narrow", Match: conds(cond(t, "cert_key", "rsa>=2048"), cond(t, "ja4", "t13d1516h2_8daaf6152771_*")), HasAction: true, Action: Drop},
			match(cond(t, "cert_key", "rsa"), cond(t, "ja4", "t13d1516h2_*_*"))}, nil},
		{"required alert", []Rule{require(cond(t, "alert", "close_notify"))},
			[]string{`refuses at every encrypted alert, the closing one of each connection too: set unseen = "allow" to judge only those in clear`}},
		{"suites by hearsay", []Rule{require(cond(t, "version", "1.3"), cond(t, "cipher", "aws:ELBSecurityPolicy-TLS13-1-3-PQ-2025-09"))},
			[]string{`cipher: aws:ELBSecurityPolicy-TLS13-1-3-PQ-2025-09 rests on a third party's emulator of AWS, not on a document of AWS's (confidence "mirror"): aws elbv2 describe-ssl-policies confirms it`}},
		{"a level that takes nothing out", []Rule{match(cond(t, "offers_cipher", "openssl:DEFAULT@SECLEVEL=2", "openssl:AES@SECLEVEL=2"))},
			[]string{"offers_cipher: @SECLEVEL=2 takes nothing out of the list; a program that uses it may refuse more"}},
		{"required alert, unseen allowed", []Rule{{Name: "r", Require: conds(cond(t, "alert", "close_notify")), UnseenAllow: true}}, nil},
	} {
		infos := policy(t, Defaults{Accept, Accept, false}, tt.rules...).Rules()
		if diff := cmp.Diff(tt.want, infos[len(infos)-1].Warn); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}
