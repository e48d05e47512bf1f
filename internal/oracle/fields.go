package main

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
)

// field is a fact that both sides tell. ours makes of what our event holds at
// path (nil: nothing) the text that an oracle's facts have under the same name.
// parent is what an event has if it could have had the field at all.
type field struct {
	name         string
	parent, path string
	final        bool // told by the flow event, when the connection has ended
	ours         func(v any) string
}

const (
	hello  = "tls.client_handshake"
	answer = "tls.server_handshake"
)

// fields are in the order of the report. A field none of our events has is
// skipped with a word.
var fields = []field{
	{"client_version", hello, "tls.client_handshake.version", false, text},
	{"client_random", hello, "tlsgate.client_random", false, text},
	{"ciphers", hello, "tls.client_handshake.ciphers", false, list},
	{"extensions", hello, "tls.client_handshake.exts", false, list},
	{"signatures", hello, "tls.client_handshake.sig_algs", false, list},
	{"groups", hello, "tlsgate.groups", false, list},
	{"key_shares", hello, "tlsgate.key_shares", false, list},
	{"sni", hello, "tls.sni", false, text},
	{"client_alpn", hello, "tls.client_alpns", false, list},
	{"ja3", hello, "tls.ja3.hash", false, text},
	{"ja3_string", hello, "tls.ja3.string", false, text},
	{"ja4", hello, "tls.ja4", false, text},
	{"early_data", hello, "tlsgate.early_data", false, text},
	{"fallback_scsv", hello, "tlsgate.fallback_scsv", false, text},
	{"status_request", hello, "tlsgate.status_request", false, text},
	{"record_size_limit", hello, "tlsgate.record_size_limit", false, text},
	{"psk_lengths", hello, "tlsgate.psk.lengths", false, list},
	{"psk_modes", hello, "tlsgate.psk.modes", false, set},
	{"retry", hello, "tlsgate.hello_retry", false, present},
	{"retry_group", hello, "tlsgate.hello_retry.group", false, text},
	{"heartbeat", hello, "tlsgate.heartbeat_modes.offered", false, text},
	{"master_secret", hello, "tlsgate.extended_master_secret", false, agreement},
	{"encrypt_then_mac", hello, "tlsgate.encrypt_then_mac", false, agreement},
	{"version", answer, "tls.version", false, text},
	{"server_version", answer, "tls.server_handshake.version", false, text},
	{"cipher", answer, "tls.server_handshake.cipher", false, text},
	{"server_extensions", answer, "tls.server_handshake.exts", false, list},
	{"server_alpn", answer, "tls.server_alpns", false, list},
	{"session_id", answer, "tlsgate.session_id", false, text},
	{"group", answer, "tlsgate.group", false, text},
	{"ja3s", answer, "tls.ja3s.hash", false, text},
	{"ja3s_string", answer, "tls.ja3s.string", false, text},
	{"resumed", answer, "tls.session_resumed", false, text},
	{"chain", answer, "tlsgate.chain", false, prints},
	{"subject", answer, "tls.subject", false, distinguished},
	{"issuer", answer, "tls.issuerdn", false, distinguished},
	{"serial", answer, "tls.serial", false, text},
	{"sha1", answer, "tls.fingerprint", false, text},
	{"not_before", answer, "tls.notbefore", false, text},
	{"not_after", answer, "tls.notafter", false, text},
	{"names", answer, "tls.subjectaltname", false, list},
	{"sha256", answer, "tlsgate.certificate.sha256", false, text},
	{"dh_bits", answer, "tlsgate.dh_bits", false, text},
	{"signature_scheme", answer, "tlsgate.signature_scheme", false, text},
	{"ocsp_stapled", answer, "tlsgate.ocsp_stapled", false, text},
	{"requested_types", answer, "tlsgate.certificate_request.types", false, list},
	{"authorities", answer, "tlsgate.certificate_request.authorities", false, text},
	{"client_chain", answer, "tlsgate.client_chain", false, prints},
	{"client_subject", answer, "tls.client.subject", false, distinguished},
	{"tunnel", "flow_id", "tlsgate.tunnel", false, tunnel},
	{"proxied", "flow_id", "tlsgate.proxied", false, proxied},
	{"records_to_server", "tlsgate.records", "tlsgate.records.toserver", true, counts},
	{"records_to_client", "tlsgate.records", "tlsgate.records.toclient", true, counts},
	{"alerts", "tlsgate.records", "tlsgate.alerts", true, alerts},
}

// text writes a single value.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return fmt.Sprint(v)
}

// list writes numbers or words.
func list(v any) string {
	values, _ := v.([]any)
	words := make([]string, len(values))
	for i := range values {
		words[i] = text(values[i])
	}
	return strings.Join(words, " ")
}

// set writes words whose order says nothing.
func set(v any) string {
	return strings.Join(sorted(strings.Fields(list(v))), " ")
}

// prints writes the SHA-1 fingerprints of a chain.
func prints(v any) string {
	values, _ := v.([]any)
	var words []string
	for _, c := range values {
		c, _ := c.(map[string]any)
		words = append(words, text(c["fingerprint"]))
	}
	return strings.Join(words, " ")
}

// counts writes records by type, in the order of the names.
func counts(v any) string {
	values, _ := v.(map[string]any)
	words := make([]string, 0, len(values))
	for name, n := range values {
		words = append(words, name+"="+text(n))
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}

// alerts writes those that were read.
func alerts(v any) string {
	values, _ := v.([]any)
	var words []string
	for _, a := range values {
		a, _ := a.(map[string]any)
		if a["encrypted"] == true {
			continue
		}
		words = append(words, fmt.Sprintf("%v:%v:%v", a["from"], a["level"], a["description"]))
	}
	return strings.Join(words, " ")
}

// present writes whether there is anything.
func present(v any) string {
	if v == nil {
		return ""
	}
	return "true"
}

// agreement writes an extension without content, by who has it.
func agreement(v any) string {
	m, _ := v.(map[string]any)
	return sides(m["offered"] == true, m["selected"] == true)
}

func sides(offered, selected bool) string {
	switch {
	case offered && selected:
		return "offered selected"
	case offered:
		return "offered"
	case selected:
		return "selected"
	}
	return ""
}

// tunnel writes whom a proxy was asked for.
func tunnel(v any) string {
	m, _ := v.(map[string]any)
	if m == nil {
		return ""
	}
	return net.JoinHostPort(text(m["host"]), text(m["port"]))
}

// proxied writes what a PROXY header says.
func proxied(v any) string {
	m, _ := v.(map[string]any)
	if m == nil {
		return ""
	}
	return net.JoinHostPort(text(m["src_ip"]), text(m["src_port"])) + " > " + net.JoinHostPort(text(m["dest_ip"]), text(m["dest_port"]))
}

// distinguished writes a name so that the manner of writing does not matter.
func distinguished(v any) string {
	return plainName(text(v))
}

// plainName takes out blanks behind separators and escapes.
func plainName(s string) string {
	return strings.NewReplacer(", ", ",", `\`, "", " + ", "+").Replace(s)
}
