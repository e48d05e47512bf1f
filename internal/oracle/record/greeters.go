package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
)

// greet is a server that speaks as much of a protocol as it takes to come to
// TLS, and then TLS.
func greet(protocol string) func(*stage, net.Conn) {
	return func(s *stage, c net.Conn) {
		r := bufio.NewReader(c)
		if greetings[protocol](c, r) {
			s.tls(buffered{c, r}, protocol)
		}
	}
}

// buffered is a connection of which something was read ahead: a MySQL client
// does not wait for an answer before its ClientHello.
type buffered struct {
	net.Conn
	r *bufio.Reader
}

func (b buffered) Read(p []byte) (int, error) { return b.r.Read(p) }

// tls speaks TLS until the client has had enough.
func (s *stage) tls(c net.Conn, protocol string) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(s.dir, "ec.pem"), filepath.Join(s.dir, "ec.key"))
	if err != nil {
		return
	}
	conn := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pair}})
	defer conn.Close()
	r := bufio.NewReader(conn)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		answer := map[string]string{"smtp": "250 fine", "ftp": "230 fine", "imap": "a OK fine", "pop3": "+OK fine"}[protocol]
		if verb := strings.ToUpper(strings.TrimSpace(line)); verb == "QUIT" || strings.HasSuffix(verb, "LOGOUT") {
			fmt.Fprintf(conn, "%s\r\n", answer)
			return
		}
		fmt.Fprintf(conn, "%s\r\n", answer)
	}
}

// greetings report whether TLS follows.
var greetings = map[string]func(c net.Conn, r *bufio.Reader) bool{
	"smtp": talk("220 mail.lab.example ESMTP", map[string]string{
		"EHLO": "250-mail.lab.example\r\n250-PIPELINING\r\n250 STARTTLS", "STARTTLS": "220 go ahead"}, "STARTTLS"),
	"smtp-refused": talk("220 mail.lab.example ESMTP", map[string]string{
		"EHLO": "250-mail.lab.example\r\n250 STARTTLS", "STARTTLS": "454 TLS not available", "QUIT": "221 bye"}, ""),
	"pop3": talk("+OK pop.lab.example", map[string]string{"CAPA": "+OK\r\nSTLS\r\n.", "STLS": "+OK go ahead"}, "STLS"),
	"ftp": talk("220 ftp.lab.example", map[string]string{
		"FEAT": "211-Features:\r\n AUTH TLS\r\n211 End", "AUTH": "234 go ahead"}, "AUTH"),
	"imap": imap, "xmpp": xmpp, "ldap": ldap, "postgres": postgres, "mysql": mysql,
}

// talk answers lines by their first word; the word last leads to TLS.
func talk(greeting string, answers map[string]string, last string) func(net.Conn, *bufio.Reader) bool {
	return func(c net.Conn, r *bufio.Reader) bool {
		fmt.Fprintf(c, "%s\r\n", greeting)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return false
			}
			word, _, _ := strings.Cut(strings.ToUpper(strings.TrimSpace(line)), " ")
			answer, ok := answers[word]
			if !ok {
				answer = "500 what?"
			}
			fmt.Fprintf(c, "%s\r\n", answer)
			if word == last {
				return true
			}
		}
	}
}

func imap(c net.Conn, r *bufio.Reader) bool {
	fmt.Fprint(c, "* OK imap.lab.example\r\n")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return false
		}
		tag, command, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch strings.ToUpper(command) {
		case "CAPABILITY":
			fmt.Fprintf(c, "* CAPABILITY IMAP4rev1 STARTTLS\r\n%s OK done\r\n", tag)
		case "STARTTLS":
			fmt.Fprintf(c, "%s OK go ahead\r\n", tag)
			return true
		default:
			fmt.Fprintf(c, "%s BAD what?\r\n", tag)
		}
	}
}

// xmpp is RFC 6120, Section 5.4.
func xmpp(c net.Conn, r *bufio.Reader) bool {
	if !until(r, "<stream:stream") || !until(r, ">") {
		return false
	}
	fmt.Fprint(c, "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' id='1' from='server.lab.example' version='1.0'>"+
		"<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>")
	if !until(r, "<starttls") || !until(r, ">") {
		return false
	}
	fmt.Fprint(c, "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
	return true
}

// until reads up to the end of a text.
func until(r *bufio.Reader, text string) bool {
	var got []byte
	for len(got) < 4096 {
		b, err := r.ReadByte()
		if err != nil {
			return false
		}
		if got = append(got, b); bytes.HasSuffix(got, []byte(text)) {
			return true
		}
	}
	return false
}

// ldap is RFC 4511, Section 4.14: the request is one BER sequence with a short
// length.
func ldap(c net.Conn, r *bufio.Reader) bool {
	head := make([]byte, 2)
	if _, err := io.ReadFull(r, head); err != nil || head[0] != 0x30 || head[1] > 127 {
		return false
	}
	body := make([]byte, head[1])
	if _, err := io.ReadFull(r, body); err != nil || len(body) < 3 {
		return false
	}
	// The same message id, extendedResp, success, no names.
	c.Write([]byte{0x30, 0x0c, 0x02, 0x01, body[2], 0x78, 0x07, 0x0a, 0x01, 0x00, 0x04, 0x00, 0x04, 0x00})
	return true
}

func postgres(c net.Conn, r *bufio.Reader) bool {
	request := make([]byte, 8)
	if _, err := io.ReadFull(r, request); err != nil || binary.BigEndian.Uint32(request[4:]) != 80877103 {
		return false
	}
	c.Write([]byte{'S'})
	return true
}

// mysql sends HandshakeV10 with CLIENT_SSL and takes an SSLRequest.
func mysql(c net.Conn, r *bufio.Reader) bool {
	greeting := append([]byte{10}, "8.0.0\x00"...)
	greeting = append(greeting, 1, 0, 0, 0)
	greeting = append(greeting, "12345678\x00"...)
	greeting = append(greeting, 0xff, 0xff, 0x21, 0x02, 0x00, 0xff, 0xdf, 21)
	greeting = append(greeting, make([]byte, 10)...)
	greeting = append(greeting, "123456789012\x00caching_sha2_password\x00"...)
	c.Write(append([]byte{byte(len(greeting)), 0, 0, 0}, greeting...))
	head := make([]byte, 4)
	if _, err := io.ReadFull(r, head); err != nil {
		return false
	}
	_, err := io.CopyN(io.Discard, r, int64(head[0])|int64(head[1])<<8)
	return err == nil
}

// serveSOCKS4 takes a request with an address or a name and connects to the
// same port of this host: https://www.openssh.com/txt/socks4a.protocol.
func serveSOCKS4(s *stage, c net.Conn) {
	r := bufio.NewReader(c)
	head := make([]byte, 8)
	if _, err := io.ReadFull(r, head); err != nil || head[0] != 4 || head[1] != 1 {
		return
	}
	strs := 1
	if head[4] == 0 && head[5] == 0 && head[6] == 0 && head[7] != 0 {
		strs = 2 // the user's name, and the host's
	}
	for range strs {
		if _, err := r.ReadString(0); err != nil {
			return
		}
	}
	target, err := s.lab.Server.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", binary.BigEndian.Uint16(head[2:])))
	if err != nil {
		c.Write([]byte{0, 91, 0, 0, 0, 0, 0, 0})
		return
	}
	defer target.Close()
	c.Write([]byte{0, 90, 0, 0, 0, 0, 0, 0})
	go func() {
		io.Copy(target, r)
		target.(*net.TCPConn).CloseWrite()
	}()
	io.Copy(c, target)
}
