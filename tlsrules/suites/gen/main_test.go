package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestGeneratedIsCurrent(t *testing.T) {
	got, err := generate("../registry")
	if err != nil {
		t.Fatal(err)
	}
	committed, err := os.ReadFile("../zz_generated.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, committed) {
		t.Error("zz_generated.go is not what the registry says: run go generate ./tlsrules/suites")
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
