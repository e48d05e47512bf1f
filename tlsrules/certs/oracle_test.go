package certs

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"math/big"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What Suricata says of a certificate we say too.
func TestAgreesWithSuricata(t *testing.T) {
	lines, err := os.ReadFile("testdata/suricata.txt")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(string(lines)) {
		if line[0] == '#' {
			continue
		}
		seen++
		name, _, _ := strings.Cut(line, " | ")
		c := Parse(file(t, name))
		got := strings.Join([]string{name, c.Subject, c.Issuer, c.Serial, c.Fingerprint(),
			c.NotBefore.Format("2006-01-02T15:04:05"), c.NotAfter.Format("2006-01-02T15:04:05")}, " | ")
		if got != strings.TrimSpace(line) {
			t.Errorf("got  %s\nwant %s", got, line)
		}
	}
	if seen != len(files(t)) {
		t.Errorf("%d of %d certificates", seen, len(files(t)))
	}
}

// openssl runs openssl. A missing program skips the test, and fails it in CI.
func openssl(t *testing.T, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("missing program: openssl")
		}
		t.Skip("missing program: openssl")
	}
	out, err := exec.Command("openssl", args...).Output()
	if err != nil {
		t.Fatalf("openssl %s: %v", strings.Join(args, " "), err)
	}
	return string(out)
}

// What openssl x509 reads we read too.
func TestAgreesWithOpenSSL(t *testing.T) {
	field := func(out, pattern string) string {
		if m := regexp.MustCompile(pattern).FindStringSubmatch(out); m != nil {
			return strings.TrimSpace(m[1])
		}
		return ""
	}
	for _, name := range files(t) {
		path := "testdata/" + name + ".der"
		out := openssl(t, "x509", "-inform", "DER", "-in", path, "-noout", "-text", "-certopt", "no_header,no_sigdump,no_extensions", "-serial", "-dates", "-fingerprint", "-sha256")
		sha1 := openssl(t, "x509", "-inform", "DER", "-in", path, "-noout", "-fingerprint", "-sha1")
		c := Parse(file(t, name))

		serial := new(big.Int)
		serial.SetString(field(out, `(?m)^serial=(.*)$`), 16)
		if got := octets(c.Serial); got.Cmp(serial) != 0 {
			t.Errorf("%s: serial %s, want %x", name, c.Serial, serial)
		}
		for want, got := range map[string]time.Time{field(out, `notBefore=(.*)`): c.NotBefore, field(out, `notAfter=(.*)`): c.NotAfter} {
			if got.Format("Jan _2 15:04:05 2006 MST") != strings.Replace(want, "GMT", "UTC", 1) {
				t.Errorf("%s: got %v, want %s", name, got, want)
			}
		}
		if got, want := fmt.Sprintf("%X", c.SHA256), strings.ReplaceAll(field(out, `(?i)sha256 Fingerprint=(.*)`), ":", ""); got != want {
			t.Errorf("%s: sha256 %s, want %s", name, got, want)
		}
		if want := field(sha1, `(?i)sha1 Fingerprint=(.*)`); !strings.EqualFold(c.Fingerprint(), want) {
			t.Errorf("%s: sha1 %s, want %s", name, c.Fingerprint(), want)
		}
		if want := field(out, `Signature Algorithm: (.*)`); c.Signature != want {
			t.Errorf("%s: signature %s, want %s", name, c.Signature, want)
		}
		if want := field(out, `Version: (\d)`); strconv.Itoa(c.Version) != want {
			t.Errorf("%s: version %d, want %s", name, c.Version, want)
		}
		if want := field(out, `Public-Key: \((\d+) bit\)`); want != "" && strconv.Itoa(c.Key.Bits) != want && !strings.Contains(name, "sect") && name != "ec_explicit_two" { // OpenSSL counts the order there
			t.Errorf("%s: %d bits, want %s", name, c.Key.Bits, want)
		}
	}
}

// The key that openssl takes out of a certificate has the hash that we give.
func TestSPKIAgreesWithOpenSSL(t *testing.T) {
	for _, name := range files(t) {
		if strings.Contains(name, "gost") || strings.Contains(name, "explicit") { // which openssl cannot write, or writes anew
			continue
		}
		dir := t.TempDir()
		pub := openssl(t, "x509", "-inform", "DER", "-in", "testdata/"+name+".der", "-noout", "-pubkey")
		if err := os.WriteFile(dir+"/pub", []byte(pub), 0o600); err != nil {
			t.Fatal(err)
		}
		openssl(t, "pkey", "-pubin", "-in", dir+"/pub", "-outform", "DER", "-out", dir+"/der")
		der, err := os.ReadFile(dir + "/der")
		if err != nil {
			t.Fatal(err)
		}
		c := Parse(file(t, name))
		if got := ParsePublicKey(der); got.SPKISHA256 != c.SPKISHA256 || got.Key != c.Key {
			t.Errorf("%s: got %v %x, want %v %x", name, c.Key, c.SPKISHA256, got.Key, got.SPKISHA256)
		}
	}
}

// octets is the number that a Serial writes down.
func octets(serial string) *big.Int {
	b := unhex(strings.ReplaceAll(serial, ":", ""))
	n := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0]&0x80 != 0 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	return n
}

// differs says where our reading of a certificate is not that of crypto/x509,
// which takes it.
func differs(c *Certificate, x *x509.Certificate) string {
	var all []string
	check := func(what string, got, want any) {
		if got != want {
			all = append(all, fmt.Sprintf("%s: got %v, want %v", what, got, want))
		}
	}
	check("version", c.Version, x.Version)
	if len(c.Serial) < 3*maxSerial-1 {
		check("serial", octets(c.Serial).String(), x.SerialNumber.String())
	}
	check("not before", c.NotBefore.Unix(), x.NotBefore.Unix())
	check("not after", c.NotAfter.Unix(), x.NotAfter.Unix())
	if len(x.Subject.CommonName) < maxValue/4 && !strings.ContainsRune(c.CommonName, 0) {
		check("common name", c.CommonName, x.Subject.CommonName)
	}
	if c.MoreSANs == 0 && x.Version == 3 { // crypto/x509 looks at no other's extensions
		var dns, email, uri, ip int
		for _, n := range c.SANs {
			switch n.Kind {
			case DNSName:
				if dns < len(x.DNSNames) {
					check("dns name", n.Value, clip(x.DNSNames[dns], maxValue))
				}
				dns++
			case EmailName:
				email++
			case URIName:
				uri++
			case IPAddress:
				if a, ok := netip.AddrFromSlice(x.IPAddresses[min(ip, len(x.IPAddresses)-1)]); ok {
					check("address", n.Value, a.String())
				}
				ip++
			}
		}
		check("names", [4]int{dns, email, uri, ip}, [4]int{len(x.DNSNames), len(x.EmailAddresses), len(x.URIs), len(x.IPAddresses)})
	}
	kind, bits := UnknownKey, 0
	switch k := x.PublicKey.(type) {
	case *rsa.PublicKey:
		kind, bits = RSA, k.N.BitLen()
	case *ecdsa.PublicKey:
		kind, bits = ECDSA, k.Params().BitSize
		check("curve", c.Key.Parameters, k.Params().Name)
	case ed25519.PublicKey:
		kind, bits = Ed25519, 255
	}
	if kind != UnknownKey {
		check("key", c.Key.Kind, kind)
		check("bits", c.Key.Bits, bits)
	}
	return strings.Join(all, "\n")
}

// Any bytes are a certificate of a sort, and what crypto/x509 takes says the
// same to us.
func FuzzParse(f *testing.F) {
	for _, name := range files(f) {
		f.Add(file(f, name))
	}
	for _, tt := range broken() {
		f.Add(tt.der)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		c := Parse(der)
		x, err := x509.ParseCertificate(der)
		if (err == nil) != (c.Problem == "") {
			t.Fatalf("problem %q, crypto/x509: %v", c.Problem, err)
		}
		if c.memory() > 8*len(der)+24*maxSANs+2048 { // names may be empty
			t.Fatalf("%d bytes take %d", len(der), c.memory())
		}
		if err == nil {
			if d := differs(c, x); d != "" {
				t.Fatal(d)
			}
		}
		ParsePublicKey(der)
	})
}
