package main

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// TestIntegrationWhy has openssl refused by the partner's policy and asks why; then
// why another one passes, and what a shell is offered.
func TestIntegrationWhy(t *testing.T) {
	labtest.Program(t, "openssl")
	l := labtest.New(t, lab.Options{})
	if _, err := l.Server.ServeTLS(":443", lab.ServerOptions{Key: lab.KeyRSA}); err != nil {
		t.Fatal(err)
	}
	f := startFirewall(t, l, "[queue]\nworkers = 2\n"+partnerPolicy)
	families(t, l, func(t *testing.T, server netip.Addr) {
		f.forget()
		to := netip.AddrPortFrom(server, 443)
		if s := openssl(t, l, to, "", "-tls1_2", "-cipher", "AES128-SHA:@SECLEVEL=0"); s.exit == nil {
			t.Fatalf("openssl is not refused: %s", s)
		}
		e := f.wait("a refusal", func(e event) bool { return e.Type == "drop" })
		from := netip.AddrPortFrom(e.SrcIP, e.SrcPort)
		byID := f.why(t, l, fmt.Sprint(e.FlowID))
		for _, part := range []string{
			fmt.Sprintf("Connection %d, %s to %s (server.lab.example)", e.FlowID, from, to),
			"client: SYN - accepted so far\n", "ClientHello", "ServerHello, THE VERDICT - dropped", "we send in the name of the server: RST",
			`client asked for server name "server.lab.example"`, "server selected AES128-SHA (TLS_RSA_WITH_AES_128_CBC_SHA)",
			`rule "partner" applies, and decides`, "cipher is false, VIOLATED: server selected AES128-SHA", "The verdict: reset",
			fmt.Sprintf("It was refused (reset) at packet %d: server selected AES128-SHA", e.Ours.Packet), "require.cipher of rule \"partner\"",
		} {
			if !strings.Contains(byID, part) {
				t.Errorf("no %q in\n%s", part, byID)
			}
		}
		if !strings.Contains(byID, fmt.Sprintf("\n  %4d  +", e.Ours.Packet)) {
			t.Errorf("packet %d is not in\n%s", e.Ours.Packet, byID)
		}
		cut := func(s string) string { _, s, _ = strings.Cut(s, "What is known"); return s } // its packets still come
		for _, args := range [][]string{{from.String(), to.String()}, {to.String() + "-" + from.String()}, {from.String() + " " + to.String()}} {
			if got := f.why(t, l, args...); cut(got) != cut(byID) {
				t.Errorf("by %q:\n%s", args, got)
			}
		}
	})

	good := tls.Client(dial(t, l, netip.AddrPortFrom(l.Server.IPv4, 443)), &tls.Config{
		InsecureSkipVerify: true, ServerName: "server.lab.example", MaxVersion: tls.VersionTLS12, CipherSuites: goodSuite.CipherSuites,
	})
	defer good.Close()
	echo(t, good, "echo\nhello", "hello")
	list := f.conns(l, "--verdict", "accept")
	if len(list) != 1 {
		t.Fatalf("%d connections pass", len(list))
	}
	id := fmt.Sprint(list[0].FlowID)
	got := f.why(t, l, id)
	for _, part := range []string{"accepted so far", `rule "partner" applies, and decides`, "cipher is true: server selected ECDHE", `It passes: rule "partner" accepts it. It is left to the kernel`} {
		if !strings.Contains(got, part) {
			t.Errorf("no %q in\n%s", part, got)
		}
	}
	if _, errs, code := f.ask(l, "why", "9999999"); code != 1 || !strings.Contains(errs, "there is no connection 9999999") || !strings.Contains(errs, "flow_id") {
		t.Errorf("of nothing: %d: %s", code, errs)
	}
	for _, words := range [][]string{{"why"}, {"kill"}, {"conns", "--id"}} {
		if got := f.complete(t, l, append(words, "")...); !strings.Contains(got, id+"\t") || !strings.Contains(got, ":4\n") {
			t.Errorf("%v completes to %s", words, got)
		}
	}
	if got := f.complete(t, l, "conns", "--rule", "par"); !strings.HasPrefix(got, "partner\n") {
		t.Errorf("rules: %s", got)
	}
}

func (f *firewall) why(t *testing.T, l *lab.Lab, args ...string) string {
	t.Helper()
	out, errs, code := f.ask(l, append([]string{"why"}, args...)...)
	if code != 0 {
		t.Fatalf("why %v: %d: %s", args, code, errs)
	}
	return out
}

// complete asks as a shell does: the last word is begun.
func (f *firewall) complete(t *testing.T, l *lab.Lab, words ...string) string {
	t.Helper()
	args := append([]string{"__complete", words[0], "--socket", f.socket}, words[1:]...)
	start := time.Now()
	out, err := program(t, l.Gateway, args...).Output()
	if took := time.Since(start); err != nil || took > 5*time.Second {
		t.Errorf("%v: %v, in %s", args, err, took)
	}
	return string(out)
}
