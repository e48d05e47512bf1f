package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"tlsgate/tlsrules/suites"
)

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

func (x *stream) clientHello(h *node) {
	numbers, ext := extensions(h)
	get := func(kind string) *node {
		if e := ext[kind]; e != nil {
			return e
		}
		return &node{}
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

func ofSSLv2(s string) bool {
	n, _ := strconv.Atoi(s)
	return n > math.MaxUint16
}

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
	if _, ok := x.conn.facts["extensions"]; ok {
		x.agree([2]bool{ext["23"] != nil, ext["22"] != nil})
	}
}

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

func first4(list []string) []string { return list[:min(len(list), 4)] }
