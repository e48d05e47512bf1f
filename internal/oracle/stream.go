package main

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/big"
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
		kind := record.kid("tls.record.content_type").text
		if kind == "" {
			kind = record.kid("tls.record.opaque_type").text
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
func extensions(h *node) (numbers []string, byType map[string]*node) {
	byType = map[string]*node{}
	for i := range h.kids {
		k := &h.kids[i]
		if kind := k.kid("tls.handshake.extension.type"); kind.text != "" {
			numbers = append(numbers, kind.text)
			byType[kind.text] = k
		}
	}
	return numbers, byType
}

// decimal turns tshark's hexadecimal numbers into ours.
func decimal(numbers []string) []string {
	out := make([]string, len(numbers))
	for i, s := range numbers {
		n, err := strconv.ParseUint(s, 0, 32)
		if err != nil {
			out[i] = s
			continue
		}
		out[i] = strconv.FormatUint(n, 10)
	}
	return out
}

func number(s string) uint16 {
	n, _ := strconv.ParseUint(s, 0, 16)
	return uint16(n)
}

func groupName(s string) string { return suites.GroupName(number(s)) }

func plainHex(s string) string { return strings.ReplaceAll(s, ":", "") }

// none is an extension that is not there.
var none = &node{}

func (x *stream) clientHello(h *node) {
	numbers, ext := extensions(h)
	get := func(kind string) *node {
		if e := ext[kind]; e != nil {
			return e
		}
		return none
	}
	words := func(list []string) string { return strings.Join(list, " ") }
	ciphers := decimal(h.kid("tls.handshake.ciphersuites").texts("tls.handshake.ciphersuite"))
	x.set("client_version", suites.VersionName(number(h.kid("tls.handshake.version").text)))
	if list := h.texts("tls.handshake.cipherspec"); len(list) > 0 { // an SSL 2.0 hello
		x.set("ciphers", words(slices.DeleteFunc(decimal(list), ofSSLv2)))
		return
	}
	x.set("client_random", plainHex(h.kid("tls.handshake.random").text))
	x.set("ciphers", words(ciphers))
	x.set("extensions", words(numbers))
	x.set("signatures", words(decimal(get("13").texts("tls.handshake.sig_hash_alg"))))
	x.set("groups", words(groupNames(get("10").texts("tls.handshake.extensions_supported_group"))))
	x.set("key_shares", words(groupNames(get("51").texts("tls.handshake.extensions_key_share_group"))))
	x.set("early_data", truth(ext["42"] != nil))
	x.set("fallback_scsv", truth(slices.Contains(ciphers, "22016")))
	x.set("status_request", truth(ext["5"] != nil))
	x.set("record_size_limit", get("28").find("tls.record_size_limit").value())
	x.set("psk_lengths", words(first4(get("41").texts("tls.handshake.extensions.psk.identity.identity_length"))))
	x.set("psk_modes", words(sorted(renamed(get("45").texts("tls.extension.psk_ke_mode"), map[string]string{"0": "psk_ke", "1": "psk_dhe_ke"}))))
	x.set("heartbeat", words(renamed(get("15").texts("tls.handshake.extension.heartbeat.mode"), map[string]string{"1": "peer_allowed_to_send", "2": "peer_not_allowed_to_send"})))
	x.offered = [2]bool{ext["23"] != nil, ext["22"] != nil}
	x.agree([2]bool{})
	x.set("sni", words(get("0").texts("tls.handshake.extensions_server_name")))
	x.set("client_alpn", words(get("16").texts("tls.handshake.extensions_alpn_str")))
	x.helloID = plainHex(h.kid("tls.handshake.session_id").text)
	if x.conn.facts["retry"] == "true" {
		return // a client is known by its first hello
	}
	if ja3 := h.kid("tls.handshake.ja3").text; ja3 != "" {
		x.set("ja3", ja3)
		x.set("ja3_string", h.kid("tls.handshake.ja3_full").text)
	}
	ja4 := h.kid("tls.handshake.ja4").text
	if ja4 == "" {
		ja4 = x.ja4(numbers, get("43").texts("tls.handshake.extensions.supported_version"), ciphers,
			get("13").texts("tls.handshake.sig_hash_alg"), get("16").texts("tls.handshake.extensions_alpn_str"))
	}
	if ja4 != "" {
		x.set("ja4", ja4)
	}
}

// ofSSLv2 reports whether a number is a suite of SSL 2.0 itself: RFC 5246,
// Appendix E.2.
func ofSSLv2(s string) bool { return len(s) > 5 }

// retryRandom is RFC 8446, Section 4.1.3.
const retryRandom = "cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c"

func (x *stream) serverHello(h *node, draftRetry bool) {
	if draftRetry || plainHex(h.kid("tls.handshake.random").text) == retryRandom {
		x.set("retry", "true")
		_, ext := extensions(h)
		if e := ext["51"]; e != nil {
			x.set("retry_group", strings.Join(groupNames(e.texts("tls.handshake.extensions_key_share_selected_group")), " "))
		}
		return
	}
	x.answered = true
	numbers, ext := extensions(h)
	version := h.kid("tls.handshake.version").text
	x.set("server_version", suites.VersionName(number(version)))
	if e := ext["43"]; e != nil {
		if list := e.texts("tls.handshake.extensions.supported_version"); len(list) > 0 {
			version = list[0]
		}
	}
	v := number(version)
	x.set("version", suites.VersionName(v))
	x.set("cipher", decimal([]string{h.kid("tls.handshake.ciphersuite").text})[0])
	x.set("server_extensions", strings.Join(numbers, " "))
	id := plainHex(h.kid("tls.handshake.session_id").text)
	if v > 0x0303 {
		id = x.helloID
	}
	x.set("session_id", id)
	alpn := ""
	if e := ext["16"]; e != nil {
		alpn = strings.Join(e.texts("tls.handshake.extensions_alpn_str"), " ")
	}
	if v <= 0x0303 {
		x.set("server_alpn", alpn)
	}
	if e := ext["51"]; e != nil {
		if list := e.texts("tls.handshake.extensions_key_share_group"); len(list) == 1 {
			x.set("group", groupName(list[0]))
		}
	}
	if v > 0x0303 {
		x.set("resumed", fmt.Sprint(ext["41"] != nil))
	}
	if ja3s := h.kid("tls.handshake.ja3s").text; ja3s != "" {
		x.set("ja3s", ja3s)
		x.set("ja3s_string", h.kid("tls.handshake.ja3s_full").text)
	}
	if _, ok := x.conn.facts["retry"]; !ok {
		x.set("retry", "")
	}
	x.agree([2]bool{ext["23"] != nil, ext["22"] != nil})
}

// agree writes what became of the extensions without content.
func (x *stream) agree(selected [2]bool) {
	x.set("master_secret", sides(x.offered[0], selected[0]))
	x.set("encrypt_then_mac", sides(x.offered[1], selected[1]))
}

func truth(b bool) string {
	if b {
		return "true"
	}
	return ""
}

func groupNames(numbers []string) []string {
	names := make([]string, len(numbers))
	for i := range numbers {
		names[i] = groupName(numbers[i])
	}
	return names
}

func renamed(words []string, names map[string]string) []string {
	for i, w := range words {
		if n := names[w]; n != "" {
			words[i] = n
		}
	}
	return words
}

func sorted(list []string) []string {
	slices.Sort(list)
	return list
}

// first4 is as many as our events tell.
func first4(list []string) []string { return list[:min(len(list), 4)] }

// clientTypes are the registry's names of ClientCertificateType.
func clientTypes(numbers []string) []string {
	return renamed(numbers, map[string]string{
		"1": "rsa_sign", "2": "dss_sign", "3": "rsa_fixed_dh", "4": "dss_fixed_dh", "5": "rsa_ephemeral_dh",
		"6": "dss_ephemeral_dh", "20": "fortezza_dms", "64": "ecdsa_sign", "65": "rsa_fixed_ecdh", "66": "ecdsa_fixed_ecdh",
	})
}

// keyExchange reads a ServerKeyExchange.
func (x *stream) keyExchange(h *node) {
	if curve := h.find("tls.handshake.server_named_curve"); curve != nil {
		x.set("group", groupName(curve.text))
	}
	if p := h.find("tls.handshake.p"); p != nil {
		prime, _ := new(big.Int).SetString(plainHex(p.text), 16)
		if prime != nil {
			x.set("dh_bits", strconv.Itoa(prime.BitLen()))
		}
	}
	if scheme := h.find("tls.handshake.sig_hash_alg"); scheme != nil {
		x.set("signature_scheme", suites.SignatureName(number(scheme.text)))
	}
}

// certificates reads the first Certificate message of a side.
func (x *stream) certificates(h *node, server bool) {
	prefix := "client_"
	if server {
		prefix = ""
	}
	if _, ok := x.conn.facts[prefix+"chain"]; ok {
		return
	}
	list := h.kid("tls.handshake.certificates")
	var chain []string
	for i := range list.kids {
		k := &list.kids[i]
		switch {
		case k.key == "tls.handshake.certificate":
			der, err := hex.DecodeString(plainHex(k.text))
			if err != nil || len(k.text) >= maxText {
				return
			}
			sum := sha1.Sum(der)
			chain = append(chain, colons(sum[:]))
			if sum := sha256.Sum256(der); len(chain) == 1 && server {
				x.set("sha256", hex.EncodeToString(sum[:]))
			}
		case k.key == "tls.handshake.certificate_tree" && len(chain) == 1:
			x.leaf(k, prefix)
		}
	}
	x.set(prefix+"chain", strings.Join(chain, " "))
	if server && len(chain) > 0 {
		x.set("sha1", chain[0])
	}
}

func colons(b []byte) string {
	parts := make([]string, len(b))
	for i := range b {
		parts[i] = fmt.Sprintf("%02x", b[i])
	}
	return strings.Join(parts, ":")
}

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
