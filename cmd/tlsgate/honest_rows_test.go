package main

import (
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
	"tlsgate/nfq"
)

// Clients and servers that many rows have.
var (
	honestGo      = goHonest{}.client("go")
	honestGo12    = goHonest{max: tls.VersionTLS12}.client("go, TLS 1.2")
	honestCurl    = curlHonestClient("curl")
	honestGnuTLS  = gnutlsHonestClient("gnutls", "NORMAL")
	honestGoServe = goHonestServer("go", &tls.Config{})
)

// sysctls is a network whose hosts have these kernel parameters: pairs of name and
// value, names from behind "net.ipv4.".
func sysctls(o lab.Options, pairs ...string) honestNetwork {
	o.Sysctls = map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		o.Sysctls["net.ipv4."+pairs[i]] = pairs[i+1]
	}
	return honestNetwork{Options: o}
}

var (
	wireLike = lab.Options{NoOffload: true}
	goAndWeb = []honestClient{honestGo, honestGo12, honestCurl}
	goAndNgx = []honestServer{honestGoServe, nginxHonest}
	onlyGo   = []honestServer{honestGoServe}
)

// honestRows is the table of docs/EVASION.md.
var honestRows = []honestRow{
	{title: "every client and server", clients: []honestClient{
		honestGo, honestCurl, opensslHonestClient("openssl"), honestGnuTLS, nssHonestClient("nss"), nginxHonestClient, haproxyHonestClient,
	}, servers: []honestServer{honestGoServe, nginxHonest, haproxyHonest, opensslHonest, gnutlsHonest, nssHonest}, bytes: 200_000},
	{title: "TLS 1.0 to 1.3", clients: []honestClient{
		goHonest{max: tls.VersionTLS10}.client("go, TLS 1.0"), goHonest{max: tls.VersionTLS11}.client("go, TLS 1.1"), honestGo12,
		goHonest{max: tls.VersionTLS13}.client("go, TLS 1.3"),
		opensslHonestClient("openssl, TLS 1.0", "-tls1", "-cipher", "ECDHE-RSA-AES128-SHA:@SECLEVEL=0"),
		opensslHonestClient("openssl, TLS 1.1", "-tls1_1", "-cipher", "ECDHE-RSA-AES256-SHA:@SECLEVEL=0"),
		opensslHonestClient("openssl, TLS 1.2", "-tls1_2"),
		gnutlsHonestClient("gnutls, TLS 1.0", "NORMAL:-VERS-ALL:+VERS-TLS1.0"), gnutlsHonestClient("gnutls, TLS 1.2", "NORMAL:-VERS-ALL:+VERS-TLS1.2"),
		nssHonestClient("nss, TLS 1.2", "-V", "tls1.2:tls1.2"), nssHonestClient("nss, TLS 1.3", "-V", "tls1.3:tls1.3"),
	}, servers: []honestServer{honestGoServe, opensslHonest}, bytes: 200_000},
	{title: "client certificates", clients: []honestClient{
		goHonest{cert: true}.client("go"), goHonest{cert: true, max: tls.VersionTLS12}.client("go, TLS 1.2"),
		curlHonestClient("curl", "--cert", "DIR/rsa.pem", "--key", "DIR/rsa.key"),
		curlHonestClient("curl, TLS 1.2", "--cert", "DIR/rsa.pem", "--key", "DIR/rsa.key", "--tls-max", "1.2"),
	}, servers: []honestServer{goHonestServer("go", &tls.Config{ClientAuth: tls.RequireAnyClientCert}), nginxHonest}},
	{title: "HelloRetryRequest", clients: []honestClient{
		goHonest{curves: []tls.CurveID{tls.X25519MLKEM768, tls.X25519, tls.CurveP384}}.client("go"), opensslHonestClient("openssl", "-groups", "X25519:P-384"), honestGnuTLS,
	}, servers: []honestServer{goHonestServer("go", &tls.Config{CurvePreferences: []tls.CurveID{tls.CurveP384}})}},
	{title: "post-quantum key share over small packets", network: honestNetwork{Options: lab.Options{MTU: 1280, NoOffload: true}},
		clients: []honestClient{goHonest{curves: []tls.CurveID{tls.X25519MLKEM768}}.client("go")},
		servers: []honestServer{goHonestServer("go", &tls.Config{CurvePreferences: []tls.CurveID{tls.X25519MLKEM768}})}},
	{title: "session resumption", clients: []honestClient{
		goHonest{resumes: true}.client("go"), goHonest{resumes: true, max: tls.VersionTLS12}.client("go, TLS 1.2"),
	}, servers: []honestServer{honestGoServe, nginxHonest, haproxyHonest}},
	{title: "0-RTT", clients: []honestClient{earlyHonest}, servers: []honestServer{nginxHonest, haproxyHonest}, bytes: 12_000},

	{title: "many small records", clients: []honestClient{
		goHonest{piece: 37, header: "Piece: 37"}.client("go"), goHonest{piece: 37, header: "Piece: 37", max: tls.VersionTLS12}.client("go, TLS 1.2"),
	}, servers: onlyGo, bytes: 100_000},
	{title: "half closed", clients: []honestClient{
		goHonest{half: true, header: "Until: end"}.client("go"), goHonest{half: true, header: "Until: end", max: tls.VersionTLS12}.client("go, TLS 1.2"),
	}, servers: onlyGo},

	{title: "loss", network: honestNetwork{Options: lab.Options{Loss: 0.01}, judge: happened("TCPOFOQueue")}, clients: goAndWeb, servers: goAndNgx, bytes: 300_000},
	{title: "loss, packets as on a wire", network: honestNetwork{Options: lab.Options{Loss: 0.005, NoOffload: true}}, clients: goAndWeb, servers: onlyGo, bytes: 300_000},
	{title: "loss without SACK", network: sysctls(lab.Options{Loss: 0.005, NoOffload: true}, "tcp_sack", "0"), clients: goAndWeb, servers: onlyGo, bytes: 200_000},
	{title: "reordering", network: honestNetwork{set: reorder, judge: happened("TCPOFOQueue")}, clients: goAndWeb, servers: goAndNgx},
	{title: "reordering, packets as on a wire", network: honestNetwork{Options: wireLike, set: reorder, judge: happened("TCPOFOQueue")}, clients: goAndWeb, servers: onlyGo},
	{title: "every packet twice", network: honestNetwork{Options: wireLike, set: twice, judge: happened("TCPDSACKOldSent")}, clients: goAndWeb, servers: onlyGo},

	{title: "MTU 296", network: honestNetwork{Options: lab.Options{NoOffload: true}, set: narrow(296), ipv4Only: true}, clients: goAndWeb, servers: goAndNgx},
	{title: "MTU 576", network: honestNetwork{set: narrow(576), ipv4Only: true}, clients: goAndWeb, servers: goAndNgx},
	{title: "MTU 1280", network: honestNetwork{Options: lab.Options{MTU: 1280}}, clients: goAndWeb, servers: goAndNgx},
	{title: "MTU 9000", network: honestNetwork{Options: lab.Options{MTU: 9000}}, clients: goAndWeb, servers: goAndNgx, bytes: 2 << 20},
	{title: "MTU 9000, packets as on a wire", network: honestNetwork{Options: lab.Options{MTU: 9000, NoOffload: true}}, clients: goAndWeb, servers: onlyGo, bytes: 2 << 20},
	{title: "a narrow link behind the gateway", network: honestNetwork{set: narrowBehind}, clients: goAndWeb, servers: onlyGo},
	{title: "GRO on", network: honestNetwork{Options: lab.Options{ReceiveOffload: true}}, clients: goAndWeb, servers: goAndNgx, bytes: 2 << 20},
	{title: "GRO on, GSO off", network: honestNetwork{Options: lab.Options{ReceiveOffload: true, NoOffload: true}}, clients: goAndWeb, servers: goAndNgx, bytes: 2 << 20},
	{title: "GRO and GSO off", network: honestNetwork{Options: wireLike}, clients: goAndWeb, servers: goAndNgx, bytes: 1 << 20},

	{title: "MTU 65535, packets as on a wire", network: honestNetwork{Options: lab.Options{MTU: 65535, NoOffload: true}}, clients: goAndWeb, servers: goAndNgx, bytes: 4 << 20},
	{title: "no window scaling", network: sysctls(lab.Options{}, "tcp_window_scaling", "0"), clients: goAndWeb, servers: goAndNgx},
	{title: "tiny windows", network: sysctls(lab.Options{}, "tcp_rmem", "2304 2304 2304", "tcp_wmem", "4608 4608 4608"), clients: goAndWeb, servers: onlyGo, bytes: 60_000},
	{title: "huge windows", network: sysctls(lab.Options{}, "tcp_rmem", "4096 33554432 33554432", "tcp_wmem", "4096 33554432 33554432"), clients: goAndWeb, servers: onlyGo, bytes: 4 << 20},
	{title: "no timestamps", network: sysctls(lab.Options{}, "tcp_timestamps", "0"), clients: goAndWeb, servers: goAndNgx},
	{title: "no SACK", network: sysctls(lab.Options{}, "tcp_sack", "0"), clients: goAndWeb, servers: goAndNgx},
	{title: "no options at all", network: sysctls(wireLike, "tcp_sack", "0", "tcp_timestamps", "0", "tcp_window_scaling", "0"), clients: goAndWeb, servers: onlyGo},
	{title: "ECN", network: withECN(), clients: goAndWeb, servers: goAndNgx},
	{title: "TCP fast open", network: fastOpen(), clients: goAndWeb[:2], servers: onlyGo},
	{title: "a client that asks for MPTCP", clients: []honestClient{
		goHonest{mptcp: true}.client("go"), goHonest{mptcp: true, max: tls.VersionTLS12}.client("go, TLS 1.2"),
	}, servers: onlyGo},
	{title: "congestion controls that differ", network: honestNetwork{Options: lab.Options{Loss: 0.002}, set: congestionControls}, clients: goAndWeb, servers: onlyGo, bytes: 2 << 20},
}

// narrow gives every link an MTU, which may be too small for IPv6.
func narrow(mtu int) func(t *testing.T, l *lab.Lab) {
	return func(t *testing.T, l *lab.Lab) {
		labtest.Program(t, "ip")
		for link, h := range map[string]*lab.Host{lab.GatewayClientLink: l.Gateway, lab.GatewayServerLink: l.Gateway, "c": l.Client, "s": l.Server} {
			if h != l.Gateway {
				link = lab.HostLink
			}
			output(t, h, "ip", "link", "set", "dev", link, "mtu", strconv.Itoa(mtu))
		}
	}
}

// narrowBehind has clients learn the MTU of the path from the gateway (RFC 1191, RFC
// 8201): the server's side of that link says nothing of it.
func narrowBehind(t *testing.T, l *lab.Lab) {
	labtest.Program(t, "ip")
	output(t, l.Gateway, "ip", "link", "set", "dev", lab.GatewayServerLink, "mtu", "1280")
}

// twice sends every packet of client and server a second time.
func twice(t *testing.T, l *lab.Lab) {
	for _, h := range []*lab.Host{l.Client, l.Server} {
		for program, router := range map[string]string{"iptables": "198.18.1.1", "ip6tables": "2001:db8:1::1"} {
			if h == l.Server {
				router = strings.Replace(strings.Replace(router, "18.1.1", "18.2.1", 1), ":1::", ":2::", 1)
			}
			output(t, h, program, "-w", "5", "-t", "mangle", "-A", "OUTPUT", "-o", lab.HostLink, "-p", "tcp", "-j", "TEE", "--gateway", router)
		}
	}
}

// reorderWindow is how many packets are waited for, and reorderTime how long, before
// they are sent in another order.
const (
	reorderWindow = 6
	reorderTime   = 2 * time.Millisecond
)

// reorder sends the packets of client and server in another order.
func reorder(t *testing.T, l *lab.Lab) {
	for i, h := range []*lab.Host{l.Client, l.Server} {
		for _, program := range []string{"iptables", "ip6tables"} {
			output(t, h, program, "-w", "5", "-t", "mangle", "-A", "OUTPUT", "-o", lab.HostLink, "-p", "tcp", "-j", "NFQUEUE", "--queue-num", "7")
		}
		var q *nfq.Queue
		if err := h.Run(func() (err error) {
			q, err = nfq.Open(nfq.Config{Number: 7})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			shuffleQueue(q, rand.New(rand.NewPCG(uint64(i), 1)))
		}()
		t.Cleanup(func() {
			q.Close()
			<-done
		})
	}
}

func shuffleQueue(q *nfq.Queue, r *rand.Rand) {
	var waiting []uint32
	batch := make([]nfq.Packet, reorderWindow)
	for {
		n, err := q.Recv(batch, reorderTime)
		if err != nil {
			return
		}
		for _, p := range batch[:n] {
			waiting = append(waiting, p.ID)
		}
		if n > 0 && len(waiting) < reorderWindow {
			continue
		}
		r.Shuffle(len(waiting), func(i, j int) { waiting[i], waiting[j] = waiting[j], waiting[i] })
		for _, id := range waiting {
			q.Verdict(id, nfq.Accept, 0, nil)
		}
		waiting = waiting[:0]
		if q.Flush() != nil {
			return
		}
	}
}

func withECN() honestNetwork {
	n := sysctls(lab.Options{}, "tcp_ecn", "1")
	n.judge = happened("InECT0Pkts")
	return n
}

// fastOpen is TCP fast open on both ends (RFC 7413): what comes after the first
// connection brings its hello on the SYN.
func fastOpen() honestNetwork {
	n := sysctls(lab.Options{}, "tcp_fastopen", "3")
	n.socket = func(_, address string, c syscall.RawConn) (err error) {
		option, value := unix.TCP_FASTOPEN_CONNECT, 1
		if strings.HasPrefix(address, ":") || strings.HasPrefix(address, "[::]") || strings.HasPrefix(address, "0.0.0.0") {
			option, value = unix.TCP_FASTOPEN, 16
		}
		return errors.Join(c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, option, value) }), err)
	}
	n.judge = happened("TCPFastOpenActive")
	return n
}

// happened judges a row whose network is to be seen in a counter of the client's
// kernel.
func happened(name string) func(t *testing.T, l *lab.Lab) {
	return func(t *testing.T, l *lab.Lab) {
		var b []byte
		if err := l.Client.Run(func() (err error) {
			b, err = os.ReadFile("/proc/thread-self/net/netstat")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(b), "\n")
		for i := 0; i+1 < len(lines); i += 2 { // names, then values
			if k := slices.Index(strings.Fields(lines[i]), name); k >= 0 {
				if strings.Fields(lines[i+1])[k] == "0" {
					t.Errorf("the network was not what the row says: the client counts no %s", name)
				}
				return
			}
		}
		t.Errorf("no counter %s", name)
	}
}

// congestionControls gives the client and the server different ones, of those that a
// namespace may choose.
func congestionControls(t *testing.T, l *lab.Lab) {
	allowed := strings.Fields(output(t, l.Client, "cat", "/proc/sys/net/ipv4/tcp_allowed_congestion_control"))
	for i, h := range []*lab.Host{l.Client, l.Server} {
		if err := h.Sysctl("net.ipv4.tcp_congestion_control", allowed[i%len(allowed)]); err != nil {
			t.Fatal(err)
		}
	}
}
