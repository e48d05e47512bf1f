package tlsrules

// Key names what a condition is about. The zero Key is none.
type Key uint8

const (
	KeyNone Key = iota
	KeySource
	KeyDestination
	KeyPort
	KeySourcePort
	KeyInInterface
	KeyOutInterface
	KeyTime
	KeyProtocol
	KeyVia
	KeyContains
	KeyServerName // "sni"
	KeyALPN
	KeyOffersVersion
	KeyOffersCipher
	KeyOffersGroup
	KeyOffersExtension
	KeyOffersSignature
	KeyOffersOnlyCipher
	KeyOffersOnlyVersion
	KeyOffersOnlyGroup
	KeyClientRandom
	KeyJA3
	KeyJA4
	KeyResumes
	KeyECH
	KeyEarlyData
	KeyFallback
	KeyVersion
	KeyCipher
	KeyJA3S
	KeyALPNSelected
	KeyResumed
	KeyGroup
	KeyCertSubject
	KeyCertIssuer
	KeyCertName
	KeyCertSHA256
	KeyCertSPKISHA256
	KeyCertKey
	KeyCertExpired
	KeyCertSelfSigned
	KeyDHBits
	KeyContentType
	KeyAlert
	KeyRenegotiates

	keyCount = int(iota)
)

// keys says for each key how it is spelled, which step makes it known, and what
// one and several of its values are called.
var keys = [keyCount]struct {
	name      string
	step      step
	one, many string
}{
	KeyNone:              {name: "none"},
	KeySource:            {"source", stepSYN, "address", "addresses"},
	KeyDestination:       {"destination", stepSYN, "address", "addresses"},
	KeyPort:              {"port", stepSYN, "port", "ports"},
	KeySourcePort:        {"source_port", stepSYN, "port", "ports"},
	KeyInInterface:       {"in_interface", stepSYN, "interface", "interfaces"},
	KeyOutInterface:      {"out_interface", stepSYN, "interface", "interfaces"},
	KeyTime:              {"time", stepSYN, "time", "times"},
	KeyProtocol:          {"protocol", stepFirstBytes, "protocol", "protocols"},
	KeyVia:               {"via", stepFirstBytes, "way TLS begins", "ways TLS begins"},
	KeyContains:          {"contains", stepContains, "text", "texts"},
	KeyServerName:        {"sni", stepClientHello, "name", "names"},
	KeyALPN:              {"alpn", stepClientHello, "protocol", "protocols"},
	KeyOffersVersion:     {"offers_version", stepClientHello, "version", "versions"},
	KeyOffersCipher:      {"offers_cipher", stepClientHello, "suite", "suites"},
	KeyOffersGroup:       {"offers_group", stepClientHello, "group", "groups"},
	KeyOffersExtension:   {"offers_extension", stepClientHello, "extension", "extensions"},
	KeyOffersSignature:   {"offers_signature", stepClientHello, "signature scheme", "signature schemes"},
	KeyOffersOnlyCipher:  {"offers_only_cipher", stepClientHello, "suite", "suites"},
	KeyOffersOnlyVersion: {"offers_only_version", stepClientHello, "version", "versions"},
	KeyOffersOnlyGroup:   {"offers_only_group", stepClientHello, "group", "groups"},
	KeyClientRandom:      {"client_random", stepClientHello, "value", "values"},
	KeyJA3:               {"ja3", stepClientHello, "fingerprint", "fingerprints"},
	KeyJA4:               {"ja4", stepClientHello, "fingerprint", "fingerprints"},
	KeyResumes:           {"resumes", stepClientHello, "way to resume", "ways to resume"},
	KeyECH:               {"ech", stepClientHello, "value", "values"},
	KeyEarlyData:         {"early_data", stepClientHello, "value", "values"},
	KeyFallback:          {"fallback", stepClientHello, "value", "values"},
	KeyVersion:           {"version", stepServerHello, "version", "versions"},
	KeyCipher:            {"cipher", stepServerHello, "suite", "suites"},
	KeyJA3S:              {"ja3s", stepServerHello, "fingerprint", "fingerprints"},
	KeyALPNSelected:      {"alpn_selected", stepALPN, "protocol", "protocols"},
	KeyResumed:           {"resumed", stepResumed, "value", "values"},
	KeyGroup:             {"group", stepGroup, "group", "groups"},
	KeyCertSubject:       {"cert_subject", stepCertificate, "subject", "subjects"},
	KeyCertIssuer:        {"cert_issuer", stepCertificate, "issuer", "issuers"},
	KeyCertName:          {"cert_name", stepCertificate, "name", "names"},
	KeyCertSHA256:        {"cert_sha256", stepCertificate, "certificate", "certificates"},
	KeyCertSPKISHA256:    {"cert_spki_sha256", stepCertificate, "key", "keys"},
	KeyCertKey:           {"cert_key", stepCertificate, "kind of key", "kinds of keys"},
	KeyCertExpired:       {"cert_expired", stepCertificate, "value", "values"},
	KeyCertSelfSigned:    {"cert_self_signed", stepCertificate, "value", "values"},
	KeyDHBits:            {"dh_bits", stepDH, "size", "sizes"},
	KeyContentType:       {"content_type", stepRecords, "content type", "content types"},
	KeyAlert:             {"alert", stepRecords, "alert", "alerts"},
	KeyRenegotiates:      {"renegotiates", stepRecords, "value", "values"},
}

// String returns the key as POLICY.md spells it.
func (k Key) String() string {
	if int(k) < keyCount {
		return keys[k].name
	}
	return "invalid"
}

// Stage returns the stage at which the fact becomes known.
func (k Key) Stage() Stage { return keys[k].step.stage() }

// ParseKey is the inverse of Key.String.
func ParseKey(name string) (Key, bool) {
	for _, k := range Keys() {
		if keys[k].name == name {
			return k, true
		}
	}
	return KeyNone, false
}

// Keys returns every key, in the order in which their facts become known.
func Keys() []Key {
	all := make([]Key, 0, keyCount-1)
	for k := KeySource; int(k) < keyCount; k++ {
		all = append(all, k)
	}
	return all
}

// transient reports whether the fact is another one with every record.
func (k Key) transient() bool { return keys[k].step == stepRecords }

// Bool reports whether the key's values are true and false.
func (k Key) Bool() bool {
	switch k {
	case KeyECH, KeyEarlyData, KeyFallback, KeyCertExpired, KeyCertSelfSigned, KeyRenegotiates:
		return true
	}
	return false
}
