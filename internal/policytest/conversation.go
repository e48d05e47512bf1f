package policytest

import (
	"slices"
	"strings"

	"tlsgate/config"
	"tlsgate/conntrack"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/suites"
	"tlsgate/tlsrules/tlswire"
)

type direction = conntrack.Direction

const (
	original = conntrack.Original
	reply    = conntrack.Reply
)

// turn is what one side writes before the other one does.
type turn struct {
	dir   direction
	bytes []byte
}

// conversation is all that both sides write, in order.
type conversation struct {
	t     *config.Test
	turns []turn
}

// say lets a side write.
func (c *conversation) say(d direction, parts ...[]byte) {
	c.turns = append(c.turns, turn{d, slices.Concat(parts...)})
}

// talk is the conversation of a test. begins is that of the session which the
// test's own will resume.
func talk(t *config.Test, begins bool) []turn {
	c := &conversation{t: t}
	if t.Client.Protocol == tlswire.ProtocolTLS || t.Client.Protocol == tlswire.ProtocolSSLv2 {
		c.tls(begins)
	} else {
		c.plain(t.Client.Protocol)
		if len(t.Client.Text) > 0 {
			c.say(original, t.Client.Text)
		}
	}
	return c.turns
}

func (c *conversation) plain(p tlswire.Protocol) {
	switch p {
	case tlswire.ProtocolHTTP:
		c.say(original, []byte("GET / HTTP/1.1\r\nHost: server.example\r\n\r\n"))
		c.say(reply, []byte("HTTP/1.1 204 No Content\r\n\r\n"))
	case tlswire.ProtocolSSH:
		c.say(original, []byte("SSH-2.0-client\r\n"))
		c.say(reply, []byte("SSH-2.0-server\r\n"))
	default:
		c.say(original, []byte{0x00, 0xfe, 0xca, 0x01, 0x02, 0x03, 0x04, 0x05})
		c.say(reply, []byte{0x00, 0xfe, 0xca, 0x06})
	}
}

func (c *conversation) tls(begins bool) {
	client, server := &c.t.Client, &c.t.Server
	h := &clientHello{TestClient: client, shares: client.KeyShares, resumes: client.Resumes}
	resumed := server.Resumed > tlsrules.ResumedNo
	if begins {
		h.resumes, resumed = 0, false
	}
	c.before()
	if client.Protocol == tlswire.ProtocolSSLv2 {
		c.say(original, sslv2Hello(client))
	} else {
		c.say(original, h.append(nil))
	}
	if h.EarlyData && h.resumes&tlswire.ResumesPSK != 0 {
		c.say(original, changeCipherSpec(tlswire.VersionTLS13), sealed(tlswire.RecordTypeApplicationData, tlswire.VersionTLS13, 400))
	}
	if server.Silent {
		return
	}
	if server.Alert.Level != 0 {
		c.say(reply, alert(client.Versions[0], server.Alert))
		if server.Alert.Level == tlswire.AlertLevelFatal {
			return
		}
	}
	if server.Version >= tlswire.VersionTLS13 {
		c.tls13(h, resumed)
	} else {
		c.tls12(h, resumed)
	}
}

// tls13 is RFC 8446, Section 2: from the ServerHello on.
func (c *conversation) tls13(h *clientHello, resumed bool) {
	client, server := &c.t.Client, &c.t.Server
	const v, data = tlswire.VersionTLS13, tlswire.RecordTypeApplicationData
	if !slices.Contains(h.shares, server.Group) {
		retry := &serverHello{TestServer: server, retry: true, sessionID: h.id()}
		c.say(reply, record(tlswire.RecordTypeHandshake, tlswire.VersionTLS12, retry.message()), changeCipherSpec(v))
		h.retry, h.shares = true, []uint16{server.Group}
		c.say(original, changeCipherSpec(v), h.append(nil))
	}
	answer := &serverHello{TestServer: server, sessionID: h.id(), psk: resumed}
	flight := [][]byte{record(tlswire.RecordTypeHandshake, tlswire.VersionTLS12, answer.message())}
	if !h.retry {
		flight = append(flight, changeCipherSpec(v))
	}
	length := finishedLength(server.Cipher)
	flight = append(flight, sealed(data, v, 40)) // EncryptedExtensions
	if !resumed {
		flight = append(flight, sealed(data, v, 1800), sealed(data, v, 290)) // Certificate, CertificateVerify
	}
	c.say(reply, append(flight, sealed(data, v, length))...)
	if c.refuses(client) {
		return
	}
	var own [][]byte
	switch {
	case h.retry:
	case h.EarlyData && resumed:
		own = append(own, sealed(data, v, length-hashSize(server.Cipher))) // EndOfEarlyData
	default:
		own = append(own, changeCipherSpec(v))
	}
	c.say(original, append(own, sealed(data, v, length))...)
	c.after(func(direction) []byte { return nil })
}

// tls12 is RFC 5246, Section 7.3, and what came before it.
func (c *conversation) tls12(h *clientHello, resumed bool) {
	client, server := &c.t.Client, &c.t.Server
	v := server.Version
	tickets := client.Resumes&tlswire.ResumesTicket != 0
	answer := &serverHello{
		TestServer: server, ticket: tickets && !resumed, sessionID: sessionID,
		bare: client.Protocol == tlswire.ProtocolSSLv2 || h.Versions[0] < tlswire.VersionTLS10,
	}
	switch {
	case resumed:
		answer.sessionID = h.id()
	case tickets:
		answer.sessionID = nil // RFC 5077, Section 3.4
	case h.resumes&tlswire.ResumesSessionID != 0:
		answer.sessionID = filler(32, 99) // not the one asked for
	}
	handshake := func(messages ...[]byte) []byte {
		return record(tlswire.RecordTypeHandshake, v, slices.Concat(messages...))
	}
	finished := func(d direction) []byte {
		return append(changeCipherSpec(v), sealed(tlswire.RecordTypeHandshake, v, 40)...)
	}
	if resumed {
		c.say(reply, handshake(answer.message()), finished(reply))
		if c.refuses(client) {
			return
		}
		c.say(original, finished(original))
		c.after(finished)
		return
	}
	flight := answer.message()
	if server.Certificate != nil {
		flight = append(flight, certificateMessage(chain(server.Certificate, c.t.Time))...)
	}
	flight = append(append(flight, keyExchange(server)...), serverHelloDone()...)
	c.say(reply, handshake(flight))
	if c.refuses(client) {
		return
	}
	c.say(original, handshake(clientKeyExchange()), finished(original))
	if answer.ticket {
		c.say(reply, handshake(sessionTicket()), finished(reply))
	} else {
		c.say(reply, finished(reply))
	}
	c.after(finished)
}

// refuses lets the client answer with its alert, and reports whether that ends
// the handshake.
func (c *conversation) refuses(client *config.TestClient) bool {
	if client.Alert.Level != 0 {
		c.say(original, alert(c.t.Server.Version, client.Alert))
	}
	return client.Alert.Level == tlswire.AlertLevelFatal
}

// after is what both sides send once the handshake is done. keys are the end of
// a handshake, of which a renegotiation has another one.
func (c *conversation) after(keys func(direction) []byte) {
	c.sends(original, c.t.Client.Sends, keys)
	c.sends(reply, c.t.Server.Sends, keys)
}

func (c *conversation) sends(d direction, list []config.TestRecord, keys func(direction) []byte) {
	v := c.t.Server.Version
	for _, r := range list {
		switch r {
		case config.SendApplicationData:
			c.say(d, sealed(tlswire.RecordTypeApplicationData, v, 600))
		case config.SendAlert:
			if v >= tlswire.VersionTLS13 {
				c.say(d, sealed(tlswire.RecordTypeApplicationData, v, 2+1+tagSize(c.t.Server.Cipher)))
			} else {
				c.say(d, sealed(tlswire.RecordTypeAlert, v, 26))
			}
		case config.SendHeartbeat:
			c.say(d, sealed(tlswire.RecordTypeHeartbeat, v, 61))
		case config.SendChangeCipherSpec:
			c.say(d, changeCipherSpec(v))
		case config.SendRenegotiation:
			c.say(d, sealed(tlswire.RecordTypeHandshake, v, 240))
			c.say(d.Other(), sealed(tlswire.RecordTypeHandshake, v, 1500))
			c.say(d, sealed(tlswire.RecordTypeHandshake, v, 90), keys(d))
			c.say(d.Other(), keys(d.Other()))
		}
	}
}

// finishedLength is that of an encrypted Finished of TLS 1.3: RFC 8446, Sections
// 4.4.4 and 5.2.
func finishedLength(cipher uint16) int { return 4 + hashSize(cipher) + 1 + tagSize(cipher) }

func hashSize(cipher uint16) int {
	s, _ := suites.ByCode(cipher)
	switch s.Hash {
	case "SHA384":
		return 48
	case "SHA512":
		return 64
	}
	return 32
}

func tagSize(cipher uint16) int {
	s, _ := suites.ByCode(cipher)
	switch {
	case s.Enc == "NULL": // RFC 9150
		return hashSize(cipher)
	case strings.HasSuffix(s.Enc, "CCM-8"):
		return 8
	}
	return 16
}
