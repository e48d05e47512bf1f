package main

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"tlsgate/tlsrules/suites"
)

func clientTypes(numbers []string) []string {
	return renamed(numbers, map[string]string{
		"1": "rsa_sign", "2": "dss_sign", "3": "rsa_fixed_dh", "4": "dss_fixed_dh", "5": "rsa_ephemeral_dh",
		"6": "dss_ephemeral_dh", "20": "fortezza_dms", "64": "ecdsa_sign", "65": "rsa_fixed_ecdh", "66": "ecdsa_fixed_ecdh",
	})
}

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
