#!/bin/sh
# Makes certificates.pcap with openssl and GnuTLS, in a network namespace of its
# own: unshare -n -r sh certificates.sh
set -eu
out=$(cd "$(dirname "$0")" && pwd)/certificates.pcap
cd "$(mktemp -d)"
ip link set lo up
ip addr add 198.18.0.1/32 dev lo

cat > cnf <<C
[req]
distinguished_name = dn
prompt = no
[dn]
[ca]
basicConstraints = critical,CA:true
subjectKeyIdentifier = hash
[leaf]
subjectAltName = DNS:api.bank.example,DNS:*.pay.bank.example,IP:198.18.0.1
authorityKeyIdentifier = keyid
C
key() { openssl genpkey "$@" 2>/dev/null; }
issue() { # NAME SUBJECT SECTION CA
	openssl req -config cnf -new -key "$1.key" -subj "$2" |
		openssl x509 -req -CA "$4.pem" -CAkey "$4.key" -set_serial 0x0a0b -days 3650 -extfile cnf -extensions "$3" -out "$1.pem" 2>/dev/null
}
key -algorithm RSA -pkeyopt rsa_keygen_bits:2048 > root.key
openssl req -config cnf -new -x509 -key root.key -subj '/C=US/O=Bank, Inc./CN=Bank Root' -days 3650 -extensions ca -out root.pem
key -algorithm RSA -pkeyopt rsa_keygen_bits:4096 > between.key
issue between '/C=US/O=Bank, Inc./CN=Bank CA' ca root
key -algorithm RSA -pkeyopt rsa_keygen_bits:2048 > leaf.key
issue leaf '/C=US/O=Bank, Inc./CN=api.bank.example' leaf between
cat leaf.pem between.pem root.pem > chain.pem
key -algorithm EC -pkeyopt ec_paramgen_curve:P-256 > client.key
issue client '/CN=employee' leaf between
key -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1 > odd.key
openssl req -config cnf -new -x509 -key odd.key -subj '/CN=odd.example' -days 3650 -set_serial -7 -out odd.pem
openssl dhparam 1024 > dh.pem 2>/dev/null
openssl pkey -in leaf.key -pubout -out leaf.pub

tcpdump -i lo -U -w "$out" tcp 2> tcpdump.log &
capture=$!
sleep 1
pids=
serve() { # PORT OPTIONS...
	port=$1
	shift
	openssl s_server -accept "198.18.0.1:$port" -quiet "$@" > /dev/null 2>&1 &
	pids="$pids $!"
}
low=ALL:COMPLEMENTOFALL@SECLEVEL=0
serve 443 -cert leaf.pem -key leaf.key -cert_chain chain.pem -no_tls1_3 -Verify 1
serve 444 -cert leaf.pem -key leaf.key -no_tls1_3 -dhparam dh.pem -cipher DHE-RSA-AES128-GCM-SHA256:@SECLEVEL=0
serve 445 -nocert -no_tls1_3 -cipher "$low"
serve 446 -nocert -no_tls1_3 -cipher "$low" -psk 0123
serve 447 -cert odd.pem -key odd.key -no_tls1_3 -cipher "$low"
serve 448 -cert leaf.pem -key leaf.key
gnutls-serv --port 449 --quiet --echo --priority NORMAL:-VERS-ALL:+VERS-TLS1.2:-CTYPE-ALL:+CTYPE-SRV-RAWPK:+CTYPE-CLI-X509 \
	--rawpkfile leaf.pub --rawpkkeyfile leaf.key > /dev/null 2>&1 &
pids="$pids $!"
sleep 1
dial() { # PORT OPTIONS...
	port=$1
	shift
	{ sleep 0.3; echo Q; } | timeout 5 openssl s_client -connect "198.18.0.1:$port" -servername api.bank.example "$@" > /dev/null 2>&1 || true
}
dial 443 -cert client.pem -key client.key -sess_out session
dial 443 -cert client.pem -key client.key -sess_in session
dial 444 -cipher "$low"
dial 445 -cipher ADH-AES128-SHA256:@SECLEVEL=0
dial 446 -cipher PSK-AES128-CBC-SHA256:@SECLEVEL=0 -psk 0123
dial 447 -cipher "$low" -curves P-256:secp256k1
dial 448
{ sleep 0.5; } | timeout 5 gnutls-cli --port 449 --insecure --no-ca-verification --priority NORMAL:-VERS-ALL:+VERS-TLS1.2:-CTYPE-ALL:+CTYPE-SRV-RAWPK:+CTYPE-CLI-X509 198.18.0.1 > /dev/null 2>&1 || true
sleep 1
kill $pids $capture
