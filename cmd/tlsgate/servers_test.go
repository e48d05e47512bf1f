package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// daemon is a server program of the server's host.
type daemon struct {
	log func() string // what it has said so far
}

// startServer runs a program until the test ends, and waits for its port 443.
// It is ended by its id.
func startServer(t testing.TB, l *lab.Lab, dir, name string, args ...string) *daemon {
	t.Helper()
	labtest.Program(t, name)
	cmd := l.Server.Command(context.Background(), name, args...)
	cmd.Dir = dir
	path := filepath.Join(dir, "said.log")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd.Stdout, cmd.Stderr = file, file
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	d := &daemon{log: func() string {
		b, _ := os.ReadFile(path)
		return string(b)
	}}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		c, err := l.Server.Dial("tcp", netip.AddrPortFrom(l.Server.IPv4, 443).String())
		if err == nil {
			c.Close()
			return d
		}
		if time.Now().After(end) {
			t.Fatalf("%s does not serve: %v\n%s", name, err, d.log())
		}
	}
}

// serveEach listens at an address of a host until the test ends, and has each connection
// served, for no longer than life.
func serveEach(t testing.TB, h *lab.Host, address string, life time.Duration, serve func(net.Conn)) {
	t.Helper()
	listener, err := h.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(life))
				serve(c)
			}()
		}
	}()
}

// files writes the lab's certificates and a file of the pattern into a new
// directory.
func files(t testing.TB, l *lab.Lab, n int64) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := l.WritePEM(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte(pattern(n)), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// startNginx serves the files of a directory.
func startNginx(t testing.TB, l *lab.Lab, dir string, port string) *daemon {
	t.Helper()
	config := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log stderr info;
events { worker_connections 4096; }
http {
  access_log off; client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
  server {
    listen %[2]s; listen [::]:%[2]s;
    root %[1]s; ssl_certificate %[1]s/rsa.pem; ssl_certificate_key %[1]s/rsa.key;
    ssl_protocols TLSv1.2 TLSv1.3; ssl_ciphers ALL:@SECLEVEL=0;
  }
}`, dir, port)
	path := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return startServer(t, l, dir, "nginx", "-e", "stderr", "-p", dir, "-c", path)
}
