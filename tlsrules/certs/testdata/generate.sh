#!/bin/sh
# Makes the certificates of this folder with openssl and certtool. They are
# committed: keys and signatures differ with every run.
set -eu
cd "$(dirname "$0")"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

san='subjectAltName=DNS:api.example,DNS:*.api.example,IP:192.0.2.1,IP:2001:db8::1,URI:https://api.example/a,email:a@api.example,RID:1.2.3.4,otherName:1.3.6.1.4.1.311.20.2.3;UTF8:upn@api.example,dirName:dir'
cat > "$tmp/cnf" <<C
oid_section = oids
[oids]
odd = 1.3.6.1.4.1.55555.1
[req]
distinguished_name = dn
prompt = no
[dn]
[dir]
C = CH
CN = dir name
C

# self NAME SUBJECT KEY-OPTIONS... -- REQ-OPTIONS...
self() {
	name=$1 subject=$2
	shift 2
	key=
	while [ "$1" != -- ]; do key="$key $1"; shift; done
	shift
	openssl genpkey $key -out "$tmp/key" 2>/dev/null
	openssl req -config "$tmp/cnf" -utf8 -new -x509 -key "$tmp/key" -subj "$subject" -days 3650 "$@" -outform DER -out "$name.der"
}

rsa='-algorithm RSA -pkeyopt rsa_keygen_bits:'
ec='-algorithm EC -pkeyopt ec_paramgen_curve:'
self rsa_2048_all_names '/C=US/ST=Te, xas/L=Hüt/O=Example, Inc./OU=a=b/CN=first/CN=api.example/emailAddress=a@b.example/serialNumber=7/odd=value' ${rsa}2048 -- -addext "$san" -set_serial 0x8001f0
self rsa_512_md5 '/CN=tiny' ${rsa}512 -- -md5
self rsa_1024_sha1 '/CN=small' ${rsa}1024 -- -sha1
self rsa_pss_2048 '/CN=pss' -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 --
self rsa_signed_pss '/CN=signed pss' ${rsa}2048 -- -sigopt rsa_padding_mode:pss
self ec_p256 '/C=DE/O=A \+ O=B/CN=p256' ${ec}P-256 -- -addext "$san"
self ec_p521 '/CN=p521' ${ec}P-521 -- -sha512
self ec_secp256k1 '/CN=k1' ${ec}secp256k1 --
self ec_brainpool '/CN=brainpool' ${ec}brainpoolP320r1 --
self ec_sect233 '/CN=sect' ${ec}sect233k1 --
self ec_explicit '/CN=explicit' ${ec}P-256 -pkeyopt ec_param_enc:explicit --
self ec_explicit_two '/CN=explicit two' ${ec}sect283r1 -pkeyopt ec_param_enc:explicit --
self ec_sm2 '/CN=sm2' ${ec}SM2 -- -sm3
self ed25519 '/CN=ed25519' -algorithm ED25519 --
self ed448 '/CN=ed448' -algorithm ED448 --
self negative_serial '/CN=negative' ${ec}P-256 -- -set_serial -0x1234
self multi_valued '/C=US/O=A+OU=B/CN=multi+UID=u1' ${ec}P-256 -- -multivalue-rdn
self no_subject '/' ${ec}P-256 -- -addext 'subjectAltName=critical,DNS:only.example'
self far_future '/CN=future' ${ec}P-256 -- -days 99999

openssl genpkey -genparam -algorithm DSA -pkeyopt dsa_paramgen_bits:1024 -out "$tmp/params" 2>/dev/null
self dsa_1024 '/CN=dsa' -paramfile "$tmp/params" --

# A CA and what it issued: version 1, keys that cannot sign, and the chain.
openssl genpkey ${ec}P-256 -out "$tmp/ca.key"
openssl req -config "$tmp/cnf" -new -x509 -key "$tmp/ca.key" -subj '/O=Example/CN=Example CA' -days 3650 -outform DER -out ca.der
openssl x509 -inform DER -in ca.der -out "$tmp/ca.pem"
issue() { # NAME PUBKEY [X509-OPTIONS...]
	name=$1 pub=$2
	shift 2
	openssl genpkey ${ec}P-256 -out "$tmp/key"
	openssl req -config "$tmp/cnf" -new -key "$tmp/key" -subj "/CN=$name" -out "$tmp/req"
	openssl x509 -req -in "$tmp/req" -CA "$tmp/ca.pem" -CAkey "$tmp/ca.key" -set_serial 10 -days 3650 -force_pubkey "$pub" "$@" -outform DER -out "$name.der" 2>/dev/null
}
for algorithm in X25519 X448; do
	openssl genpkey -algorithm $algorithm | openssl pkey -pubout -out "$tmp/pub"
	issue "issued_$(echo $algorithm | tr A-Z a-z)" "$tmp/pub"
done
openssl genpkey -algorithm DHX -pkeyopt group:dh_2048_256 | openssl pkey -pubout -out "$tmp/pub"
issue issued_dh "$tmp/pub"
openssl genpkey ${rsa}4096 2>/dev/null | openssl pkey -pubout -out "$tmp/pub"
issue issued_rsa_4096_v1 "$tmp/pub"

# certtool knows others.
certtool_self() { # NAME KEY-TYPE
	certtool --generate-privkey --key-type "$2" --outfile "$tmp/key" 2>/dev/null >/dev/null
	printf 'organization = "GnuTLS"\ncountry = GR\ncn = "%s"\nserial = 0x0a0b\nexpiration_days = 3650\ndns_name = "%s.example"\nca\nsigning_key\n' "$1" "$1" > "$tmp/template"
	certtool --generate-self-signed --load-privkey "$tmp/key" --template "$tmp/template" --outder --outfile "$1.der" 2>/dev/null
}
certtool_self gnutls_gost_256 gost12-256
certtool_self gnutls_gost_512 gost12-512
certtool_self gnutls_ecdsa ecdsa
certtool_self gnutls_rsa rsa
