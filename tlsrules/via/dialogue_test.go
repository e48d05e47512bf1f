package via

import (
	"strings"
	"testing"
)

// dialogues are what real clients and servers say, and what only an attacker does.
var dialogues = []struct {
	name string
	kind Kind
	text string
}{
	{"smtp", SMTP, `
		S: 220 mail.example ESMTP
		C: EHLO client.example
		S: 250-mail.example
		S: 250-PIPELINING
		S: 250 STARTTLS
		C: STARTTLS
		S: 220 2.0.0 Ready
		C* hello
		S* answer`},
	{"smtp, in small letters, a greeting of many lines", SMTP, `
		S: 220-mail.example
		S: 220-welcome
		S: 220 ESMTP
		C: ehlo x
		S: 250 starttls
		C: starttls
		S: 220 go
		C* hello
		S* answer`},
	{"smtp, refused, and again", SMTP, `
		S: 220 mail.example ESMTP
		C: STARTTLS
		S: 503 5.5.1 EHLO first
		C: EHLO x
		S: 250 STARTTLS
		C: STARTTLS
		S: 454 4.7.0 TLS not available due to local problem
		C: STARTTLS
		S: 220 go
		C* hello
		S* answer`},
	{"smtp, pipelined without waiting", SMTP, `
		S: 220 mail.example ESMTP
		C: EHLO x
		C: STARTTLS
		C* hello
		S: 250 STARTTLS
		S: 220 go
		S* answer`},
	{"smtp, after a mail, whose text has commands", SMTP, `
		S: 220 mail.example ESMTP
		C: EHLO x
		S: 250 STARTTLS
		C: MAIL FROM:<a@example>
		= clear
		S: 250 ok
		C: RCPT TO:<b@example>
		S: 250 ok
		C: DATA
		S: 354 go on
		C: Subject: STARTTLS
		C: STARTTLS
		C:
		C: AUTH TLS
		C: 220 go
		C: .
		S: 250 queued
		C: STARTTLS
		S: 220 go
		C* hello
		S* answer`},
	{"smtp, BDAT", SMTP, `
		S: 220 mail.example ESMTP
		C: EHLO x
		S: 250 STARTTLS
		C: MAIL FROM:<a@example>
		= clear
		S: 250 ok
		C: BDAT 21 LAST
		C< "STARTTLS\r\n\x16\x03 not so\r\n"
		S: 250 ok
		C: STARTTLS
		S: 220 go
		C* hello
		S* answer`},
	{"smtp, hidden behind a DATA that is refused", SMTP, `
		S: 220 mail.example ESMTP
		C: EHLO x
		S: 250 STARTTLS
		C: DATA
		= clear
		C: STARTTLS
		C* hello
		S: 503 no recipients
		S: 220 go
		S* answer`},
	{"smtp, hidden behind a bare LF as the end of a mail", SMTP, `
		S: 220 mail.example ESMTP
		C: DATA
		= clear
		S: 354 go on
		C< "text\n.\nSTARTTLS\n"
		C* hello
		S: 250 queued
		S: 220 go
		S* answer`},
	{"smtp, hidden behind a bare CR", SMTP, `
		S: 220 mail.example ESMTP
		C< "NOOP\rSTARTTLS\r"
		C* hello
		S: 250 ok
		S: 220 go
		S* answer`},
	{"smtp, the rest of a line thrown away", SMTP, `
		S: 220 mail.example ESMTP
		C< "STARTTLS\r\nNOOP"
		S: 220 go
		C* hello
		S* answer`},
	{"smtp, half a record header to be thrown away", SMTP, `
		S: 220 mail.example ESMTP
		C< "STARTTLS\r\n\x16\x03"
		S: 220 go
		C* hello
		S* answer`},
	{"smtp, half a record header, and the rest of it", 0, `
		S: 220 mail.example ESMTP
		C< "STARTTLS\r\n\x16\x03"
		S: 220 go
		C< "\x01\x00\x2d\x01"
		= twofold`},
	{"smtp, no STARTTLS at all", SMTP, `
		S: 220 mail.example ESMTP
		C* hello
		S: 500 what`},
	{"smtp, never", 0, `
		S: 220 mail.example ESMTP
		C: EHLO x
		S: 250 STARTTLS
		C: AUTH PLAIN AGEAYg==
		= clear
		S: 235 ok
		C: MAIL FROM:<a@example>
		S: 250 ok
		C: QUIT
		S: 221 bye`},
	{"smtp, the client does not wait for the greeting", SMTP, `
		C: EHLO x
		= clear
		S: 220 mail.example ESMTP
		S: 250 STARTTLS
		C: STARTTLS
		S: 220 go
		C* hello
		S* answer`},
	{"smtp behind what is not SMTP at all", SMTP, `
		C: GET / HTTP/1.0
		= clear
		C:
		S: 220 mail.example ESMTP
		S: 500 what
		C: STARTTLS
		S: 220 go
		C* hello
		S* answer`},
	{"ftp", FTP, `
		S: 220 (vsFTPd 3.0)
		C: AUTH TLS
		S: 234 go
		C* hello
		S* answer`},
	{"ftp, AUTH SSL, after a login", FTP, `
		S: 220-FTP server
		S: 220 ready
		C: FEAT
		S: 211-Features:
		S:  AUTH TLS
		S: 211 End
		C: USER ftp
		S: 331 password
		C: PASS x
		= clear
		S: 230 ok
		C: auth ssl
		S: 234 go
		C* hello
		S* answer`},
	{"ftp, AUTH refused", FTP, `
		S: 120 soon
		S: 220 FTP
		C: AUTH TLS
		S: 502 no
		C: AUTH SSL
		S: 234 go
		C* hello
		S* answer`},
	{"imap", IMAP, `
		S: * OK IMAP4rev1
		C: a1 CAPABILITY
		S: * CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED
		S: a1 OK
		C: a2 StartTLS
		S: a2 OK begin
		C* hello
		S* answer`},
	{"imap, pipelined", IMAP, `
		S: * OK IMAP4rev1
		C: a STARTTLS
		C* hello
		S: a OK begin
		S* answer`},
	{"imap, a login", 0, `
		S: * OK IMAP4rev1
		C: a LOGIN {4}
		= clear
		S: + go
		C< "user {8}\r\n"
		S: + go
		C< "STARTTLS\r\n"
		S: a OK
		C: b SELECT INBOX
		S: * 3 EXISTS
		= over`},
	{"imap, a tag for all", IMAP, `
		S: * OK IMAP4rev1
		C: a LOGIN x y
		= clear
		C: a NOOP
		S: a NO
		S: a OK
		C: a STARTTLS
		S: a OK
		C* hello
		S* answer`},
	{"imap, logged in already", 0, `
		S: * PREAUTH welcome
		= over`},
	{"pop3", POP3, `
		S: +OK POP3 <1@example>
		C: CAPA
		S: +OK
		S: STLS
		S: .
		C: STLS
		S: +OK
		C* hello
		S* answer`},
	{"pop3, refused, a user first", POP3, `
		S: +OK
		C: STLS
		S: -ERR not yet
		C: USER a
		S: +OK
		C: stls
		S: +OK
		C* hello
		S* answer`},
	{"pop3, a login", 0, `
		S: +OK
		C: USER a
		S: +OK
		C: PASS b
		= clear
		S: +OK
		= over`},
	{"pop3, a wrong password", POP3, `
		S: +OK
		C: USER a
		S: +OK
		C: PASS b
		= clear
		S: -ERR
		C: STLS
		S: +OK
		C* hello
		S* answer`},
	{"pop3, which mechanisms there are", POP3, `
		S: +OK
		C: AUTH
		S: +OK
		S: PLAIN
		S: .
		C< "auth \t\r\n"
		S: +OK
		S: .
		C: STLS
		S: +OK
		C* hello
		S* answer`},
	{"pop3, a login by a mechanism", 0, `
		S: +OK
		C: AUTH PLAIN AGEAYg==
		= clear
		S: +OK
		= over`},
	{"pop3, an answer to something else", POP3, `
		S: +OK
		C: USER a
		C: PASS b
		= clear
		S: +OK
		S: -ERR
		C: STLS
		S: +OK
		C* hello
		S* answer`},
	{"connect, behind a line end", 0, `
		C< "\r\nCONNECT a.example:443 HTTP/1.1\r\n\r\n"
		= clear
		S< "HTTP/1.1 200 OK\r\n\r\n"
		C* hello
		S* answer`},
	{"connect, with a tab", 0, `
		C< "CONNECT\ta.example:443 HTTP/1.1\r\n\r\n"
		= clear
		S< "HTTP/1.1 200 OK\r\n\r\n"
		C* hello
		S* answer`},
	{"xmpp", XMPP, `
		C< "<?xml version='1.0'?><stream:stream to='a.example' xmlns='jabber:client'>"
		S< "<?xml version='1.0'?><stream:stream><stream:features><starttls xmlns='urn'/></stream:features>"
		C< "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
		S< "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
		C* hello
		S* answer`},
	{"xmpp, pipelined", XMPP, `
		C< "<stream:stream><starttls/>"
		C* hello
		S< "<stream:stream><proceed/>"
		S* answer`},
	{"xmpp, SASL in clear", 0, `
		C< "<stream:stream>"
		S< "<stream:stream>"
		C< "<auth mechanism='PLAIN'>AAA=</auth>"
		= clear
		S< "<success/>"
		= over`},
	{"ldap", LDAP, `
		C< "\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037"
		S< "\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"
		C* hello
		S* answer`},
	{"ldap, long lengths, refused, and again", LDAP, `
		C< "\x30\x84\x00\x00\x00\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037"
		S< "\x30\x84\x00\x00\x00\x0c\x02\x01\x01\x78\x07\x0a\x01\x34\x04\x00\x04\x00"
		C< "\x30\x1d\x02\x01\x02\x77\x18\x80\x161.3.6.1.4.1.1466.20037"
		C* hello
		S< "\x30\x0c\x02\x01\x02\x78\x07\x0a\x01\x00\x04\x00\x04\x00"
		S* answer`},
	{"ldap, after a search of the root and a bind", LDAP, `
		C< "\x30\x25\x02\x01\x01\x63\x20\x04\x00\x0a\x01\x00\x0a\x01\x00\x02\x01\x00\x02\x01\x00\x01\x01\x00\x87\x0bobjectClass\x30\x00"
		S< "\x30\x0c\x02\x01\x01\x65\x07\x0a\x01\x00\x04\x00\x04\x00"
		C< "\x30\x0c\x02\x01\x02\x60\x07\x02\x01\x03\x04\x00\x80\x00"
		= clear
		S< "\x30\x0c\x02\x01\x02\x61\x07\x0a\x01\x00\x04\x00\x04\x00"
		C< "\x30\x1d\x02\x01\x03\x77\x18\x80\x161.3.6.1.4.1.1466.20037"
		S< "\x30\x0c\x02\x01\x03\x78\x07\x0a\x01\x00\x04\x00\x04\x00"
		C* hello
		S* answer`},
	{"ldap, wrapped by SASL", 0, `
		C< "\x30\x0c\x02\x01\x02\x60\x07\x02\x01\x03\x04\x00\x80\x00"
		= clear
		S< "\x30\x0c\x02\x01\x02\x61\x07\x0a\x01\x00\x04\x00\x04\x00"
		C< "\x00\x00\x00\x10 sixteen of SASL"
		S< "\x00\x00\x00\x10 sixteen of SASL"`},
	{"postgres", Postgres, `
		C< "\x00\x00\x00\x08\x04\xd2\x16\x2f"
		S< "S"
		C* hello
		S* answer`},
	{"postgres, GSSAPI first, pipelined", Postgres, `
		C< "\x00\x00\x00\x08\x04\xd2\x16\x30"
		S< "N"
		C< "\x00\x00\x00\x08\x04\xd2\x16\x2f"
		C* hello
		S< "S"
		S* answer`},
	{"postgres, no TLS", 0, `
		C< "\x00\x00\x00\x08\x04\xd2\x16\x2f"
		S< "N"
		C< "\x00\x00\x00\x0e\x00\x03\x00\x00user\x00\x00"
		= clear
		S< "R"
		= over`},
	{"postgres, a start before the answer", Postgres, `
		C< "\x00\x00\x00\x08\x04\xd2\x16\x2f"
		C< "\x00\x00\x00\x0e\x00\x03\x00\x00user\x00\x00"
		= clear
		S< "S"
		C* hello
		S* answer`},
	{"postgres, GSSAPI", 0, `
		C< "\x00\x00\x00\x08\x04\xd2\x16\x30"
		S< "G"
		= over`},
	{"mysql", MySQL, `
		S< "\x2d\x00\x00\x00\x0a8.0.36\x00............................12345678"
		C< "\x20\x00\x00\x01\x85\xae\xff\x19\x00\x00\x00\x01\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
		C* hello
		S* answer`},
	{"mysql, a greeting that looks like a record", MySQL, `
		S< "\x16\x00\x00\x00\x0a5.5.5-10\x00............"
		C< "\x05\x00\x00\x01\x85\xae\xff\x19\x00"
		C* hello
		S* answer`},
	{"mysql, in clear", 0, `
		S< "\x16\x00\x00\x00\x0a5.5.5-10\x00............"
		C< "\x20\x00\x00\x01\x85\xa6\xff\x19\x00"
		= over`},
	{"connect", Connect, `
		C: CONNECT server.example:443 HTTP/1.1
		C: Host: server.example:443
		C:
		S: HTTP/1.1 200 Connection established
		S:
		C* hello
		S* answer`},
	{"connect, pipelined, 1xx first", Connect, `
		C: CONNECT server.example:443 HTTP/1.1
		C:
		C* hello
		S: HTTP/1.1 103 Early Hints
		S: Link: x
		S:
		S: HTTP/1.0 200 OK
		S: Content-Length: 5
		S:
		S* answer`},
	{"connect, 407 with a length, and again", Connect, `
		C: CONNECT server.example:443 HTTP/1.1
		C:
		S: HTTP/1.1 407 Who are you
		S: Content-Length: 31
		S:
		S< "HTTP/1.1 200 OK\r\n\r\n220 smtp\r\n\r\n"
		C: CONNECT server.example:443 HTTP/1.1
		C: Proxy-Authorization: Basic YTpi
		C:
		S: HTTP/1.1 200 OK
		S:
		C* hello
		S* answer`},
	{"connect, 407 in chunks, and again", Connect, `
		C: CONNECT server.example:443 HTTP/1.1
		C:
		S: HTTP/1.1 407 Who are you
		S: transfer-encoding: chunked
		S:
		S: 13; x=y
		S: HTTP/1.1 200 OK..
		S:
		S: 0
		S: Trailer: x
		S:
		C: CONNECT server.example:443 HTTP/1.1
		C:
		S: HTTP/1.1 200 OK
		S:
		C* hello
		S* answer`},
	{"connect, another request after a refusal, and again", Connect, `
		C: CONNECT server.example:443 HTTP/1.1
		C:
		S: HTTP/1.1 403 No
		S: Content-Length: 0
		S:
		C: GET http://server.example/ HTTP/1.1
		= clear
		C:
		S: HTTP/1.1 204 Nothing
		S:
		C: CONNECT server.example:443 HTTP/1.1
		C:
		S: HTTP/1.1 200 OK
		S:
		C* hello
		S: HTTP/1.1 what
		S* answer`},
	{"connect in connect", Connect, `
		C: CONNECT proxy.example:3128 HTTP/1.1
		C:
		S: HTTP/1.1 200 OK
		S:
		C: CONNECT server.example:443 HTTP/1.1
		C:
		S: HTTP/1.1 200 OK
		S:
		C* hello
		S* answer`},
	{"connect in connect, pipelined", Connect, `
		C: CONNECT proxy.example:3128 HTTP/1.1
		C:
		C: CONNECT server.example:443 HTTP/1.1
		C:
		S: HTTP/1.1 200 OK
		S:
		S: HTTP/1.1 200 OK
		S:
		C* hello
		S* answer`},
	{"connect, clear text in the tunnel", 0, `
		C: CONNECT server.example:22 HTTP/1.1
		C:
		S: HTTP/1.1 200 OK
		S:
		S: SSH-2.0-server
		= clear
		C: SSH-2.0-client
		= over`},
	{"connect, SMTP in the tunnel", SMTP, `
		C: CONNECT server.example:25 HTTP/1.1
		C:
		S: HTTP/1.1 200 OK
		S:
		S: 220 mail.example ESMTP
		C: STARTTLS
		S: 220 go
		C* hello
		S* answer`},
	{"connect, PostgreSQL in the tunnel, pipelined", Connect, `
		C: CONNECT server.example:5432 HTTP/1.1
		C:
		C< "\x00\x00\x00\x08\x04\xd2\x16\x2f"
		S: HTTP/1.1 200 OK
		S:
		= clear
		S< "S"
		C* hello
		S: not yet
		S* answer`},
	{"socks4", SOCKS, `
		C< "\x04\x01\x01\xbb\xc6\x33\x64\x07user\x00"
		S< "\x00\x5a\x01\xbb\xc6\x33\x64\x07"
		C* hello
		S* answer`},
	{"socks4a, pipelined", SOCKS, `
		C< "\x04\x01\x01\xbb\x00\x00\x00\x01\x00server.example\x00"
		C* hello
		S< "\x00\x5a\x00\x00\x00\x00\x00\x00"
		S* answer`},
	{"socks4, refused", 0, `
		C< "\x04\x01\x01\xbb\xc6\x33\x64\x07\x00"
		S< "\x00\x5b\x00\x00\x00\x00\x00\x00"
		= clear`},
	{"socks4, bind", SOCKS, `
		C< "\x04\x02\x01\xbb\xc6\x33\x64\x07\x00"
		S< "\x00\x5a\x00\x00\x00\x00\x00\x00"
		S< "\x00\x5a\x01\xbb\xc6\x33\x64\x07"
		S* hello
		C* answer`},
	{"socks5", SOCKS, `
		C< "\x05\x01\x00"
		S< "\x05\x00"
		C< "\x05\x01\x00\x03\x0eserver.example\x01\xbb"
		S< "\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"
		C* hello
		S* answer`},
	{"socks5, user and password, IPv6", SOCKS, `
		C< "\x05\x02\x00\x02"
		S< "\x05\x02"
		C< "\x01\x04user\x08password"
		S< "\x01\x00"
		C< "\x05\x01\x00\x04\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07\x01\xbb"
		S< "\x05\x00\x00\x03\x02ab\x00\x00"
		C* hello
		S* answer`},
	{"socks5, all at once", SOCKS, `
		C< "\x05\x01\x02"
		C< "\x01\x04user\x08password"
		C< "\x05\x01\x00\x01\xc6\x33\x64\x07\x01\xbb"
		C* hello
		S< "\x05\x02"
		S< "\x01\x00"
		S< "\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"
		S* answer`},
	{"socks5, a wrong password", 0, `
		C< "\x05\x01\x02"
		S< "\x05\x02"
		C< "\x01\x01u\x01p"
		S< "\x01\x01"
		= clear`},
	{"socks5, GSSAPI", 0, `
		C< "\x05\x01\x01"
		S< "\x05\x01"
		= clear
		C< "\x01\x01\x00\x04abcd"
		S< "\x01\x01\x00\x04abcd"`},
	{"socks5, IMAP in the tunnel", IMAP, `
		C< "\x05\x01\x00"
		S< "\x05\x00"
		C< "\x05\x01\x00\x03\x0eserver.example\x00\x8f"
		S< "\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"
		S: * OK IMAP4rev1
		C: a STARTTLS
		S: a OK
		C* hello
		S* answer`},
	{"proxy 1", Proxy, `
		C: PROXY TCP4 192.0.2.1 198.51.100.2 1025 443
		C* hello
		S* answer`},
	{"proxy 1, unknown", Proxy, `
		C: PROXY UNKNOWN
		C* hello
		S* answer`},
	{"proxy 1, SMTP behind it", SMTP, `
		C: PROXY TCP6 2001:db8::1 2001:db8::2 1025 25
		S: 220 mail.example ESMTP
		C: STARTTLS
		S: 220 go
		C* hello
		S* answer`},
	{"a PROXY header to a server that does not know it", SMTP, `
		S: 220 mail.example ESMTP
		C: PROXY TCP4 192.0.2.1 198.51.100.2 1025 25
		= clear
		S: 500 what
		C: STARTTLS
		S: 220 go
		C* hello
		S* answer`},
	{"proxy 1, broken", 0, `
		C: PROXY TCP4 192.0.2.1 198.51.100.2 1025
		= clear`},
	{"proxy 2", Proxy, `
		C< "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x02\x04\x01\x01\xbb"
		C* hello
		S* answer`},
	{"proxy 2, IPv6 and TLVs, LDAP behind it", LDAP, `
		C< "\r\n\r\n\x00\r\nQUIT\n\x21\x21\x00\x2e"
		C< "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"
		C< "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02"
		C< "\x04\x01\x01\x85\x04\x00\x07\x16\x03\x01\x00\x10\x01\x00"
		C< "\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037"
		S< "\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"
		C* hello
		S* answer`},
	{"proxy 2, LOCAL", Proxy, `
		C< "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
		C* hello
		S* answer`},
	{"proxy 2, a socket's path", Proxy, `
		C< "\r\n\r\n\x00\r\nQUIT\n\x21\x31\x00\x03/a/"
		C* hello
		S* answer`},
	{"PROXY, then CONNECT, then MySQL", MySQL, `
		C: PROXY TCP4 192.0.2.1 198.51.100.2 1025 3128
		C: CONNECT db.example:3306 HTTP/1.1
		C:
		S: HTTP/1.1 200 OK
		S:
		S< "\x16\x00\x00\x00\x0a5.5.5-10\x00............"
		C< "\x05\x00\x00\x01\x85\xae\xff\x19\x00"
		C* hello
		S* answer`},
	{"http", 0, `
		C: GET / HTTP/1.1
		= clear
		C:
		S: HTTP/1.1 200 OK
		= over`},
	{"ssh, the server first", 0, `
		S: SSH-2.0-x
		= clear
		C: SSH-2.0-y
		= over`},
	{"ssh to a server of something else", 0, `
		C: SSH-2.0-x
		= clear
		S: hello
		= over`},
	{"unknown, then TLS in its second turn", 0, `
		S: 200 news
		= clear
		C: CAPABILITIES
		S: 101 list
		C: STARTTLS
		S: 382 go
		C* hello
		S* answer`},
	{"unknown, the client first, binary, then TLS", 0, `
		C< "\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03\x00\x00\x00"
		= clear
		S< "\x03\x00\x00\x13\x0e\xd0\x00\x00\x12\x34\x00\x02\x00\x08\x00\x01\x00\x00\x00"
		C* hello
		S* answer`},
	{"unknown, an early hello in two halves", 0, `
		S: 200 news
		= clear
		C: STARTTLS
		C< "\x16\x03\x01\x00\x2d\x01"
		= tls
		S: 382 go
		= twofold`},
	{"unknown, the server first, then TLS", Direct, `
		S: hello
		= clear
		C* hello
		S* answer`},
}

func TestDialogues(t *testing.T) {
	for _, d := range dialogues {
		t.Run(d.name, func(t *testing.T) {
			c := run(t, d.text)
			if c.Kind != d.kind || d.kind != 0 && !c.Kinds.Has(d.kind) {
				t.Errorf("kind %s of %b, want %s", c.Kind, c.Kinds, d.kind)
			}
			if strings.HasPrefix(d.name, "PROXY, then CONNECT") && !(c.Kinds.Has(Proxy) && c.Kinds.Has(Connect)) {
				t.Errorf("kinds %b", c.Kinds)
			}
		})
	}
}
