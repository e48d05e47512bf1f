package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tlsgate/config"
)

func check(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(context.Background(), append([]string{"check"}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

const policies = "../../testdata/policies/"

// TestCheckRoundTrip: what check prints is a policy that means the same.
func TestCheckRoundTrip(t *testing.T) {
	files, err := filepath.Glob(policies + "*.toml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	all := filepath.Join(dir, "all.toml")
	if err := os.WriteFile(all, []byte(`
[intercept]
ports = "all"
in_interfaces = ["eth*", "wan0"]
[default]
mode = "observe"
malformed = "alert:decode_error"
undecided = "refuse"
[sets]
"a b" = ["x.example", "none"]
[[rule]]
name = 'say "no" \ é'
match = { sni = "@a b", port = "1-5", alpn = ["h2", "none"], offers_extension = "43", offers_signature = "0x0403", client_random = "`+strings.Repeat("0f", 32)+`" }
unless = { source = "2001:db8::/32", protocol = "http", offers_only_group = ["x25519", "0x1234"] }
require = { version = ">=1.2", cipher = ["0xC02F", "0xFDFD"], alert = ["fatal", "close_notify", "123"], content_type = "handshake" }
action = "accept"
otherwise = "drop"
unseen = "allow"
observe = true
[[rule]]
name = "told"
require = { version = "1.2" }
otherwise = "alert:access_denied"
[[rule]]
name = "closed"
match = { sni = "x.example" }
action = "refuse"
refuse_for = "90s"
`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, f := range append(files, all) {
		code, first, stderr := check(t, f)
		if told := `otherwise      = "alert:access_denied"`; f == all && !(strings.Contains(first, told) && strings.Contains(first, `refuse_for     = "1m30s"`)) {
			t.Errorf("%q and refuse_for are missing in %s", told, first)
		}
		if code == exitUsage && strings.Contains(f, "broken") {
			continue
		}
		if code != exitFine {
			t.Errorf("%s: exit %d: %s", f, code, stderr)
			continue
		}
		printed := filepath.Join(dir, "printed.toml")
		if err := os.WriteFile(printed, []byte(first), 0o600); err != nil {
			t.Fatal(err)
		}
		_, second, stderr := check(t, printed)
		if diff := cmp.Diff(meaning(first), meaning(second)); diff != "" {
			t.Errorf("%s (-first +second): %s\n%s", f, stderr, diff)
		}
	}
}

// meaning leaves out comments of their own line: path and unused sets differ.
func meaning(text string) (lines []string) {
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines
}

func TestCheckPartner(t *testing.T) {
	code, out, _ := check(t, policies+"partner-bank.toml")
	for _, want := range []string{
		"2 rules, 1 warning",
		`# warning: rule "partner" refuses every TLS 1.3 connection: none of the allowed suites exists there`,
		`"ECDHE-RSA-AES256-SHA", # 0xC014 TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, fs-cbc`,
		"[[rule]] # 1: judged until server_hello, final at server_hello",
		`midstream      = "accept"`,
		`match.sni      = ["api.bank.example", "*.pay.bank.example"]`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if code != exitFine {
		t.Errorf("got exit %d", code)
	}
}

func TestCheckErrors(t *testing.T) {
	code, out, stderr := check(t, policies+"broken.toml")
	if code != exitUsage || out != "" {
		t.Errorf("got exit %d and %q", code, out)
	}
	for _, want := range []string{
		"tlsgate: error: ", `broken.toml:2: defualt: unknown key (did you mean "default"?)`,
		`broken.toml:19: rule[1].require.version: has 1.2, where a string or a list of strings belongs (write it in quotes: "1.2")`,
	} {
		if !strings.Contains(stderr, want) {
			t.Errorf("%q is missing in\n%s", want, stderr)
		}
	}
	if strings.Contains(stderr, "hint:") {
		t.Errorf("a hint of one error among many:\n%s", stderr)
	}
	if code, _, stderr := check(t, filepath.Join(t.TempDir(), "none.toml")); code != exitUsage || !strings.Contains(stderr, "no such file") {
		t.Errorf("missing file: got exit %d: %s", code, stderr)
	}
}

func TestCheckJSON(t *testing.T) {
	var got struct {
		OK     bool
		Errors []checkError
		Rules  []checkedRule
		Limits map[string]any
		Final  string
	}
	code, out, _ := check(t, "--json", policies+"single-connection.toml")
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != exitFine || !got.OK {
		t.Fatal(code, err, out)
	}
	if len(got.Rules) != 2 || got.Rules[1].Final != "never" || got.Rules[0].Stage != "syn" || got.Limits["decide"] != "30s" || got.Final != "first_bytes" {
		t.Errorf("got %+v", got)
	}
	code, out, _ = check(t, "--json", policies+"broken.toml")
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != exitUsage || got.OK {
		t.Fatal(code, err, out)
	}
	want := checkError{Line: 2, Key: "defualt", Message: "unknown key", Hint: `did you mean "default"?`}
	if diff := cmp.Diff(want, got.Errors[0]); diff != "" {
		t.Error(diff)
	}
	_, err := config.Load(policies + "broken.toml")
	if len(got.Errors) != len(config.All(err)) {
		t.Errorf("got %d errors, want %d", len(got.Errors), len(config.All(err)))
	}
}
