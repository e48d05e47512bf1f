package main

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestComplete asks as a shell does, where no daemon answers: what is known without
// one is offered, nothing is said of it, and nobody waits.
func TestComplete(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	tests := []struct {
		words string // the last one is begun
		want  []string
	}{
		{"why --socket NONE ''", nil},
		{"kill --socket NONE 1", nil},
		{"kill --socket NONE 192.0.2.1:1 1", nil},
		{"pin --socket NONE --rule p", nil},
		{"conns --socket NONE --id 1", nil},
		{"conns --socket NONE --rule ''", nil},
		{"conns --socket NONE --cipher ECDHE-RSA-AES128-GCM", []string{"ECDHE-RSA-AES128-GCM-SHA256\tTLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"}},
		{"conns --socket NONE --cipher tls_ecdhe_rsa_with_aes_128_gcm", []string{"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"}},
		{"conns --socket NONE --verdict un", []string{"undecided"}},
		{"conns --socket NONE --phase cl", []string{"client_hello"}},
		{"suites class:fs", []string{"class:fs-aead"}},
		{"suites ECDHE-ECDSA-AES256-GCM", []string{"ECDHE-ECDSA-AES256-GCM-SHA384\t"}},
		{"suites mozilla:m", []string{"mozilla:modern"}},
	}
	for _, tt := range tests {
		args := append([]string{"__complete"}, strings.Fields(tt.words)...)
		for i := range args {
			args[i] = strings.NewReplacer("NONE", none, "''", "").Replace(args[i])
		}
		var out, errs strings.Builder
		start := time.Now()
		code := run(context.Background(), args, &out, &errs)
		if took := time.Since(start); code != 0 || took > 5*time.Second || strings.Contains(errs.String(), "rror") {
			t.Errorf("%s: %d, in %s: %s", tt.words, code, took, errs.String())
		}
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if last := lines[len(lines)-1]; last != ":4" {
			t.Errorf("%s: ends with %q, want no files", tt.words, last)
		}
		for _, want := range tt.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: no %q in\n%s", tt.words, want, out.String())
			}
		}
		if tt.want == nil && len(lines) != 1 {
			t.Errorf("%s: offers\n%s", tt.words, out.String())
		}
	}
}
