package policytest_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tlsgate/config"
	"tlsgate/internal/engine"
	"tlsgate/internal/policytest"
	"tlsgate/tlsrules"
)

func engineConfig() engine.Config {
	return engine.Config{
		Default:  engine.Defaults{Malformed: tlsrules.Reset, Ambiguous: tlsrules.Reset, Undecided: tlsrules.Reset, Midstream: engine.MidstreamDrop},
		Overload: tlsrules.Drop,
	}
}

// results runs the tests of a policy.
func results(t testing.TB, text string) ([]policytest.Result, []string) {
	t.Helper()
	c, err := config.Parse("policy.toml", []byte(text), "../../testdata/certificates")
	if err != nil {
		t.Fatal(err)
	}
	return policytest.Run(engineConfig(), c)
}

// probe has a rule that refuses what matches: then it shows that the engine saw
// what the test says.
const probe = `
[[rule]]
name = "probe"
match = { MATCH }
action = "reset"
[[test]]
client = { CLIENT }
server = { SERVER }
expect = { rule = "probe" }
`

// TestSeen: what a test says of a connection is what the engine sees of it.
func TestSeen(t *testing.T) {
	hash := serverSHA256(t)
	for _, tt := range []struct{ client, server, match string }{
		{``, ``, `source = "192.0.2.10", destination = "203.0.113.10", port = 443, source_port = 40887`},
		{`from = "192.0.2.1:5", to = "192.0.2.2:25"`, ``, `source = "192.0.2.1", source_port = 5, destination = "192.0.2.2", port = 25`},
		{`to = "[2001:db8::2]:8443"`, ``, `source = "2001:db8::10", destination = "2001:db8::2", port = 8443, version = "1.3"`},
		{`from = "2001:db8::7"`, ``, `source = "2001:db8::7", destination = "2001:db8:1::10", port = 443`},
		{`in_interface = "lan0", out_interface = "wan0"`, ``, `in_interface = "lan0", out_interface = "wan*"`},
		{``, ``, `time = "Thu 12:00-12:01 UTC"`},
		{`protocol = "http"`, ``, `protocol = "http"`},
		{`protocol = "ssh"`, ``, `protocol = "ssh"`},
		{`protocol = "unknown"`, ``, `protocol = "unknown"`},
		{`protocol = "sslv2", version = "1.0"`, `version = "1.0"`, `protocol = "sslv2", version = "1.0", offers_version = "1.0"`},
		{``, ``, `sni = "none", alpn = "none", resumes = "none", ech = false, early_data = false, fallback = false`},
		{`sni = "a.example"`, ``, `sni = "a.example"`},
		{`alpn = ["h2", "http/1.1"], version = "1.2"`, `alpn = "http/1.1"`, `alpn = "h2", alpn_selected = "http/1.1"`},
		{``, ``, `version = "1.3", cipher = "TLS_AES_256_GCM_SHA384", group = "x25519", offers_version = "1.2", offers_cipher = "AES128-SHA"`},
		{`offers = "AES128-SHA"`, ``, `version = "1.2", cipher = "AES128-SHA", offers_only_cipher = "AES128-SHA", offers_only_version = ["1.0", "1.1", "1.2"]`},
		{`offers = "TLS_AES_128_CCM_8_SHA256"`, ``, `version = "1.3", offers_only_version = "1.3"`},
		{`version = ["1.2", "1.3"]`, `version = "1.2"`, `version = "1.2", cipher = "ECDHE-ECDSA-AES256-GCM-SHA384", group = "x25519", cert_key = "ecdsa"`},
		{`version = "ssl3", offers = "RC4-MD5"`, ``, `version = "ssl3", cipher = "RC4-MD5", cert_key = "rsa"`},
		{`version = "1.1"`, `version = "1.0"`, `version = "1.0", cert_key = "ecdsa"`},
		{`offers = "openssl-1.0.2d:EXPORT"`, ``, `cipher = "openssl-1.0.2d:EXPORT"`},
		{`offers = "0xFDFD"`, ``, `cipher = "0xFDFD"`},
		{`groups = ["secp384r1", "x25519"], key_shares = "secp384r1"`, `group = "x25519"`, `group = "x25519", offers_group = "secp384r1", offers_only_group = ["x25519", "secp384r1"]`},
		{`groups = ["X25519MLKEM768", "x25519", "secp256r1", "secp384r1", "secp521r1", "x448", "ffdhe2048"], key_shares = ["X25519MLKEM768", "x448", "secp521r1"]`, ``, `group = "X25519MLKEM768"`},
		{`signatures = ["ed25519", "rsa_pkcs1_sha1"]`, ``, `offers_signature = "ed25519"`},
		{`extensions = ["status_request", "compress_certificate", "60000", "encrypt_then_mac", "heartbeat", "record_size_limit", "delegated_credential", "cookie", "signature_algorithms_cert"]`, ``, `offers_extension = "60000"`},
		{`ech = true, fallback = true`, ``, `ech = true, fallback = true, cipher = "TLS_AES_256_GCM_SHA384"`},
		{`resumes = "psk", early_data = true`, ``, `resumes = "psk", early_data = true, resumed = "unknown"`},
		{`random = "` + strings.Repeat("0f", 32) + `"`, ``, `client_random = "` + strings.Repeat("0f", 32) + `"`},
		{``, `resumed = "known"`, `version = "1.3", resumed = "known", resumes = "psk"`},
		{``, `resumed = "unknown"`, `version = "1.3", resumed = "unknown", resumes = "psk"`},
		{`version = "1.2"`, `resumed = "known"`, `resumed = "known", resumes = "session_id", cert_key = "ecdsa"`},
		{`version = "1.2"`, `resumed = "unknown"`, `resumed = "unknown", resumes = "session_id"`},
		{`version = "1.2", resumes = "ticket"`, `resumed = "known", cert_name = "b.example"`, `resumed = "known", resumes = "ticket", cert_name = "b.example"`},
		{`version = "1.2", resumes = "ticket"`, ``, `resumed = "unknown", resumes = "ticket"`},
		{`version = "1.2", resumes = "ticket"`, `resumed = "no"`, `resumed = "no", resumes = "ticket", cert_expired = false`},
		{`resumes = ["session_id", "psk"]`, `version = "1.2", resumed = "no"`, `resumed = "no", resumes = "session_id"`},
		{`resumes = "session_id"`, `version = "1.2", resumed = "known"`, `resumed = "known"`},
		{`resumes = "psk"`, `resumed = "no"`, `resumed = "no", resumes = "psk"`},
		{`sni = "a.example"`, `cert_key = "rsa", version = "1.2"`, `cert_name = "a.example", cert_key = "rsa>=2048", cert_expired = false, cert_self_signed = false, cert_issuer = "CN=Example CA", cert_subject = "CN=a.example", cipher = "openssl:ECDHE+aRSA"`},
		{`offers = "openssl:ALL"`, `cert_key = "rsa=1024", version = "1.2", cert_expired = true, cert_self_signed = true`, `cert_key = "rsa=1024", cert_expired = true, cert_self_signed = true`},
		{``, `cert_key = "RSA-4096", version = "1.2", cert_subject = "O=Bank, Inc., CN=b.example", cert_issuer = "C=US, O=CA", cert_name = ["b.example", "192.0.2.9"]`, `cert_key = "rsa=4096", cert_subject = ["O=Bank, Inc.", "x=y"], cert_issuer = "C=US, O=CA", cert_name = "192.0.2.9"`},
		{`version = "1.2"`, `cert_key = "ecdsa=384", cert_self_signed = true`, `cert_key = "ecdsa=384", cert_self_signed = true`},
		{`version = "1.2"`, `cert_key = "ecdsa-P-521"`, `cert_key = "ecdsa=521"`},
		{`version = "1.2"`, `cert_key = "ed25519", cert_self_signed = true`, `cert_key = "ed25519", cert_self_signed = true`},
		{`version = "1.2", offers = "DHE-DSS-AES128-SHA"`, `cert_self_signed = true`, `cert_key = "dsa>=2048", cert_self_signed = true, dh_bits = 2048`},
		{`version = "1.2", offers = "DHE-RSA-AES128-SHA"`, `dh_bits = 1024`, `dh_bits = 1024, cipher = "DHE-RSA-AES128-SHA"`},
		{`version = "1.1", offers = "ADH-AES128-SHA"`, `dh_bits = 512`, `dh_bits = 512`},
		{`offers = "AECDH-AES128-SHA"`, ``, `group = "x25519"`},
		{`offers = "DHE-PSK-AES128-CBC-SHA"`, `dh_bits = 3072`, `dh_bits = 3072`},
		{`offers = "ECDHE-PSK-AES128-CBC-SHA"`, ``, `group = "x25519"`},
		{`version = "1.2", offers = "DHE-RSA-AES128-SHA"`, `resumed = "known", dh_bits = 1024`, `dh_bits = 1024, resumed = "known"`},
		{`version = "1.2"`, `certificate = "server.pem"`, `cert_sha256 = "HASH", cert_expired = false`},
		{`version = "1.2"`, `certificate = "server.pem", cert_expired = true`, `cert_sha256 = "HASH", cert_expired = true`},
		{``, `alert = "handshake_failure"`, `alert = "handshake_failure"`},
		{``, `alert = "warning:unrecognized_name"`, `version = "1.3"`},
		{``, `alert = "warning:unrecognized_name"`, `alert = "warning"`},
		{`version = "1.2", alert = "unknown_ca"`, ``, `alert = "unknown_ca"`},
		{`alert = "unknown_ca"`, ``, `alert = "unknown_ca", version = "1.3"`},
		{`sends = []`, `sends = "application_data"`, `content_type = "application_data"`},
		{`version = "1.2", sends = "heartbeat"`, ``, `content_type = "heartbeat"`},
		{`version = "1.2", sends = "renegotiation"`, ``, `renegotiates = true`},
		{`version = "1.2"`, `sends = "renegotiation"`, `renegotiates = true`},
		{`version = "1.2", sends = "alert"`, ``, `content_type = "alert"`},
		{`sends = "alert", offers = "TLS_AES_128_CCM_8_SHA256"`, ``, `content_type = "alert"`},
		{`resumes = "psk", early_data = true`, ``, `content_type = "early_data"`},
		{`version = "1.2", alert = "unknown_ca"`, `resumed = "known"`, `resumed = "known", alert = "unknown_ca"`},
		{``, ``, `via = "direct", version = "1.3"`},
		{`via = "proxy"`, ``, `via = "proxy", version = "1.3"`},
		{`via = "proxy", to = "2001:db8::1"`, `version = "1.2"`, `via = "proxy", version = "1.2"`},
		{`via = "connect"`, ``, `via = "connect", version = "1.3"`},
		{`via = "socks", sni = "a.example"`, ``, `via = "socks", version = "1.3", contains = "a.example"`},
		{`via = "starttls:smtp"`, ``, `via = "starttls:smtp", version = "1.3"`},
		{`via = "starttls:imap"`, `version = "1.2", resumed = "known"`, `via = "starttls:imap", resumed = "known"`},
		{`via = "starttls:pop3"`, ``, `via = "starttls:pop3", version = "1.3"`},
		{`via = "starttls:ftp"`, ``, `via = "starttls:ftp", version = "1.3"`},
		{`via = "starttls:xmpp"`, ``, `via = "starttls:xmpp", version = "1.3"`},
		{`via = "starttls:ldap"`, ``, `via = "starttls:ldap", version = "1.3"`},
		{`via = "starttls:postgres"`, ``, `via = "starttls:postgres", version = "1.3"`},
		{`via = "starttls:mysql"`, ``, `via = "starttls:mysql", version = "1.3"`},
		{`via = ["proxy", "connect", "socks", "starttls:smtp"]`, ``, `via = "starttls:smtp", version = "1.3"`},
		{`via = ["proxy", "connect", "socks", "starttls:smtp"]`, ``, `via = "socks", version = "1.3"`},
		{`protocol = "unknown", text = "amazinggrace"`, ``, `contains = "amazinggrace"`},
		{`protocol = "http", text = "hex:16 03 01 ff"`, ``, `contains = "hex:160301ff", protocol = "http"`},
	} {
		text := strings.NewReplacer("MATCH", strings.ReplaceAll(tt.match, "HASH", hash), "CLIENT", tt.client, "SERVER", tt.server).Replace(probe)
		c, err := config.Parse("policy.toml", []byte(text), "../../testdata/certificates")
		if err != nil {
			t.Errorf("%s / %s: %v", tt.client, tt.server, err)
			continue
		}
		got, _ := policytest.Run(engineConfig(), c)
		if !got[0].OK() {
			t.Errorf("%s / %s is not %s: %+v", tt.client, tt.server, tt.match, got[0].Got)
		}
	}
}

// serverSHA256 is that of testdata/certificates/server.pem.
func serverSHA256(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("../../testdata/certificates/server.pem")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	sum := sha256.Sum256(block.Bytes)
	return hex.EncodeToString(sum[:])
}

// TestOutcomes: what becomes of connections, and why.
func TestOutcomes(t *testing.T) {
	for _, tt := range []struct {
		name, policy string
		got          policytest.Outcome
	}{
		{"the issue's own", `
[[rule]]
name = "partner"
match = { destination = "203.0.113.0/24", port = 443, sni = "*.bank.example" }
require = { version = ["1.2", "1.3"], cipher = "ECDHE-RSA-AES128-GCM-SHA256" }
action = "accept"
otherwise = "alert:handshake_failure"
[[test]]
client = { from = "192.0.2.10", to = "203.0.113.10:443", sni = "api.bank.example", offers = "openssl:DEFAULT", version = "1.2" }
server = { cipher = "AES128-SHA" }
expect = { verdict = "alert", rule = "partner", reason = "require.cipher", stage = "server_hello", detail = "AES128-SHA" }
`, policytest.Outcome{Verdict: "alert", Rule: "partner", Reason: "require.cipher", Stage: "server_hello", Packet: 6,
			Detail: `server selected AES128-SHA (TLS_RSA_WITH_AES_128_CBC_SHA); rule "partner" allows only suite ECDHE-RSA-AES128-GCM-SHA256; of them the client offered ECDHE-RSA-AES128-GCM-SHA256`}},
		{"nobody decides", accepts, policytest.Outcome{Verdict: "accept", Reason: "default", Stage: "first_bytes", Detail: `no rule decides; default.action is "accept"`}},
		{"a silent server", `
[[rule]]
require = { version = "1.3" }
[[test]]
server.silent = true
expect = { verdict = "reset", reason = "undecided", rule = "" }
`, policytest.Outcome{Verdict: "reset", Reason: "undecided", Stage: "client_hello", Packet: 5, Detail: `30s after the first byte it is not decided: it has come as far as client_hello`}},
		{"waits for records that never come", `
[[rule]]
name = "quiet"
match = { content_type = "application_data" }
action = "drop"
[[test]]
client.sends = []
server.sends = []
expect = { verdict = "accept", reason = "default" }
`, policytest.Outcome{Verdict: "accept", Reason: "default", Stage: "records", Detail: `no rule decides; default.action is "accept"`}},
		{"a rule observes", `
[[rule]]
name = "soon"
match = { version = "1.3" }
action = "drop"
observe = true
[[test]]
expect = { verdict = "drop", rule = "soon", observed = true }
`, policytest.Outcome{Verdict: "drop", Rule: "soon", Reason: "rule", Stage: "server_hello", Observed: true, Packet: 6, Detail: `rule "soon" has action = "drop" for what it matches: server selected TLS 1.3`}},
		{"the policy observes", `
[default]
mode = "observe"
[[rule]]
name = "old"
match = { sni = "none" }
action = "drop"
[[test]]
expect = { verdict = "drop", rule = "old" }
`, policytest.Outcome{Verdict: "drop", Rule: "old", Reason: "rule", Stage: "client_hello", Observed: true, Packet: 4, Detail: `rule "old" has action = "drop" for what it matches: client sent no server name`}},
		{"not TLS", `
[default]
not_tls = "drop"
[[rule]]
require = { version = "1.3" }
[[test]]
client.protocol = "http"
expect = { verdict = "drop", reason = "not_tls" }
`, policytest.Outcome{Verdict: "drop", Reason: "not_tls", Stage: "first_bytes", Packet: 4, Detail: `the first bytes are HTTP, not TLS; no rule decides; default.not_tls is "drop"`}},
		{"refused at the SYN", `
[[rule]]
name = "old"
match = { destination = "2001:db8::/32" }
action = "reset"
[[test]]
client.to = "[2001:db8::1]:443"
expect = { verdict = "reset", stage = "syn" }
`, policytest.Outcome{Verdict: "reset", Rule: "old", Reason: "rule", Stage: "syn", Packet: 1, Detail: `rule "old" has action = "reset" for what it matches: the server's address is 2001:db8::1`}},
		{"an alert waits for the hello", `
[[rule]]
name = "old"
match = { destination = "2001:db8::/32" }
action = "alert:access_denied"
[[test]]
client.to = "[2001:db8::1]:443"
expect = { verdict = "alert", stage = "syn" }
`, policytest.Outcome{Verdict: "alert", Rule: "old", Reason: "rule", Stage: "syn", Packet: 4, Detail: `rule "old" has action = "alert:access_denied" for what it matches: the server's address is 2001:db8::1`}},
		{"a port that looks closed", `
[[rule]]
name = "shy"
require = { sni = "a.example" }
otherwise = "refuse"
[[test]]
expect = { verdict = "refuse", reason = "require.sni" }
`, policytest.Outcome{Verdict: "refuse", Rule: "shy", Reason: "require.sni", Stage: "client_hello", Packet: 4, Detail: `client sent no server name; rule "shy" allows only name a.example`}},
		{"a hello of several segments, asked twice", `
[[rule]]
name = "pq"
require = { group = "X25519MLKEM768" }
action = "accept"
[[test]]
client = { groups = ["x25519", "X25519MLKEM768", "secp256r1"], key_shares = "secp256r1" }
server.group = "X25519MLKEM768"
expect.verdict = "accept"
`, policytest.Outcome{Verdict: "accept", Rule: "pq", Reason: "rule", Stage: "server_hello", Detail: `rule "pq" has action = "accept" for every connection`}},
		{"the session began refused", `
[[rule]]
name = "full"
match = { resumes = "none" }
action = "reset"
[[test]]
server.resumed = "known"
expect.verdict = "accept"
`, policytest.Outcome{Verdict: "reset", Rule: "full", Reason: "rule", Stage: "client_hello", Packet: 4, Detail: `rule "full" has action = "reset" for what it matches: client did not ask to resume a session`}},
	} {
		got, _ := results(t, tt.policy)
		if diff := cmp.Diff(tt.got, got[0].Got); diff != "" {
			t.Errorf("%s (-want +got): %s", tt.name, diff)
		}
		if ok := tt.name != "the session began refused"; got[0].OK() != ok {
			t.Errorf("%s: %+v", tt.name, got[0].Wrong)
		}
	}
}

const accepts = "[[test]]\nexpect.verdict = \"accept\"\n"

// TestDifferences: each thing that is not as expected is told.
func TestDifferences(t *testing.T) {
	got, _ := results(t, `
[[rule]]
name = "a"
action = "drop"
[[rule]]
name = "b"
action = "accept"
[[test]]
expect = { verdict = "accept", rule = "b", reason = "default", stage = "records", detail = "nothing", observed = true }
[[test]]
expect = { rule = "" }
`)
	want := []policytest.Difference{
		{What: "verdict", Got: "drop", Want: "accept"}, {What: "rule", Got: "a", Want: "b"}, {What: "reason", Got: "rule", Want: "default"},
		{What: "stage", Got: "syn", Want: "records"}, {What: "observed", Got: "false", Want: "true"},
		{What: "detail", Got: `rule "a" has action = "drop" for every connection`, Want: "nothing"},
	}
	if diff := cmp.Diff(want, got[0].Wrong); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]policytest.Difference{{What: "rule", Got: "a", Want: ""}}, got[1].Wrong); diff != "" {
		t.Error(diff)
	}
}

// TestUnreached: a rule is reached by what it decides, and by what violates it,
// and not by what it only lets pass to the next.
func TestUnreached(t *testing.T) {
	const rules = `
[[rule]]
name = "modern"
require = { version = ">=1.2" }
[[rule]]
name = "soon"
match = { alpn = "h2" }
action = "drop"
observe = true
[[rule]]
name = "bank"
match = { sni = "bank.example" }
action = "accept"
[[rule]]
name = "never"
match = { port = 1 }
action = "drop"
`
	for _, tt := range []struct{ tests, want string }{
		{accepts, "modern soon bank never"},
		{accepts + "client.sni = \"bank.example\"\n", "modern soon never"},
		{accepts + "client.alpn = \"h2\"\n", "modern bank never"},
		{"[[test]]\nclient.version = \"1.1\"\nexpect.verdict = \"reset\"\n", "soon bank never"},
	} {
		got, unreached := results(t, rules+tt.tests)
		if !got[0].OK() || strings.Join(unreached, " ") != tt.want {
			t.Errorf("%s: %v reached by none, want %s; %+v", tt.tests, unreached, tt.want, got[0].Wrong)
		}
	}
}

// TestAlone: what one test leaves behind no other one finds, and none depends on
// when it is run.
func TestAlone(t *testing.T) {
	const text = `
[[rule]]
name = "watched"
require = { resumed = ["no", "known"] }
[[test]]
server = { version = "1.2", resumed = "known" }
expect.verdict = "accept"
[[test]]
server = { version = "1.2", resumed = "unknown" }
expect.verdict = "reset"
[[test]]
server.resumed = "unknown"
expect.verdict = "reset"
`
	first, _ := results(t, text)
	second, _ := results(t, text)
	for i := range first {
		if !first[i].OK() {
			t.Errorf("test %d: %+v", i+1, first[i])
		}
		if diff := cmp.Diff(first[i].Got, second[i].Got); diff != "" {
			t.Errorf("test %d: %s", i+1, diff)
		}
	}
}

// TestManyTests: a thousand tests are over before anybody waits for them.
func TestManyTests(t *testing.T) {
	var b strings.Builder
	b.WriteString("[[rule]]\nrequire = { version = \"1.2\" }\n")
	for range 250 {
		b.WriteString("[[test]]\nclient.sni = \"a.example\"\nexpect.verdict = \"reset\"\n")
		b.WriteString("[[test]]\nserver = { version = \"1.2\", cert_key = \"rsa=4096\", resumed = \"known\" }\nexpect.verdict = \"accept\"\n")
		b.WriteString("[[test]]\nclient.to = \"2001:db8::1\"\nserver = { cipher = \"DHE-RSA-AES128-SHA\", dh_bits = 8192 }\nexpect.verdict = \"accept\"\n")
		b.WriteString("[[test]]\nclient.protocol = \"http\"\nexpect.verdict = \"accept\"\n")
	}
	begun := ownTime(t)
	got, _ := results(t, b.String())
	if took := ownTime(t) - begun; took > 2*time.Second {
		t.Errorf("%d tests took %v of a CPU", len(got), took)
	}
	for i := range got {
		if !got[i].OK() {
			t.Fatalf("test %d: %+v", i+1, got[i])
		}
	}
}

// ownTime is what this process has used of CPUs, however busy others keep them.
func ownTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestHonest: no end of any test says what the engine takes for malformed,
// ambiguous, or the middle of something.
func TestHonest(t *testing.T) {
	clients := []string{
		`version = "1.2"`, `version = ["1.2", "1.3"]`, `version = "1.3"`, `version = "1.0"`, `version = "ssl3"`, `protocol = "sslv2"`,
		`offers = "openssl-1.0.2d:ALL:eNULL"`, `offers = ["class:tls13", "class:nofs-cbc"]`, `offers = "0xFDFD"`, `sni = "a.example"`, `alpn = ["h2", "x"]`,
		`resumes = "ticket"`, `resumes = "session_id"`, `resumes = ["psk", "session_id", "ticket"]`, `early_data = true`, `ech = true`, `fallback = true`,
		`groups = ["secp521r1", "x25519", "ffdhe8192", "X25519MLKEM768"]`, `key_shares = []`, `key_shares = "secp256r1"`, `to = "2001:db8::1"`,
		`alert = "warning:no_renegotiation"`, `alert = "bad_certificate"`, `sends = ["renegotiation", "application_data", "renegotiation", "alert"]`,
		`via = "connect"`, `via = ["proxy", "socks"]`, `via = "starttls:postgres"`, `via = "starttls:xmpp"`,
		`sends = ["change_cipher_spec", "heartbeat"]`, `extensions = [5, 7, 15, 27, 28, 34, 44, 50, 60000]`,
	}
	servers := []string{
		`version = "1.2"`, `version = "1.1"`, `version = "ssl3"`, `version = "1.3"`, `resumed = "known"`, `resumed = "unknown"`, `resumed = "no"`,
		`cipher = "TLS_AES_128_CCM_8_SHA256"`, `cipher = "ADH-AES128-SHA"`, `cipher = "PSK-AES128-CBC-SHA"`, `cipher = "RSA-PSK-AES128-CBC-SHA"`, `cipher = "ECDHE-PSK-AES128-CBC-SHA"`,
		`cipher = "ECDH-RSA-AES128-SHA"`, `cipher = "DHE-DSS-AES128-SHA"`, `dh_bits = 512`, `dh_bits = 8192`, `group = "secp521r1"`, `group = "X25519MLKEM768"`,
		`cert_key = "rsa=16384"`, `cert_key = "ed25519"`, `cert_key = "ecdsa=521"`, `cert_key = "dsa=1024"`, `cert_expired = true`, `cert_self_signed = true`,
		`cert_name = ["a.example", "2001:db8::7"]`, `alert = "handshake_failure"`, `alert = "warning:unrecognized_name"`, `silent = true`, `alpn = "x"`,
		`sends = ["renegotiation", "alert", "application_data"]`, `sends = ["change_cipher_spec", "renegotiation", "renegotiation"]`,
	}
	r := rand.New(rand.NewPCG(1, 2))
	some := func(all []string) string {
		var picked []string
		for range r.IntN(4) {
			picked = append(picked, all[r.IntN(len(all))])
		}
		return strings.Join(picked, ", ")
	}
	ran := 0
	for range 3000 {
		text := "[[rule]]\nrequire = { content_type = \"openly\" }\n" + accepts + "client = { " + some(clients) + " }\nserver = { " + some(servers) + " }\n"
		text = strings.Replace(text, `"openly"`, `["handshake", "alert", "change_cipher_spec", "application_data", "heartbeat", "early_data"]`, 1)
		c, err := config.Parse("p", []byte(text), "")
		if err != nil {
			continue
		}
		ran++
		got, _ := policytest.Run(engineConfig(), c)
		silent := strings.Contains(text, "silent")
		if o := &got[0].Got; o.Verdict != "accept" && !(silent && o.Reason == "undecided") {
			t.Errorf("%s\n%+v", text, o)
		}
	}
	if ran < 400 {
		t.Errorf("only %d of them could be taken", ran)
	}
}

// FuzzRun: whatever tests a policy has, they come to an end and to a verdict.
func FuzzRun(f *testing.F) {
	f.Add("[[rule]]\nrequire = { cipher = \"openssl:AESGCM\" }\n" + accepts + "client = { resumes = \"ticket\", version = \"1.2\" }\nserver.resumed = \"known\"\n")
	f.Add(accepts + "client = { resumes = [\"psk\", \"session_id\"], early_data = true, ech = true, groups = [1, 2, 65535], extensions = [7, 60000] }\n")
	f.Add(accepts + "server = { version = \"1.2\", cert_key = \"ecdsa-521\", cert_subject = \"C=\", cert_name = [\"a.example\", \"::1\"], sends = [\"renegotiation\", \"alert\"] }\n")
	f.Add(accepts + "client = { protocol = \"sslv2\", offers = [\"0x0000\", \"0xFFFF\"] }\nserver = { alert = \"warning:200\" }\n")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "file:") || strings.Contains(text, "certificate") {
			t.Skip("reads files")
		}
		c, err := config.Parse("p", []byte(text), "")
		if err != nil || len(c.Tests) > 20 {
			return
		}
		got, _ := policytest.Run(engineConfig(), c)
		for i := range got {
			switch r := &got[i].Got; r.Reason {
			case "malformed.record", "malformed.handshake", "tcp.overlap", "tcp.invalid", "midstream":
				t.Errorf("%+v: no honest end says that", r)
			default:
				if r.Verdict == "" {
					t.Errorf("%+v", got[i])
				}
			}
		}
	})
}
