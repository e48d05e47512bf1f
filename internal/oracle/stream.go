package main

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"tlsgate/tlsrules/suites"
)

// stream is what tshark tells of one TCP stream. ends[0] sent its first packet

// that was printed.

type stream struct {
	conn      conn
	ends      [2]netip.AddrPort
	helloFrom int // the end that sent the ClientHello, -1 before it
	helloID   string
	answered  bool // a ServerHello that is no HelloRetryRequest was seen
	changed   [2]bool
	offered   [2]bool // extended_master_secret, encrypt_then_mac
	full      bool    // a server's message that no resumed handshake has was seen
	records   [2]map[string]int
	alerts    []alertSeen
}

type alertSeen struct {
	from int
	text string
}

// layer takes one tls layer of a packet.

func (x *stream) layer(tls *node, from int) {
	for i := range tls.kids {
		record := &tls.kids[i]
		if record.key != "tls.record" {
			continue
		}
		// Where the file brings its keys, tshark tells what is inside; from
		// outside it is the opaque type, and nothing else.
		kind, opaque := record.kid("tls.record.opaque_type").text, true
		if kind == "" {
			kind, opaque = record.kid("tls.record.content_type").text, false
		}
		if code, err := strconv.ParseUint(kind, 0, 8); err == nil {
			if x.records[from] == nil {
				x.records[from] = map[string]int{}
			}
			x.records[from][suites.ContentTypeName(uint8(code))]++
			if code == 20 {
				x.changed[from] = true
			}
		}
		if opaque {
			continue
		}
		if record.kid("tls.handshake.type").text != "" { // an SSL 2.0 hello is a record itself
			x.handshake(record, from)
		}
		for i := range record.kids {
			switch k := &record.kids[i]; k.key {
			case "tls.handshake":
				x.handshake(k, from)
			case "tls.alert_message":
				x.alert(k, from)
			}
		}
	}
}

// before takes what is said to a proxy, or by one, before TLS.

func (x *stream) before(k *node) {
	switch k.key {
	case "http":
		if k.find("http.request.method").value() == "CONNECT" {
			x.set("tunnel", k.find("http.request.uri").value())
		}
	case "socks":
		port := k.find("socks.port")
		if _, ok := x.conn.facts["tunnel"]; ok || port == nil || k.find("socks.results") != nil {
			return // the answer
		}
		for _, name := range []string{"socks.remote_name", "socks.dst", "socks.dstV6"} {
			if host := k.find(name); host != nil {
				x.set("tunnel", net.JoinHostPort(host.text, port.text))
				return
			}
		}
	case "proxy":
		end := func(side string) string {
			for _, family := range []string{".ipv4", ".ipv6"} {
				if a := k.find("proxy." + side + family); a != nil {
					return net.JoinHostPort(a.text, k.find("proxy."+side+"port").value())
				}
			}
			return ""
		}
		if src := end("src"); src != "" {
			x.set("proxied", src+" > "+end("dst"))
		}
	}
}

func (x *stream) alert(a *node, from int) {
	level, err := strconv.ParseUint(a.kid("tls.alert_message.level").text, 0, 8)
	if err != nil {
		return // encrypted
	}
	description, _ := strconv.ParseUint(a.kid("tls.alert_message.desc").text, 0, 8)
	name := map[uint64]string{1: "warning", 2: "fatal"}[level]
	if name == "" {
		name = strconv.FormatUint(level, 10)
	}
	x.alerts = append(x.alerts, alertSeen{from, name + ":" + suites.AlertName(uint8(description))})
}

func (x *stream) handshake(h *node, from int) {
	kind, err := strconv.ParseUint(h.kid("tls.handshake.type").text, 0, 8)
	if err != nil {
		return // encrypted, or a fragment
	}
	server := x.helloFrom >= 0 && from != x.helloFrom && !x.changed[from]
	switch kind {
	case 1:
		x.conn.tls = true
		if !x.answered {
			x.helloFrom = from
			x.clientHello(h)
		}
	case 2, 6:
		x.conn.tls = true
		if x.helloFrom < 0 { // the ClientHello is not in the capture
			x.helloFrom = 1 - from
		}
		if !x.answered {
			x.serverHello(h, kind == 6)
		}
	case 11:
		x.full = x.full || server
		x.certificates(h, server)
	case 12:
		x.full = x.full || server
		if server {
			x.keyExchange(h)
		}
	case 13:
		if server {
			x.set("authorities", strconv.Itoa(len(h.texts("tls.handshake.dname"))))
			x.set("requested_types", strings.Join(clientTypes(h.texts("tls.handshake.cert_type")), " "))
		}
	case 14:
		x.full = x.full || server
	case 16:
		x.full = true
	case 22:
		if server {
			x.set("ocsp_stapled", "true")
		}
	}
}

func (x *stream) set(name, value string) { x.conn.facts[name] = value }

// extension is a child of a hello that is an extension.

// decimal turns tshark's hexadecimal numbers into ours.

// none is an extension that is not there.

// ofSSLv2 reports whether a number is a suite of SSL 2.0 itself: RFC 5246,

// Appendix E.2.

// retryRandom is RFC 8446, Section 4.1.3.

// agree writes what became of the extensions without content.

// first4 is as many as our events tell.

// clientTypes are the registry's names of ClientCertificateType.

// keyExchange reads a ServerKeyExchange.

// certificates reads the first Certificate message of a side.

// finish turns the stream so that its source is the end that sent the SYN, or

// else the ClientHello.

func (x *stream) finish() *conn {
	client := 0
	if !x.conn.syn && x.helloFrom == 1 {
		client = 1
	}
	c := &x.conn
	c.src, c.dst = x.ends[client], x.ends[1-client]
	x.set("records_to_server", recordCounts(x.records[client]))
	x.set("records_to_client", recordCounts(x.records[1-client]))
	var words []string
	for _, a := range x.alerts {
		from := "server"
		if a.from == x.helloFrom || x.helloFrom < 0 && a.from == client {
			from = "client"
		}
		words = append(words, from+":"+a.text)
	}
	x.set("alerts", strings.Join(words, " "))
	if _, ok := c.facts["resumed"]; !ok && x.answered {
		switch {
		case x.full:
			x.set("resumed", "false")
		case x.helloFrom >= 0 && x.changed[1-x.helloFrom]:
			x.set("resumed", "true")
		}
	}
	return c
}

func recordCounts(counts map[string]int) string {
	words := make([]string, 0, len(counts))
	for name, n := range counts {
		words = append(words, fmt.Sprintf("%s=%d", name, n))
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}
