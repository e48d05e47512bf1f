package policytest

import (
	"encoding/binary"
	"fmt"
	"strings"

	"tlsgate/tlsrules/via"
)

// tunnelled is the name that a tunnel leads to where no server name says another.
const tunnelled = "server.example"

// before says what comes before TLS, the outermost first.
func (c *conversation) before() {
	client := &c.t.Client
	name := client.ServerName
	if name == "" {
		name = tunnelled
	}
	for _, k := range client.Via {
		switch k {
		case via.Proxy:
			family := "TCP4"
			if client.From.Addr().Is6() {
				family = "TCP6"
			}
			c.line(original, fmt.Sprintf("PROXY %s %s %s %d %d", family, client.From.Addr(), client.To.Addr(), client.From.Port(), client.To.Port()))
		case via.Connect:
			c.line(original, fmt.Sprintf("CONNECT %s:443 HTTP/1.1\r\nHost: %s:443\r\n", name, name))
			c.line(reply, "HTTP/1.1 200 OK\r\n")
		case via.SOCKS: // RFC 1928
			c.say(original, []byte{5, 1, 0})
			c.say(reply, []byte{5, 0})
			c.say(original, []byte{5, 1, 0, 3, byte(len(name))}, []byte(name), binary.BigEndian.AppendUint16(nil, 443))
			c.say(reply, []byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
		default:
			c.startTLS(k)
		}
	}
}

func (c *conversation) line(from direction, text string) { c.say(from, []byte(text+"\r\n")) }

// dialogues are those of lines, the server's first; what begins with "C " is the
// client's.
var dialogues = map[via.Kind][]string{
	via.SMTP: {"220 mail.example ESMTP", "C EHLO client.example", "250-mail.example\r\n250 STARTTLS", "C STARTTLS", "220 go ahead"},
	via.IMAP: {"* OK [CAPABILITY IMAP4rev1 STARTTLS] ready", "C a STARTTLS", "a OK begin"},
	via.POP3: {"+OK ready", "C STLS", "+OK begin"},
	via.FTP:  {"220 ready", "C AUTH TLS", "234 go ahead"},
	via.XMPP: {
		"C <?xml version='1.0'?><stream:stream to='a.example' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>",
		"<?xml version='1.0'?><stream:stream version='1.0' xmlns='jabber:client'><stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>",
		"C <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
		"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
	},
}

// startTLS lets both sides agree on TLS.
func (c *conversation) startTLS(k via.Kind) {
	end := "\r\n"
	if k == via.XMPP { // its next bytes are TLS at once
		end = ""
	}
	for _, text := range dialogues[k] {
		if said, client := strings.CutPrefix(text, "C "); client {
			c.say(original, []byte(said+end))
		} else {
			c.say(reply, []byte(text+end))
		}
	}
	switch k {
	case via.LDAP: // RFC 4511, Section 4.14
		c.say(original, []byte("\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037"))
		c.say(reply, []byte("\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"))
	case via.Postgres: // SSLRequest
		c.say(original, []byte{0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f})
		c.say(reply, []byte("S"))
	case via.MySQL: // a greeting, and a first packet with CLIENT_SSL
		greeting := "\x0a8.0.36\x00" + strings.Repeat(".", 36)
		c.say(reply, []byte{byte(len(greeting)), 0, 0, 0}, []byte(greeting))
		c.say(original, []byte{32, 0, 0, 1, 0x85, 0xae, 0xff, 0x19, 0, 0, 0, 1, 0xff}, make([]byte, 23))
	}
}
