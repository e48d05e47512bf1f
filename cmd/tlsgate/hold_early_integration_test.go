package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// startEarlyNginx takes early data, and logs each request.
func startEarlyNginx(t *testing.T, l *lab.Lab, dir string) (requests func() int) {
	t.Helper()
	config := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log stderr info;
events { worker_connections 256; }
http {
  access_log %[1]s/access; client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
  server {
    listen 443 ssl; listen [::]:443 ssl; root %[1]s; ssl_certificate %[1]s/rsa.pem; ssl_certificate_key %[1]s/rsa.key;
    ssl_protocols TLSv1.3; ssl_early_data on;
  }
}`, dir)
	path := filepath.Join(dir, "early.conf")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	startServer(t, l, dir, "nginx", "-e", "stderr", "-p", dir, "-c", path)
	return func() int {
		b, _ := os.ReadFile(filepath.Join(dir, "access"))
		return strings.Count(string(b), "GET /file")
	}
}

// TestIntegrationHoldEarlyData: a request that comes as TLS 1.3 early data waits for the
// gate, and its server is given it once when that opens.
func TestIntegrationHoldEarlyData(t *testing.T) {
	labtest.Program(t, "openssl")
	l := labtest.New(t, lab.Options{})
	const size = 50_000
	dir := files(t, l, size)
	requests := startEarlyNginx(t, l, dir)
	f := startFirewall(t, l, holdPolicy)
	families(t, l, func(t *testing.T, address netip.Addr) {
		session, early := filepath.Join(t.TempDir(), "session"), filepath.Join(dir, "early")
		const request = "GET /file HTTP/1.0\r\n\r\n"
		if err := os.WriteFile(early, []byte(request), 0o600); err != nil {
			t.Fatal(err)
		}
		args := []string{"s_client", "-connect", netip.AddrPortFrom(address, 443).String(), "-servername", "server.lab.example", "-ign_eof"}
		f.ask(l, "open", "--rule", "quarantine")
		if first := runOn(t, l.Client, request, "openssl", append(args, "-sess_out", session)...); first.exit != nil {
			t.Fatalf("the session: %s", first)
		}
		f.ask(l, "open", "--rule", "quarantine", "--close")
		before := requests()
		var running sync.WaitGroup
		defer running.Wait()
		var second *said
		running.Go(func() {
			second = runOn(t, l.Client, "", "openssl", append(args, "-sess_in", session, "-early_data", early)...)
		})
		if !within(8*time.Second, func() bool { return len(f.conns(l, "--verdict", "hold")) == 1 }) {
			t.Fatalf("it does not wait: %+v", f.conns(l))
		}
		time.Sleep(600 * time.Millisecond)
		if n := requests() - before; n != 0 {
			t.Errorf("%d requests have come while they wait", n)
		}
		if _, errs, code := f.ask(l, "open", "--rule", "quarantine"); code != 0 {
			t.Fatalf("open: %d: %s", code, errs)
		}
		running.Wait()
		if !strings.Contains(second.out, "Early data was accepted") || !strings.Contains(second.out, pattern(size)[size-1000:]) {
			t.Errorf("what came: %s", second)
		}
		if n := requests() - before; n != 1 {
			t.Errorf("the server was given it %d times", n)
		}
		f.ask(l, "open", "--rule", "quarantine", "--close")
	})
}
