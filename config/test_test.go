package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"tlsgate/tlsrules"
	"tlsgate/tlsrules/certs"
	"tlsgate/tlsrules/tlswire"
)

func parseTest(t *testing.T, text string) Test {
	t.Helper()
	c, err := Parse("policy.toml", []byte(text), "../testdata/certificates")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Tests) != 1 {
		t.Fatalf("got %d tests", len(c.Tests))
	}
	return c.Tests[0]
}

// TestTestDefaults: what a test leaves out is filled in.
func TestTestDefaults(t *testing.T) {
	got := parseTest(t, accepts)
	want := Test{
		Name: "test 1", Line: 1, Time: defaultTime,
		Client: TestClient{
			From: netip.MustParseAddrPort("192.0.2.10:40887"), To: netip.MustParseAddrPort("203.0.113.10:443"),
			Protocol: tlswire.ProtocolTLS, Versions: []uint16{0x0304, 0x0303},
			Groups: []uint16{29, 23, 24}, KeyShares: []uint16{29}, Signatures: defaultSignatures,
			Sends: []TestRecord{SendApplicationData},
		},
		Server: TestServer{
			Version: 0x0304, Cipher: 0x1302, Group: 29, Resumed: tlsrules.ResumedNo, Sends: []TestRecord{SendApplicationData},
		},
		Expect: Expectation{Verdict: "accept"},
	}
	if n := len(got.Client.Ciphers); n != 60 || got.Client.Ciphers[0] != 0x1302 {
		t.Errorf("offers %d suites, the first %#x", n, got.Client.Ciphers[0])
	}
	ignore := []cmp.Option{cmpopts.IgnoreFields(TestClient{}, "Random", "Ciphers"), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }), cmpopts.EquateEmpty()}
	if diff := cmp.Diff(want, got, ignore...); diff != "" {
		t.Error(diff)
	}
}

// TestTestAgrees: the server answers what the client offers.
func TestTestAgrees(t *testing.T) {
	type answer struct {
		version, cipher, group uint16
		dh                     int
		key                    certs.KeyKind
		resumed                tlsrules.Resumed
	}
	const tls10, tls11, tls12, tls13 = 0x0301, 0x0302, 0x0303, 0x0304
	for _, tt := range []struct {
		client, server string
		want           answer
	}{
		{`version = "1.2"`, ``, answer{tls12, 0xc02c, 29, 0, certs.ECDSA, tlsrules.ResumedNo}},
		{`version = "<=1.2"`, ``, answer{tls12, 0xc02c, 29, 0, certs.ECDSA, tlsrules.ResumedNo}},
		{`version = ["1.0", "1.1"]`, ``, answer{tls11, 0xc00a, 29, 0, certs.ECDSA, tlsrules.ResumedNo}},
		{``, `cipher = "AES128-SHA"`, answer{tls12, 0x002f, 0, 0, certs.RSA, tlsrules.ResumedNo}},
		{``, `cipher = "AES128-SHA", version = "1.0"`, answer{}}, // 1.0 is not among 1.2 and 1.3
		{`version = "1.2"`, `cipher = "AES128-SHA", version = "1.0"`, answer{tls10, 0x002f, 0, 0, certs.RSA, tlsrules.ResumedNo}},
		{`version = "1.2", groups = ["ffdhe2048", "secp384r1"]`, ``, answer{tls12, 0xc02c, 24, 0, certs.ECDSA, tlsrules.ResumedNo}},
		{`version = "1.2"`, `cert_key = "rsa"`, answer{tls12, 0xc030, 29, 0, certs.RSA, tlsrules.ResumedNo}},
		{`offers = ["DHE-RSA-AES128-SHA"]`, ``, answer{tls12, 0x0033, 0, 2048, certs.RSA, tlsrules.ResumedNo}},
		{`offers = ["ADH-AES128-SHA"]`, ``, answer{tls12, 0x0034, 0, 2048, 0, tlsrules.ResumedNo}},
		{`offers = ["0x5600", "0x0A0A", "PSK-AES128-CBC-SHA"]`, ``, answer{tls12, 0x008c, 0, 0, 0, tlsrules.ResumedNo}},
		{`offers = ["RSA-PSK-AES128-CBC-SHA"]`, ``, answer{tls12, 0x0094, 0, 0, certs.RSA, tlsrules.ResumedNo}},
		{`resumes = "psk"`, ``, answer{tls13, 0x1302, 29, 0, 0, tlsrules.ResumedUnknown}},
		{`resumes = "ticket"`, ``, answer{tls13, 0x1302, 29, 0, 0, tlsrules.ResumedNo}},
		{`resumes = "ticket"`, `version = "1.2"`, answer{tls12, 0xc02c, 0, 0, 0, tlsrules.ResumedUnknown}},
		{`resumes = "ticket"`, `version = "1.2", resumed = "known"`, answer{tls12, 0xc02c, 29, 0, certs.ECDSA, tlsrules.ResumedKnown}},
	} {
		text := accepts + "client = { " + tt.client + " }\nserver = { " + tt.server + " }\n"
		if tt.want == (answer{}) {
			if _, err := Parse("p", []byte(text), ""); err == nil {
				t.Errorf("%s / %s was taken", tt.client, tt.server)
			}
			continue
		}
		s := parseTest(t, text).Server
		got := answer{version: s.Version, cipher: s.Cipher, group: s.Group, dh: s.DHBits, resumed: s.Resumed}
		if s.Certificate != nil {
			got.key = s.Certificate.Key.Kind
		}
		if got != tt.want {
			t.Errorf("%s / %s: got %+v, want %+v", tt.client, tt.server, got, tt.want)
		}
	}
}

// TestTestCertificateFile: a test's clock is within the life of a certificate that
// was read, or behind it; and the file is part of what the policy is.
func TestTestCertificateFile(t *testing.T) {
	const text = accepts + "server = { version = \"1.2\", certificate = \"server.pem\" }\n"
	got := parseTest(t, text)
	leaf := certs.Parse(got.Server.Certificate.DER[0])
	if leaf.Expired(got.Time) || got.Server.Certificate.Key.Kind != certs.ECDSA {
		t.Errorf("at %s: %+v", got.Time, got.Server.Certificate)
	}
	got = parseTest(t, strings.Replace(text, "server.pem\"", "server.pem\", cert_expired = true", 1))
	if !leaf.Expired(got.Time) {
		t.Errorf("at %s it is not expired", got.Time)
	}
	got = parseTest(t, text+"time = 2040-01-01T00:00:00Z\n")
	if !got.Time.Equal(time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("at %s", got.Time)
	}
	dir := t.TempDir()
	var hashes [][32]byte
	for _, more := range []string{"", "\n"} {
		data, err := os.ReadFile("../testdata/certificates/server.pem")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "server.pem"), append(data, more...), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Parse("p", []byte(text), dir)
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, c.Hash)
	}
	if hashes[0] == hashes[1] {
		t.Error("another certificate, and the same hash")
	}
}

// TestTestSets: a set that only a test names is used.
func TestTestSets(t *testing.T) {
	c, err := Parse("p", []byte(accepts+"client.offers = \"@old\"\n[sets]\nold = [\"AES128-SHA\", \"openssl:kRSA+AESGCM\"]\n"), "")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) > 0 {
		t.Errorf("got %q", c.Warnings)
	}
	if got := c.Tests[0].Client.Ciphers; !slices.Equal(got, []uint16{0x002f, 0x1302, 0x1303, 0x1301, 0x009d, 0x009c}) {
		t.Errorf("got %#x", got)
	}
}

// TestTestNotIntercepted: who tests what never comes here is told.
func TestTestNotIntercepted(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"client.to = \"192.0.2.1:8443\"", ""},
		{"client.to = \"192.0.2.1:25\"", `test "test 1" connects to port 25, which intercept.ports does not send to the queue`},
		{"client = { to = \"192.0.2.1:25\", from = \"192.0.2.2:443\" }", ""},
		{"client.to = \"192.0.2.1:25\"\n[intercept]\nports = \"all\"", ""},
		{"client.to = \"192.0.2.1:25\"\n[intercept]\nports = [\"20-30\"]", ""},
	} {
		c, err := Parse("p", []byte(accepts+tt.text), "")
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(c.Warnings, "\n"); got != tt.want {
			t.Errorf("%s: got %q", tt.text, got)
		}
	}
}

// TestTestsDocumented: docs/POLICY.md has every key of a test, and no other.
func TestTestsDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/POLICY.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Tests in the policy\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, table := range []string{"client", "server", "expect"} {
		_, err := Parse("p", []byte("[[test]]\n"+table+" = { zzzzzzzzzzzz = 1 }\n"), "")
		var known []string
		for _, e := range All(err) {
			if list, ok := strings.CutPrefix(e.Hint, "known here: "); ok && e.Key == "test[1]."+table+".zzzzzzzzzzzz" {
				known = strings.Split(list, ", ")
			}
		}
		_, rows, _ := strings.Cut(section, "| key of `"+table+"` |")
		rows, _, _ = strings.Cut(rows, "\n\n")
		var documented []string
		for row := range strings.Lines(rows) {
			if cells := strings.Split(row, "|"); strings.HasPrefix(row, "| `") {
				for name := range strings.SplitSeq(cells[1], ",") {
					documented = append(documented, strings.Trim(name, " `"))
				}
			}
		}
		slices.Sort(known)
		slices.Sort(documented)
		if diff := cmp.Diff(known, documented); diff != "" || len(known) == 0 {
			t.Errorf("%s (-known +documented): %s", table, diff)
		}
	}
}
