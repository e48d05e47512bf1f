// Capture records what openssl s_client and s_server say to each other, or
// gnutls-cli and gnutls-serv, as the files that TestOpenSSL and others read. In
// the folder of tlswire, for all of them or those named:
//
//	go run ./testdata/capture testdata [NAME...]
//
// The files in the repository are of OpenSSL 3.0.19 and GnuTLS 3.7.9.
package main

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// A scenario is one connection, or several of which the last is kept.
type scenario struct {
	name           string
	server, client string
	again          string // options of a second connection
	typed          string // lines given to the client, besides some text
	ordered        string // a line given to the server's console, before typed
	gnutls         bool
}

var scenarios = []scenario{
	{name: "tls13_early_data", server: "-cert ec.pem -key ec.key -early_data", client: "-tls1_3 -sess_out session", again: "-tls1_3 -sess_in session -early_data early"},
	{name: "tls13_retry", server: "-cert ec.pem -key ec.key -groups P-384", client: "-tls1_3 -groups X25519:P-384"},
	{name: "tls13_client_certificate", server: "-cert ec.pem -key ec.key -Verify 1", client: "-tls1_3 -cert rsa.pem -key rsa.key"},
	{name: "tls13_ccm8", server: "-cert ec.pem -key ec.key -ciphersuites TLS_AES_128_CCM_8_SHA256", client: "-tls1_3 -ciphersuites TLS_AES_128_CCM_8_SHA256"},
	{name: "tls13_key_update", server: "-cert ec.pem -key ec.key", client: "-tls1_3", typed: "K"},
	{name: "tls12_dhe", server: "-cert rsa.pem -key rsa.key", client: "-tls1_2 -cipher DHE-RSA-AES128-GCM-SHA256"},
	{name: "tls12_ecdhe_psk", server: "-nocert -psk 0102 -psk_hint hint", client: "-tls1_2 -psk 0102 -cipher ECDHE-PSK-AES128-CBC-SHA256"},
	{name: "tls12_session_id", server: "-cert ec.pem -key ec.key -no_ticket", client: "-tls1_2 -sess_out session", again: "-tls1_2 -sess_in session"},
	{name: "tls12_renegotiation", server: "-cert ec.pem -key ec.key -client_renegotiation", client: "-tls1_2", typed: "R"},
	{name: "tls12_renegotiation_server", server: "-cert ec.pem -key ec.key", client: "-tls1_2", ordered: "r"},
	{name: "gnutls_heartbeat", gnutls: true, server: "--heartbeat --echo --x509certfile rsa.pem --x509keyfile rsa.key --priority NORMAL:-VERS-ALL:+VERS-TLS1.2",
		client: "--heartbeat --insecure", typed: "**HEARTBEAT**"},
	{name: "gnutls_renegotiation", gnutls: true, server: "--echo --x509certfile rsa.pem --x509keyfile rsa.key --priority NORMAL:-VERS-ALL:+VERS-TLS1.2",
		client: "--inline-commands --insecure", typed: "^renegotiate^"},
	{name: "tls10_cbc", server: "-cert rsa.pem -key rsa.key -cipher ALL:@SECLEVEL=0", client: "-tls1 -cipher AES128-SHA:@SECLEVEL=0"},
	{name: "no_common_suite", server: "-cert rsa.pem -key rsa.key -tls1_2 -cipher AES128-SHA", client: "-tls1_2 -cipher ECDHE-RSA-AES128-GCM-SHA256"},
	{name: "unknown_authority", server: "-cert ec.pem -key ec.key", client: "-tls1_3 -verify_return_error"},
}

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 {
		log.Fatal("usage: capture FOLDER [NAME...]")
	}
	out, err := filepath.Abs(os.Args[1])
	check(err)
	dir, err := os.MkdirTemp("", "capture")
	check(err)
	defer os.RemoveAll(dir)
	check(os.Chdir(dir))
	check(os.WriteFile("early", []byte("early to bed\n"), 0o600))
	for _, key := range []string{"ec -newkey ec -pkeyopt ec_paramgen_curve:P-256", "rsa -newkey rsa:2048"} {
		name, options, _ := strings.Cut(key, " ")
		openssl("req -x509 -days 3650 -nodes -subj /CN=a.example " + options + " -keyout " + name + ".key -out " + name + ".pem")
	}
	for _, s := range scenarios {
		if names := os.Args[2:]; len(names) > 0 && !slices.Contains(names, s.name) {
			continue
		}
		lines := s.run()
		check(os.WriteFile(filepath.Join(out, s.name+".txt"), []byte(strings.Join(lines, "\n")+"\n"), 0o644))
	}
}

func check(err error) {
	if err != nil {
		log.Fatal("capture: ", err)
	}
}

func openssl(args string) {
	if b, err := exec.Command("openssl", strings.Fields(args)...).CombinedOutput(); err != nil {
		log.Fatalf("capture: openssl %s: %v\n%s", args, err, b)
	}
}

func (s scenario) run() []string {
	const target = "127.0.0.1:14433"
	command := "openssl s_server -quiet -accept " + target + " " + s.server
	switch {
	case s.gnutls:
		command = "gnutls-serv -p 14433 " + s.server
	case s.ordered != "": // quiet, it has no console
		command = "openssl s_server -accept " + target + " " + s.server
	}
	server := exec.Command(strings.Fields(command)[0], strings.Fields(command)[1:]...)
	stdin, err := server.StdinPipe() // held open
	check(err)
	check(server.Start())
	defer func() { stdin.Close(); server.Process.Kill(); server.Wait() }()
	time.Sleep(300 * time.Millisecond)
	lines := s.record(target, s.client, stdin)
	if s.again != "" {
		lines = s.record(target, s.again, stdin)
	}
	log.Printf("%s: %d writes", s.name, len(lines))
	return lines
}

// record runs one client through a proxy, and returns what passed: a line for
// each read, with who wrote it, and the bytes.
func (s scenario) record(target, options string, console io.Writer) []string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	defer l.Close()
	command := "openssl s_client -servername a.example -connect " + l.Addr().String() + " " + options
	if s.gnutls {
		host, port, _ := net.SplitHostPort(l.Addr().String())
		command = "gnutls-cli --sni-hostname a.example " + options + " -p " + port + " " + host
	}
	client := exec.Command(strings.Fields(command)[0], strings.Fields(command)[1:]...)
	stdin, err := client.StdinPipe()
	check(err)
	check(client.Start())
	a, err := l.Accept()
	check(err)
	b, err := net.Dial("tcp", target)
	check(err)

	var mu sync.Mutex
	var lines []string
	pump := func(who string, from, to net.Conn) {
		defer to.(*net.TCPConn).CloseWrite()
		buf := make([]byte, 32<<10)
		for r := bufio.NewReaderSize(from, len(buf)); ; {
			n, err := r.Read(buf)
			if n > 0 {
				mu.Lock()
				lines = append(lines, fmt.Sprintf("%s %x", who, buf[:n]))
				mu.Unlock()
				to.Write(buf[:n])
			}
			if err != nil {
				return
			}
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() { pump("client", a, b) })
	wg.Go(func() { pump("server", b, a) })
	type line struct {
		to   io.Writer
		text string
	}
	for _, l := range []line{{stdin, "some text"}, {console, s.ordered}, {stdin, s.typed}, {stdin, "more text"}, {stdin, "Q"}} {
		if l.text != "" {
			time.Sleep(400 * time.Millisecond)
			io.WriteString(l.to, l.text+"\n")
		}
	}
	time.Sleep(400 * time.Millisecond)
	stdin.Close()
	client.Wait()
	a.Close()
	b.Close()
	wg.Wait()
	return lines
}
