package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestGeneratedIsCurrent(t *testing.T) {
	files, err := generate("../registry")
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range files {
		committed, err := os.ReadFile("../" + name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, committed) {
			t.Errorf("%s is not what the registry says: run go generate ./tlsrules/suites", name)
		}
	}
	all, err := filepath.Glob("../zz_*.go")
	if err != nil || len(all) != len(files) {
		t.Errorf("%d generated files are committed, want %d (%v)", len(all), len(files), err)
	}
}

func TestGenerateRefuses(t *testing.T) {
	for name, body := range map[string]string{
		"two meanings": "code,iana,openssl,gnutls,aliases\n1,TLS_A,A,,\n2,TLS_B,a,,\n",
		"out of order": "code,iana,openssl,gnutls,aliases\n2,TLS_A,A,,\n1,TLS_B,B,,\n",
		"twice":        "code,iana,openssl,gnutls,aliases\n1,TLS_A,A,,\n1,TLS_B,B,,\n",
		"no number":    "code,iana,openssl,gnutls,aliases\nx,TLS_A,A,,\n",
	} {
		path := filepath.Join(t.TempDir(), "suites.csv")
		if err := os.WriteFile(path, []byte(body), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := writeSuites(new(bytes.Buffer), path); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

const someSuites = "code,iana,openssl,gnutls,aliases\n1,TLS_A,A,,A2\n2,TLS_B,B,,\n"

// TestGenerateRefusesLists: a list names known suites, each once, and lists
// and words are in order.
func TestGenerateRefusesLists(t *testing.T) {
	const ciphers = "code,name,version,kx,auth,enc,mac,bits,flags\n"
	const words = "word,releases,kx,auth,enc,mac,version,flags\n"
	good := map[string]string{
		"suites.csv":        someSuites,
		"mozilla.csv":       "name,version,suites\nold,1,A:TLS_B\n",
		"aws.csv":           "name,confidence,suites\nP,doc,A2\n",
		"openssl-words.csv": words + "AES,3.0,,,AES(128),,,\nX,,,,,,,\n",
	}
	for _, release := range []string{"3.0", "3.5", "1.1.1", "1.0.2", "1.0.2d"} {
		good["openssl-"+release+".csv"] = ciphers + "1,A2,TLSv1,RSA,RSA,AES(128),SHA1,128,high fips\n"
	}
	for _, tt := range []struct{ name, file, body string }{
		{"as it is", "aws.csv", good["aws.csv"]},
		{"a suite that is none", "aws.csv", "name,confidence,suites\nP,doc,A:C\n"},
		{"a suite under two names", "mozilla.csv", "name,version,suites\nold,1,A:TLS_A\n"},
		{"lists out of order", "mozilla.csv", "name,version,suites\nold,2,A\nold,1,A\n"},
		{"a name of another suite", "openssl-3.5.csv", ciphers + "1,B,TLSv1,RSA,RSA,AES(128),SHA1,128,high\n"},
		{"an algorithm that is none", "openssl-1.0.2.csv", ciphers + "1,A,TLSv1,RSA,RSA,AES(129),SHA1,128,high\n"},
		{"a word out of order", "openssl-words.csv", words + "B,3.0,,,AES(128),,,\nA,3.0,,,AES(128),,,\n"},
		{"a word twice", "openssl-words.csv", words + "A,3.0,,,AES(128),,,\nA,3.0 3.5,,,AES(256),,,\n"},
		{"a word of no algorithm", "openssl-words.csv", words + "A,3.0,,,!Aes,,,\n"},
		{"a flag that is none", "openssl-words.csv", words + "A,3.0,,,,,,hihg\n"},
	} {
		dir := t.TempDir()
		for name, body := range good {
			if name == tt.file {
				body = tt.body
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		err := errors.Join(writeOpenSSL(new(bytes.Buffer), dir), writeGuidelines(new(bytes.Buffer), dir))
		if (err == nil) != (tt.name == "as it is") {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
