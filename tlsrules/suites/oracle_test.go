package suites

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// output runs a program of this machine. A missing program skips the test, and
// fails it in CI.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("missing program: %s", name)
		}
		t.Skipf("missing program: %s", name)
	}
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return string(out)
}

// TestAgreesWithOpenSSL reads lines like
//
//	0x00,0x9C - TLS_RSA_WITH_AES_128_GCM_SHA256 - AES128-GCM-SHA256 TLSv1.2 Kx=RSA Au=RSA Enc=AESGCM(128) Mac=AEAD
func TestAgreesWithOpenSSL(t *testing.T) {
	out := output(t, "openssl", "ciphers", "-V", "-stdname", "ALL:COMPLEMENTOFALL@SECLEVEL=0")
	line := regexp.MustCompile(`(?m)^ *(\S+) - (\S+) +- (\S+) +(\S+) +Kx=(\S+) +Au=(\S+) +Enc=([^( ]+)(?:\((\d+)\))? +Mac=(\S+)`)
	// OpenSSL counts the key exchange of RSA_PSK and DHE_PSK as one word, and
	// does not tell ephemeral from fixed.
	words := strings.NewReplacer("ECDHEPSK", "ECDHE", "DHEPSK", "DHE", "RSAPSK", "RSA", "None", "anon")
	lines := line.FindAllStringSubmatch(out, -1)
	if len(lines) < 50 {
		t.Fatalf("openssl lists %d suites", len(lines))
	}
	for _, m := range lines {
		s, ok := Lookup(m[1])
		if !ok || s.IANA != m[2] || s.OpenSSL != m[3] {
			t.Errorf("%s is %q and %q, want %q and %q", m[1], s.IANA, s.OpenSSL, m[2], m[3])
			continue
		}
		if v, _ := ParseVersion(m[4]); s.MinVersion != v {
			t.Errorf("%s begins with %s, want %s", s.IANA, VersionName(s.MinVersion), m[4])
		}
		kx := strings.TrimSuffix(words.Replace(m[5]), "E")
		if strings.TrimSuffix(s.KX, "E") != kx {
			t.Errorf("%s: key exchange %s, want %s", s.IANA, s.KX, m[5])
		}
		auth := words.Replace(m[6])
		if strings.HasPrefix(m[5], "RSAPSK") {
			auth = "PSK"
		}
		if strings.TrimPrefix(s.Auth, "SRP+") != auth {
			t.Errorf("%s: authentication %s, want %s", s.IANA, s.Auth, m[6])
		}
		if m[8] != "" && strconv.Itoa(int(s.Bits)) != m[8] {
			t.Errorf("%s: %d bits, want %s", s.IANA, s.Bits, m[8])
		}
		if s.MAC != m[9] {
			t.Errorf("%s: MAC %s, want %s", s.IANA, s.MAC, m[9])
		}
	}
}

// TestAgreesWithGnuTLS reads lines like
//
//	TLS_RSA_AES_128_GCM_SHA256   0x00, 0x9c   TLS1.2
func TestAgreesWithGnuTLS(t *testing.T) {
	out := output(t, "gnutls-cli", "--list")
	lines := regexp.MustCompile(`(?m)^(TLS_\S+)\s+(0x.., 0x..)\s`).FindAllStringSubmatch(out, -1)
	if len(lines) < 50 {
		t.Fatalf("gnutls-cli lists %d suites", len(lines))
	}
	for _, m := range lines {
		if s, ok := Lookup(m[2]); !ok || s.GnuTLS != m[1] {
			t.Errorf("%s is %q, want %q", m[2], s.GnuTLS, m[1])
		}
	}
}

// TestExpandsAsThisOpenSSL asks the openssl of this machine every expression.
// Releases that are not known are compared with the nearest, and must not
// differ either: if one does, its facts belong into the registry.
func TestExpandsAsThisOpenSSL(t *testing.T) {
	version := strings.Fields(output(t, "openssl", "version"))[1]
	r := nearest(version)
	if !strings.HasPrefix(version, r.name) {
		t.Logf("OpenSSL %s is not known, compared with %s: what differs may be the release, or how it was built", version, r.name)
	}
	asked := expressions(t)
	answers := make([]string, len(asked))
	for i, expression := range asked {
		answers[i] = askOpenSSL(expression)
	}
	for i, expression := range asked {
		if got := answer(r, expression); got != answers[i] {
			t.Errorf("%q:\n got %s\nwant %s, says OpenSSL %s", expression, got, answers[i], version)
		}
	}
}

// nearest returns the release that is most like a version of OpenSSL's.
func nearest(version string) *release {
	name := "3.0"
	switch {
	case strings.HasPrefix(version, "3.0."), strings.HasPrefix(version, "3.1."):
	case version == "1.0.2d":
		name = version
	case strings.HasPrefix(version, "1.0."):
		name = "1.0.2"
	case strings.HasPrefix(version, "1."):
		name = "1.1.1"
	default:
		name = "3.5"
	}
	return &releases[slices.IndexFunc(releases[:], func(r release) bool { return r.name == name })]
}

// askOpenSSL returns the numbers that openssl ciphers prints.
func askOpenSSL(expression string) string {
	if strings.HasPrefix(expression, "-") {
		expression = ":" + expression // or the command takes it for an option
	}
	cmd := exec.Command("openssl", "ciphers", "-V", expression)
	cmd.Env = append(os.Environ(), "OPENSSL_CONF=/dev/null") // a distribution's may set suites of TLS 1.3
	out, err := cmd.Output()
	if err != nil {
		return "error"
	}
	var codes []string
	for _, m := range regexp.MustCompile(`(?m)^ *0x(..),0x(..) - `).FindAllStringSubmatch(string(out), -1) {
		codes = append(codes, m[1]+m[2])
	}
	return strings.Join(codes, " ")
}
