package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Ports of clients, which are told theirs. Others have those behind.
const (
	firstSoakPort = 10000
	soakPorts     = 40000
)

// transfer is one connection of a soak's client, and what came of it.
type transfer struct {
	id      string // the first label of its server name
	class   *soakClass
	client  string
	version uint16
	resumes bool // an earlier session, if there is one
	to      netip.AddrPort
	up      int // bytes
	down    int
	lasts   time.Duration // of those that say a little now and then

	from         netip.AddrPort // if the client can be told
	began, ended time.Time
	err          error // nil: all was said and heard, bit by bit
	heard        int   // bytes of the server's application
}

func (x *transfer) String() string {
	return fmt.Sprintf("%s, %s, %s, %s to %s, %d bytes up, %d down, lasts %s, resumes %t, %s to %s, heard %d: %v", x.name(), x.client,
		tls.VersionName(x.version), x.from, x.to, x.up, x.down, x.lasts, x.resumes, x.began.Format("05.000"), x.ended.Format("05.000"), x.heard, x.err)
}

func (x *transfer) name() string { return x.id + "." + x.class.name + ".lab.example" }

// soakClient is one goroutine that makes transfers one after the other.
type soakClient struct {
	*soak
	rng      *rand.Rand
	dir      string // for openssl's sessions
	sessions [2]lastSession
}

// lastSession is a cache of the latest session, whatever it was for.
type lastSession struct {
	mu      sync.Mutex
	session *tls.ClientSessionState
}

func (c *lastSession) Get(string) (*tls.ClientSessionState, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session, c.session != nil
}

func (c *lastSession) Put(_ string, s *tls.ClientSessionState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s != nil {
		c.session = s
	}
}

// soakClients are the programs, and the most they transfer.
var soakClients = []struct {
	name    string
	largest int
	run     func(c *soakClient, ctx context.Context, x *transfer) (heard string, err error)
}{
	{"openssl", 4 << 20, (*soakClient).openssl},
	{"curl", 8 << 20, (*soakClient).curl},
	{"gnutls-cli", 32 << 10, (*soakClient).gnutls},
	{"Go", largest, (*soakClient).golang},
	{"Go, now and then", 4 << 10, (*soakClient).nowAndThen},
}

// next makes up a transfer.
func (c *soakClient) next() *transfer {
	x := &transfer{id: fmt.Sprintf("t%d", c.count.Add(1)), class: &soakClasses[c.rng.IntN(len(soakClasses))], version: tls.VersionTLS12}
	if c.rng.IntN(2) == 0 && !x.class.tls12 {
		x.version = tls.VersionTLS13
	}
	x.resumes = c.rng.IntN(3) == 0
	address := c.l.Server.IPv4
	if c.l.Server.IPv6.IsValid() && c.rng.IntN(2) == 0 {
		address = c.l.Server.IPv6
	}
	x.to = netip.AddrPortFrom(address, x.class.port)
	// A port is chosen first, so that whatever is told of it can be found.
	own := c.l.Client.IPv4
	if address.Is6() {
		own = c.l.Client.IPv6
	}
	x.from = netip.AddrPortFrom(own, uint16(firstSoakPort+c.ports.Add(1)%soakPorts))
	if x.lasts = time.Duration(c.rng.Int64N(int64(c.longest))); c.rng.IntN(4) > 0 {
		x.lasts /= 8
	}
	return x
}

// size is mostly small, and sometimes as large as it may be.
func (c *soakClient) size(most int) int {
	switch c.rng.IntN(8) {
	case 0:
		return c.rng.IntN(most)
	case 1, 2:
		return c.rng.IntN(min(most, 256<<10))
	}
	return c.rng.IntN(4 << 10)
}

// transfer makes one.
func (c *soakClient) transfer() *transfer {
	x := c.next()
	with := soakClients[c.rng.IntN(len(soakClients))]
	if x.class.ours {
		with = soakClients[3+c.rng.IntN(2)]
	}
	x.client, x.up, x.down = with.name, c.size(with.largest), c.size(with.largest)
	ctx, cancel := context.WithTimeout(context.Background(), soakTime)
	defer cancel()
	x.began = time.Now()
	heard, err := with.run(c, ctx, x)
	x.ended = time.Now()
	x.heard, x.err = len(heard), err
	return x
}

// program runs one on the client's host.
func (c *soakClient) program(ctx context.Context, input, hear, name string, args ...string) (string, error) {
	cmd := c.l.Client.Command(ctx, name, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	stdin, err := cmd.StdinPipe() // open until it ends
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	go io.WriteString(stdin, input)
	switch err := cmd.Wait(); {
	case err != nil:
		return out.String(), fmt.Errorf("%w: %s", err, clip(errs.String()))
	case out.String() != hear:
		return out.String(), fmt.Errorf("%d bytes came, not the %d: %s", out.Len(), len(hear), clip(errs.String()))
	}
	return out.String(), nil
}

func (c *soakClient) openssl(ctx context.Context, x *transfer) (string, error) {
	args := []string{"s_client", "-quiet", "-connect", x.to.String(), "-bind", x.from.String(), "-servername", x.name()}
	session := filepath.Join(c.dir, "13")
	if x.version == tls.VersionTLS13 {
		args = append(args, "-tls1_3")
	} else {
		session = filepath.Join(c.dir, "12")
		args = append(args, "-tls1_2", "-cipher", x.class.suite("ECDHE-RSA-AES128-GCM-SHA256", "AES128-SHA:@SECLEVEL=0"))
	}
	if x.class.permitted {
		args = append(args, "-sess_out", session)
	}
	if matches, _ := filepath.Glob(session); x.resumes && len(matches) > 0 {
		args = append(args, "-sess_in", session)
	}
	say, hear := soakRequest(x.up, x.down)
	return c.program(ctx, say, hear, "openssl", args...)
}

func (c *soakClient) curl(ctx context.Context, x *transfer) (string, error) {
	args := []string{"-sS", "-k", "-m", fmt.Sprint(soakTime.Seconds()), "--connect-to", fmt.Sprintf("::%s", x.to), "--local-port", fmt.Sprint(x.from.Port())}
	if x.version == tls.VersionTLS13 {
		args = append(args, "--tlsv1.3")
	} else {
		args = append(args, "--tlsv1.2", "--tls-max", "1.2", "--ciphers", x.class.suite("ECDHE-RSA-AES128-GCM-SHA256", "AES128-SHA:@SECLEVEL=0"))
	}
	x.up = 0
	return c.program(ctx, "", soakPattern()[:x.down], "curl", append(args, fmt.Sprintf("https://%s/%d", x.name(), x.down))...)
}

func (c *soakClient) gnutls(ctx context.Context, x *transfer) (string, error) {
	x.from = netip.AddrPort{} // it cannot be told one
	offers := fmt.Sprintf(priority, "ECDHE-RSA", "AES-128-GCM")
	if x.class.tls12 {
		offers = fmt.Sprintf(priority, "RSA", "AES-128-CBC")
	} else if x.version == tls.VersionTLS13 {
		offers = "NORMAL:-VERS-ALL:+VERS-TLS1.3"
	}
	args := []string{"--insecure", "--logfile=/dev/null", "--sni-hostname=" + x.name(), "--priority=" + offers,
		"--port", fmt.Sprint(x.to.Port()), x.to.Addr().String()}
	if x.resumes {
		args = append([]string{"--resume"}, args...)
	}
	say, hear := soakRequest(x.up, x.down)
	return c.program(ctx, say, hear, "gnutls-cli", args...)
}

// connect is a connection of our own, with what the class asks for.
func (c *soakClient) connect(ctx context.Context, x *transfer) (net.Conn, error) {
	var conn net.Conn
	err := c.l.Client.Run(func() (err error) {
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(x.from)}
		d.SetMultipathTCP(false)
		conn, err = d.DialContext(ctx, "tcp", x.to.String())
		return err
	})
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	if x.class.plain {
		return conn, nil
	}
	config := &tls.Config{
		InsecureSkipVerify: true, ServerName: x.name(), MinVersion: x.version, MaxVersion: x.version,
		CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256},
	}
	if x.class.tls12 {
		config.CipherSuites = []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}
	}
	if x.resumes {
		config.ClientSessionCache = &c.sessions[x.version-tls.VersionTLS12]
	}
	t := tls.Client(conn, config)
	if err := t.Handshake(); err != nil {
		conn.Close()
		return nil, err
	}
	return t, nil
}

// golang exchanges bytes in both directions, one after the other.
func (c *soakClient) golang(ctx context.Context, x *transfer) (string, error) {
	conn, err := c.connect(ctx, x)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	say, hear := soakRequest(x.up, x.down)
	_, werr := io.WriteString(conn, say)
	heard, err := io.ReadAll(conn)
	if err = errors.Join(werr, err); err == nil && string(heard) != hear {
		err = fmt.Errorf("heard %d bytes, not the %d that were said", len(heard), len(hear))
	}
	return string(heard), err
}

// nowAndThen says a little every now and then, and wants it back.
func (c *soakClient) nowAndThen(ctx context.Context, x *transfer) (string, error) {
	conn, err := c.connect(ctx, x)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "echo\n"); err != nil {
		return "", err
	}
	var heard strings.Builder
	for until := x.began.Add(x.lasts); ; {
		n := 1 + c.rng.IntN(max(1, x.up))
		from := c.rng.IntN(largest - n)
		say := soakPattern()[from : from+n]
		if _, err := io.WriteString(conn, say); err != nil {
			return heard.String(), err
		}
		b := make([]byte, n)
		got, err := io.ReadFull(conn, b)
		heard.Write(b[:got])
		if err != nil {
			return heard.String(), err
		}
		if string(b) != say {
			return heard.String(), errors.New("heard other bytes than were said")
		}
		if time.Now().After(until) {
			return heard.String(), nil
		}
		time.Sleep(time.Duration(c.rng.IntN(200)) * time.Millisecond)
	}
}
