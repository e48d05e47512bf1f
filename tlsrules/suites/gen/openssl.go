package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// algorithm names, by column, what openssl ciphers -V calls an algorithm as the
// package suites calls it.
var algorithm = map[string]map[string]string{
	"kx": {
		"RSA": "kxRSA", "DH": "kxDHE", "DH/RSA": "kxDHr", "DH/DSS": "kxDHd", "ECDH": "kxECDHE",
		"ECDH/RSA": "kxECDHr", "ECDH/ECDSA": "kxECDHe", "PSK": "kxPSK", "RSAPSK": "kxRSAPSK",
		"DHEPSK": "kxDHEPSK", "ECDHEPSK": "kxECDHEPSK", "SRP": "kxSRP",
	},
	"auth": {
		"RSA": "authRSA", "DSS": "authDSS", "ECDSA": "authECDSA", "DH": "authDH", "ECDH": "authECDH",
		"PSK": "authPSK", "SRP": "authSRP", "None": "authNone",
	},
	"enc": {
		"None": "encNone", "AES(128)": "encAES128", "AES(256)": "encAES256",
		"AESGCM(128)": "encAES128GCM", "AESGCM(256)": "encAES256GCM",
		"AESCCM(128)": "encAES128CCM", "AESCCM(256)": "encAES256CCM",
		"AESCCM8(128)": "encAES128CCM8", "AESCCM8(256)": "encAES256CCM8",
		"ARIAGCM(128)": "encARIA128GCM", "ARIAGCM(256)": "encARIA256GCM",
		"Camellia(128)": "encCamellia128", "Camellia(256)": "encCamellia256",
		"CHACHA20/POLY1305(256)": "encChaCha20", "DES(56)": "encDES", "3DES(168)": "enc3DES",
		"RC2(128)": "encRC2", "RC4(128)": "encRC4", "IDEA(128)": "encIDEA", "SEED(128)": "encSEED",
	},
	"mac": {"MD5": "macMD5", "SHA1": "macSHA1", "SHA256": "macSHA256", "SHA384": "macSHA384", "AEAD": "macAEAD"},
	"version": {
		"SSLv2": "versionSSLv2", "SSLv3": "versionSSLv3", "TLSv1": "versionTLSv1", "TLSv1.2": "versionTLSv12",
	},
	"strength": {
		"none": "strengthNone", "low": "strengthLow", "medium": "strengthMedium", "high": "strengthHigh",
		"export40": "strengthExport40", "export56": "strengthExport56", "fips": "strengthFIPS",
	},
	"extra": {"notdefault": "extraNotDefault", "export": "extraExport", "notexport": "extraNotExport"},
}

// columns are those of a selector, in its order.
var columns = []string{"kx", "auth", "enc", "mac", "version", "strength", "extra"}

// set writes a column's algorithms as Go; "!X" is all but X.
func set(column, names string) (string, error) {
	var terms []string
	for _, name := range strings.Fields(names) {
		name, not := strings.CutPrefix(name, "!")
		constant, ok := algorithm[column][name]
		if !ok {
			return "", fmt.Errorf("no %s is called %q", column, name)
		}
		if not {
			constant = "^" + constant
		}
		terms = append(terms, constant)
	}
	return strings.Join(terms, "|"), nil
}

// selector writes a row's algorithms as Go, those it has. Strength and extra
// share the column flags.
func selector(r row) (string, error) {
	for _, flag := range strings.Fields(r["flags"]) {
		column := "extra"
		if _, ok := algorithm["strength"][flag]; ok {
			column = "strength"
		}
		r[column] += " " + flag
	}
	var fields []string
	for _, column := range columns {
		value, err := set(column, r[column])
		if err != nil {
			return "", err
		}
		if value != "" {
			fields = append(fields, column+": "+value)
		}
	}
	r["strength"], r["extra"] = "", ""
	return strings.Join(fields, ", "), nil
}

// writeOpenSSL writes the suites of each release and the words it has for them.
func writeOpenSSL(b *bytes.Buffer, dir string) error {
	named, err := byName(filepath.Join(dir, "suites.csv"))
	if err != nil {
		return err
	}
	words, err := rows(filepath.Join(dir, "openssl-words.csv"))
	if err != nil {
		return err
	}
	for _, release := range []string{"3.0", "3.5", "1.1.1", "1.0.2", "1.0.2d"} {
		suffix := strings.ReplaceAll(release, ".", "")
		if err := writeCiphers(b, filepath.Join(dir, "openssl-"+release+".csv"), "ciphers"+suffix, named); err != nil {
			return err
		}
		if err := writeWords(b, words, release, "words"+suffix); err != nil {
			return err
		}
	}
	b.WriteString("// otherWords are what a release of OpenSSL knows, but none of these.\nvar otherWords = []string{\n")
	for _, w := range words {
		if w["releases"] == "" {
			fmt.Fprintf(b, "%q,\n", w["word"])
		}
	}
	b.WriteString("}\n")
	return nil
}

func writeCiphers(b *bytes.Buffer, path, variable string, named map[string]uint16) error {
	rows, codes, err := read(path)
	if err != nil {
		return err
	}
	if len(rows) > 256 {
		return fmt.Errorf("%s: %d suites, and places have one byte", path, len(rows))
	}
	old := strings.Contains(path, "openssl-1.0.")
	fmt.Fprintf(b, "var %s = []cipher{\n", variable)
	for i, r := range rows {
		if named[r["name"]] != codes[i] {
			return fmt.Errorf("%s:%d: %s is not 0x%04X", path, i+2, r["name"], codes[i])
		}
		if r["enc"] == "None" {
			r["flags"] += " none"
		}
		if old && !strings.Contains(" "+r["flags"]+" ", " export ") {
			r["flags"] += " notexport"
		}
		fields, err := selector(r)
		if err != nil {
			return fmt.Errorf("%s:%d: %w", path, i+2, err)
		}
		fmt.Fprintf(b, "{%q, selector{code: 0x%04X, %s}, %s},\n", r["name"], codes[i], fields, r["bits"])
	}
	b.WriteString("}\n\n")
	return nil
}

func writeWords(b *bytes.Buffer, words []row, release, variable string) error {
	fmt.Fprintf(b, "var %s = []word{\n", variable)
	last := ""
	for _, w := range words {
		if !slices.Contains(strings.Fields(w["releases"]), release) {
			continue
		}
		if w["word"] <= last {
			return fmt.Errorf("openssl-words.csv: %s in OpenSSL %s out of order", w["word"], release)
		}
		last = w["word"]
		fields, err := selector(w)
		if err != nil {
			return fmt.Errorf("openssl-words.csv: %s: %w", last, err)
		}
		fmt.Fprintf(b, "{%q, selector{%s}},\n", last, fields)
	}
	b.WriteString("}\n\n")
	return nil
}
