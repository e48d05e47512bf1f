package main

import (
	"bytes"
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
