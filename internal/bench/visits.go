package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"tlsgate/internal/lab"
)

// A kind of visit is a handshake with nginx.
type visitKind struct {
	name    string
	version uint16
	resumed bool
}

var visitKinds = []visitKind{
	{"TLS 1.2", tls.VersionTLS12, false},
	{"TLS 1.2, resumed", tls.VersionTLS12, true},
	{"TLS 1.3", tls.VersionTLS13, false},
	{"TLS 1.3, resumed", tls.VersionTLS13, true},
}

func visitRate(k visitKind) string   { return "connections/s, " + k.name }
func visitCPU(k visitKind) string    { return "CPU µs per connection, " + k.name }
func visitQueued(k visitKind) string { return "packets queued per connection, " + k.name }

const (
	allVisits   = "connections/s, the four kinds in equal parts"
	offeredRate = "connections/s where half of what plain forwarding carries comes"
	offeredCPU  = "CPU µs per connection, half load"
	offered50   = "added µs until a connection's answer is there, half load, p50"
	offered99   = "added µs until a connection's answer is there, half load, p99"
	bareVisit   = "µs until a connection's answer is there, half load, plain forwarding, p50"
	visitMemory = "peak memory, connections"
	visitors    = 16 // at the same time
)

// measureVisits has clients come to nginx, as fast as they are served.
func measureVisits(ctx context.Context, s settings, r *results) error {
	l, err := lab.New(ctx, lab.Options{Sysctls: map[string]string{"net.ipv4.ip_local_port_range": "1024 65000"}})
	if err != nil {
		return err
	}
	defer l.Close()
	stop, err := startNginx(s, l)
	if err != nil {
		return err
	}
	defer stop()
	for n := range s.rounds {
		if s.over(ctx, n) {
			break
		}
		var base time.Duration
		for _, f := range s.turns(rows(), r) {
			if err := visitRow(s, l, f, &base, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// visitRow measures one row. The base is how long a connection takes without a
// firewall, in the same round.
func visitRow(s settings, l *lab.Lab, f firewall, base *time.Duration, r *results) error {
	p, err := f.start(s, l)
	if err != nil {
		return err
	}
	if err := visitAtHalf(s, p, base, r); err != nil {
		return errors.Join(err, p.stop())
	}
	var seconds float64 // for a connection of each kind
	for _, k := range visitKinds {
		cpu := p.cpu()
		before, _ := p.queue()
		made, err := visitFor(l, k, s.visits, 0)
		if err != nil {
			return errors.Join(fmt.Errorf("%s: %s: %w", f.name, k.name, err), p.stop())
		}
		after, _ := p.queue()
		r.add(visitRate(k), f.name, made.rate())
		r.add(visitCPU(k), f.name, (p.cpu()-cpu).Seconds()*1e6/made.number())
		r.add(visitQueued(k), f.name, float64(after.given-before.given)/made.number())
		seconds += 1 / made.rate()
	}
	r.add(allVisits, f.name, float64(len(visitKinds))/seconds)
	r.add(visitMemory, f.name, p.peak())
	return p.stop()
}

// visitAtHalf has connections come at half the rate that plain forwarding carried in
// the rounds so far, TLS 1.3 in full.
func visitAtHalf(s settings, p *process, base *time.Duration, r *results) error {
	k, name := visitKinds[2], p.firewall.name
	rate := r.spread(visitRate(k), none).median / 2
	if rate == 0 { // this is the first row of the first round
		made, err := visitFor(p.lab, k, s.visits, 0)
		if err != nil {
			return err
		}
		rate = made.rate() / 2
	}
	cpu := p.cpu()
	made, err := visitFor(p.lab, k, 2*s.visits, rate)
	if err != nil {
		return err
	}
	r.add(offeredRate, name, made.rate())
	r.add(offeredCPU, name, (p.cpu()-cpu).Seconds()*1e6/made.number())
	if name == none {
		*base = percentile(made.times, 50)
		r.add(bareVisit, name, base.Seconds()*1e6)
	}
	r.add(offered50, name, (percentile(made.times, 50)-*base).Seconds()*1e6)
	r.add(offered99, name, (percentile(made.times, 99)-*base).Seconds()*1e6)
	return nil
}

// visits are connections that were made.
type visits struct {
	took  time.Duration
	times []time.Duration // each one's, from when it was to begin
}

func (v visits) number() float64 { return float64(len(v.times)) }
func (v visits) rate() float64   { return v.number() / v.took.Seconds() }

// visitFor makes connections of a kind for a while, visitors at the same time. They
// come at a rate, or with 0 as fast as they are served.
func visitFor(l *lab.Lab, k visitKind, d time.Duration, rate float64) (made visits, err error) {
	var due atomic.Int64 // how many were
	var start time.Time
	var mu sync.Mutex
	var all sync.WaitGroup
	begin := make(chan struct{})
	var ready sync.WaitGroup
	ready.Add(visitors)
	for range visitors {
		all.Go(func() {
			c := &tls.Config{InsecureSkipVerify: true, ServerName: "server.lab.example", MinVersion: k.version, MaxVersion: k.version}
			if k.resumed {
				c.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			}
			ferr := visit(l, c, false)
			ready.Done()
			<-begin
			var times []time.Duration
			for end := start.Add(d); ferr == nil && time.Now().Before(end); {
				from := time.Now()
				if rate > 0 { // who comes late has waited since then
					from = start.Add(time.Duration(float64(due.Add(1)) / rate * 1e9))
					nap(time.Until(from))
				}
				ferr = visit(l, c, k.resumed)
				times = append(times, time.Since(from))
			}
			mu.Lock()
			made.times, err = append(made.times, times...), errors.Join(err, ferr)
			mu.Unlock()
		})
	}
	ready.Wait()
	start = time.Now()
	close(begin)
	all.Wait()
	made.took = time.Since(start)
	return made, err
}

// visit is a connection with a handshake, a request and its answer.
func visit(l *lab.Lab, c *tls.Config, resumed bool) error {
	raw, err := l.Client.Dial("tcp", netip.AddrPortFrom(l.Server.IPv4, 443).String())
	if err != nil {
		return err
	}
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(patience))
	conn := tls.Client(raw, c)
	if _, err := io.WriteString(conn, "GET /file HTTP/1.0\r\nHost: server.lab.example\r\n\r\n"); err != nil {
		return err
	}
	if n, err := io.Copy(io.Discard, conn); err != nil || n < 1024 {
		return fmt.Errorf("%d bytes: %w", n, err)
	}
	if conn.ConnectionState().DidResume != resumed {
		return fmt.Errorf("resumed: %v", !resumed)
	}
	return nil
}

// startNginx serves a file of 1 kB on port 443.
func startNginx(s settings, l *lab.Lab) (stop func(), err error) {
	dir := filepath.Join(s.dir, "nginx")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	if err := l.WritePEM(dir); err != nil {
		return nil, err
	}
	config := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log stderr error; worker_rlimit_nofile 10000;
events { worker_connections 4096; }
http {
  access_log off; client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
  server {
    listen 443 ssl backlog=4096;
    root %[1]s; ssl_certificate %[1]s/ecdsa.pem; ssl_certificate_key %[1]s/ecdsa.key;
    ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:visits:10m;
  }
}`, dir)
	for name, text := range map[string]string{"nginx.conf": config, "file": string(make([]byte, 1024))} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	cmd := l.Server.Command(context.Background(), "nginx", "-e", "stderr", "-p", dir, "-c", filepath.Join(dir, "nginx.conf"))
	said := &syncBuffer{}
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() { cmd.Process.Signal(syscall.SIGTERM); cmd.Wait() }
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		c, err := l.Server.Dial("tcp", "198.18.2.2:443")
		if err == nil {
			c.Close()
			return stop, nil
		}
		if time.Now().After(end) {
			stop()
			return nil, fmt.Errorf("nginx does not serve: %s", said)
		}
	}
}
