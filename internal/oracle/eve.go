package main

import (
	"context"
	"crypto/sha1"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
)

//go:embed suricata.yaml
var suricataYAML []byte

// suricata tells what Suricata finds in a file.
func suricata(ctx context.Context, file string) *told {
	t := &told{fields: map[string]bool{}}
	dir, err := os.MkdirTemp("", "tlsgate-oracle-")
	if err != nil {
		t.err = err
		return t
	}
	defer os.RemoveAll(dir)
	config := filepath.Join(dir, "suricata.yaml")
	if t.err = os.WriteFile(config, suricataYAML, 0o600); t.err != nil {
		return t
	}
	e := &eve{open: map[string]map[string]any{}}
	err = t.run(ctx, &lines{take: e.line}, "suricata", "-c", config, "-l", dir, "-S", "/dev/null",
		"-k", "none", "--runmode", "single", "-r", file)
	t.conns, t.err = e.conns, err
	return t
}

// eve takes EVE events.
type eve struct {
	open  map[string]map[string]any
	conns []*conn
}

func (v *eve) line(line []byte) error {
	e, err := event(line)
	if err != nil {
		return err
	}
	number, _ := e["flow_id"].(json.Number)
	id := number.String()
	switch e["event_type"] {
	case "tls":
		v.open[id] = e
	case "flow":
		tls := v.open[id]
		delete(v.open, id)
		if tls == nil || e["proto"] != "TCP" {
			return nil
		}
		x, err := v.merge(tls, e)
		if err != nil {
			return err
		}
		x.name = id
		v.conns = append(v.conns, x)
	}
	return nil
}

// same are the fields of EVE that are written as ours are.
var same = []string{
	"client_version", "ciphers", "extensions", "signatures", "sni", "client_alpn", "ja3", "ja3_string", "ja4",
	"server_version", "cipher", "server_extensions", "server_alpn", "ja3s", "ja3s_string",
	"subject", "issuer", "serial", "sha1", "not_before", "not_after", "names",
}

// merge takes what Suricata tells. It tells a connection's facts with the first
// message it calls the last, and leaves out what it has not met until then, so
// only what is there can be compared.
func (v *eve) merge(tls, flow map[string]any) (*conn, error) {
	x := &conn{facts: map[string]string{}, tls: true}
	var err [2]error
	x.src, err[0] = endpoint(flow, "src_ip", "src_port")
	x.dst, err[1] = endpoint(flow, "dest_ip", "dest_port")
	x.start, x.last = eveTime(at(flow, "flow.start")), eveTime(at(flow, "flow.end"))
	for i := range fields {
		f := &fields[i]
		for _, name := range same {
			if value := at(tls, f.path); name == f.name && value != nil {
				x.facts[name] = f.ours(value)
			}
		}
	}
	if chain, ok := at(tls, "tls.chain").([]any); ok {
		x.facts["chain"] = printsOf(chain)
	}
	if version, ok := at(tls, "tls.version").(string); ok && version != "UNDETERMINED" {
		x.facts["version"] = strings.NewReplacer("TLSv1", "TLS 1.0", "SSLv3", "SSL 3.0", "SSLv2", "SSL 2.0").Replace(version)
	}
	if at(tls, "tls.session_resumed") == true {
		x.facts["resumed"] = "true"
	}
	return x, errors.Join(err[:]...)
}

// printsOf writes the SHA-1 fingerprints of certificates in base64.
func printsOf(chain []any) string {
	words := make([]string, len(chain))
	for i, c := range chain {
		der, _ := base64.StdEncoding.DecodeString(text(c))
		sum := sha1.Sum(der)
		words[i] = colons(sum[:])
	}
	return strings.Join(words, " ")
}
