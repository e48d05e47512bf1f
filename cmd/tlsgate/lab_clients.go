package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"time"
)

// try is one client's attempt. run returns what came of it, at the client.
type try struct {
	title   string
	program string // needed on this machine; "" for none
	run     func(context.Context, *stage) string
}

// tryTime bounds one attempt.
const tryTime = 5 * time.Second

var partnerTries = []try{
	opensslTry("openssl, TLS 1.2, ECDHE-RSA-AES128-GCM-SHA256", "download 20", false, "-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"),
	opensslTry("openssl, TLS 1.2, AES128-SHA", "download 20", false, "-tls1_2", "-cipher", "AES128-SHA:@SECLEVEL=0"),
	opensslTry("openssl, TLS 1.3", "download 20", false, "-tls1_3"),
	curlTry("curl, at most TLS 1.2", "https://%s/", "--tls-max", "1.2"),
	curlTry("curl, as it is", "https://%s/"),
	goTry("a Go program with a post-quantum hello, TLS 1.3", false, &tls.Config{}),
	goTry("a Go program, IPv6, TLS 1.2, 1 MB", true, &tls.Config{
		MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384},
	}),
	{"curl, plain HTTP on a port where TLS is expected", "curl", func(ctx context.Context, s *stage) string {
		return curlOutcome(s.client(ctx, nil, "curl", "-sS", "--max-time", "4", "http://"+netip.AddrPortFrom(s.lab.Server.IPv4, plainPort).String()))
	}},
}

var singleTries = []try{
	opensslTry("openssl, TLS 1.2", "download 20", false, "-tls1_2"),
	opensslTry("openssl, TLS 1.3", "download 20", false, "-tls1_3"),
	goTry("a Go program, TLS 1.2, that asks for 1 MB", false, &tls.Config{MaxVersion: tls.VersionTLS12}),
}

// opensslTry connects with openssl s_client, and sends the server a line.
func opensslTry(title, line string, ipv6 bool, args ...string) try {
	return try{title, "openssl", func(ctx context.Context, s *stage) string {
		args := append([]string{"s_client", "-connect", s.server(ipv6).String(), "-servername", "server.lab.example"}, args...)
		input, feed := io.Pipe()
		go func() { // the answer takes a moment, and the end of input ends openssl
			fmt.Fprintln(feed, line)
			time.Sleep(700 * time.Millisecond)
			feed.Close()
		}()
		out, err := s.client(ctx, input, "openssl", args...)
		switch {
		case strings.Contains(out, "Cipher is (NONE)"), !strings.Contains(out, "Cipher is "):
			return "no handshake: " + firstLine(out, "errno", "error:", "Connection reset", "alert")
		case strings.Contains(out, "errno=104"), err != nil:
			return "handshake complete, then: connection reset; nothing came"
		}
		return "handshake complete, the answer came"
	}}
}

// curlTry gets an URL whose host is the server's address.
func curlTry(title, url string, args ...string) try {
	return try{title, "curl", func(ctx context.Context, s *stage) string {
		args := append([]string{"-sS", "-k", "--max-time", "4"}, args...)
		return curlOutcome(s.client(ctx, nil, "curl", append(args, fmt.Sprintf(url, s.server(false)))...))
	}}
}

func curlOutcome(out string, err error) string {
	if err != nil {
		return firstLine(out, "curl:")
	}
	return "answer: " + strings.TrimSpace(out)
}

// goTry downloads a megabyte with crypto/tls.
func goTry(title string, ipv6 bool, config *tls.Config) try {
	return try{title, "", func(ctx context.Context, s *stage) string {
		raw, err := s.lab.Client.Dial("tcp", s.server(ipv6).String())
		if err != nil {
			return err.Error()
		}
		defer raw.Close()
		raw.SetDeadline(time.Now().Add(tryTime))
		config := config.Clone()
		config.InsecureSkipVerify = true
		config.ServerName = "server.lab.example"
		conn := tls.Client(raw, config)
		if err := conn.HandshakeContext(ctx); err != nil {
			return "no handshake: " + cause(err)
		}
		fmt.Fprintf(conn, "download %d\n", 1<<20)
		n, err := io.Copy(io.Discard, conn)
		if err != nil {
			return fmt.Sprintf("handshake complete, then after %d bytes: %s", n, cause(err))
		}
		return fmt.Sprintf("handshake complete, %d bytes came", n)
	}}
}

// client runs a program on the client host and returns all it printed.
func (s *stage) client(ctx context.Context, stdin io.Reader, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	cmd := s.lab.Client.Command(ctx, name, args...)
	cmd.Stdin = stdin
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	return string(out), err
}

// firstLine returns the first line that has one of the marks in it.
func firstLine(out string, marks ...string) string {
	for line := range strings.Lines(out) {
		for _, m := range marks {
			if strings.Contains(line, m) {
				return strings.TrimSpace(line)
			}
		}
	}
	return strings.TrimSpace(out)
}

// cause strips an error down to what happened.
func cause(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err.Error()
	}
	return err.Error()
}
