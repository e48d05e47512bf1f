package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"tlsgate/internal/lab"
	"tlsgate/nfq"
)

// firewall is a row: what stands in the gateway.
type firewall struct {
	name    string
	command func(s settings, dir string) (args []string, err error) // nil: nothing
	before  []string                                                // iptables commands, when it runs
	queues  int                                                     // it answers
	missing string                                                  // why it cannot be measured
}

// Rows by the names they have in tables.
const (
	none       = "none (plain forwarding)"
	tracked    = "none, connections tracked"
	accepting  = "accept-all"
	offloaded  = "partner policy, offload on"
	deciding   = "partner policy, offload off"
	reading    = "every record inspected"
	goAccept   = "accept-all, backend go-nfqueue"
	goReading  = "every record inspected, backend go-nfqueue"
	suricata   = "Suricata, queue mode, one TLS rule"
	passing    = "accept-all, by NF_ACCEPT"
	accepting2 = "accept-all, two workers"
	deciding2  = "partner policy, offload off, two workers"
	polled     = "accept-all, that asks for 50 µs before it sleeps"
	polling    = "every record inspected, busy_poll = 50 µs"
)

// partner is the policy of a partner whose firewall allows few suites, with those of
// TLS 1.3 and of ECDSA beside the six of testdata/policies/partner-bank.toml, so that
// every kind of handshake here is accepted.
const partner = `
[queue]
workers = %d
backend = %q
[intercept]
offload = %t
[[rule]]
name      = "partner"
match     = { port = 443 }
require   = { cipher = [
    "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-SHA256", "ECDHE-RSA-AES256-SHA384",
    "ECDHE-RSA-AES128-SHA", "ECDHE-RSA-AES256-SHA", "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"] }
otherwise = "reset"
`

// busyPoll is for how long the rows that ask for packets do so.
const busyPoll = 50 * time.Microsecond

const everyRecord = `
[queue]
workers = %d
backend = %q
[intercept]
offload = %t
[[rule]]
name      = "every-record"
match     = { port = 443 }
require   = { content_type = ["handshake", "change_cipher_spec", "alert", "application_data"] }
otherwise = "reset"
`

// rows are all firewalls with one worker, in the order in which they take turns.
func rows() []firewall {
	batch, slow := nfq.BackendBatch, nfq.BackendGoNFQueue
	all := []firewall{
		{name: none},
		{name: accepting, command: acceptor(batch, 1, nfq.Repeat, 0), queues: 1},
		{name: offloaded, command: daemon(partner, 1, batch, true), queues: 1},
		{name: deciding, command: daemon(partner, 1, batch, false), queues: 1},
		{name: reading, command: daemon(everyRecord, 1, batch, true), queues: 1},
		{name: goAccept, command: acceptor(slow, 1, nfq.Repeat, 0), queues: 1},
		{name: goReading, command: daemon(everyRecord, 1, slow, true), queues: 1},
	}
	s := firewall{name: suricata, command: suricataCommand, queues: 1, before: []string{"-A FORWARD -p tcp -m multiport --ports 443 -j NFQUEUE --queue-num 0"}}
	if _, err := exec.LookPath("suricata"); err != nil {
		s.missing = "not installed"
	}
	return append(all, s)
}

// turns are the firewalls of one round that are to be measured, and can be.
func (s settings) turns(all []firewall, r *results) (take []firewall) {
	for _, f := range all {
		switch {
		case f.name != none && f.name != accepting && s.rows != nil && !s.rows.MatchString(f.name):
		case f.missing != "":
			r.miss(f.name, f.missing)
		default:
			take = append(take, f)
		}
	}
	return take
}

// row finds a row by its name.
func row(name string) firewall {
	for _, f := range append(rows(),
		firewall{name: tracked, before: []string{"-A FORWARD -m conntrack --ctstate INVALID -j DROP"}},
		firewall{name: passing, command: acceptor(nfq.BackendBatch, 1, nfq.Accept, 0), queues: 1},
		firewall{name: accepting2, command: acceptor(nfq.BackendBatch, 2, nfq.Repeat, 0), queues: 2},
		firewall{name: deciding2, command: daemon(partner, 2, nfq.BackendBatch, false), queues: 2},
		firewall{name: polled, command: acceptor(nfq.BackendBatch, 1, nfq.Repeat, busyPoll), queues: 1},
		firewall{name: polling, command: daemon(strings.Replace(everyRecord, "[queue]", "[queue]\nbusy_poll = \""+busyPoll.String()+"\"", 1), 1, nfq.BackendBatch, true), queues: 1},
	) {
		if f.name == name {
			return f
		}
	}
	panic("no row " + name)
}

func daemon(policy string, workers int, backend string, offload bool) func(settings, string) ([]string, error) {
	return func(s settings, dir string) ([]string, error) {
		path := filepath.Join(dir, "policy.toml")
		err := os.WriteFile(path, fmt.Appendf(nil, policy, workers, backend, offload), 0o600)
		return []string{s.tlsgate, "run", "-c", path, "--install-rules", "--socket", filepath.Join(dir, "socket"), "--state", "none", "--events", "none"}, err
	}
}

func acceptor(backend string, workers int, verdict nfq.Verdict, busy time.Duration) func(settings, string) ([]string, error) {
	return func(settings, string) ([]string, error) {
		self, err := os.Executable()
		return []string{self, acceptAllName, backend, strconv.Itoa(workers), verdict.String(), busy.String()}, err
	}
}

// suricataCommand is Suricata with its defaults, but for what it would write, and with
// a rule that makes it read every TLS connection's hello.
func suricataCommand(_ settings, dir string) ([]string, error) {
	config := `%YAML 1.1
---
outputs:
  - fast: {enabled: yes, filename: fast.log}
app-layer:
  protocols:
    tls: {enabled: yes, detection-ports: {dp: 443}}
stream: {memcap: 256mb, reassembly: {memcap: 256mb}}
`
	rule := `drop tls any any -> any 443 (msg:"name"; tls.sni; content:"refused.example"; sid:1;)` + "\n"
	yaml, rules := filepath.Join(dir, "suricata.yaml"), filepath.Join(dir, "tls.rules")
	if err := os.WriteFile(yaml, []byte(config), 0o600); err != nil {
		return nil, err
	}
	args := []string{"suricata", "-q", "0", "--runmode", "workers", "-c", yaml, "-S", rules, "-l", dir}
	return args, os.WriteFile(rules, []byte(rule), 0o600)
}

// onIPTables runs iptables, and ip6tables where there is IPv6, on the gateway.
func onIPTables(l *lab.Lab, line string) error {
	programs := []string{"iptables"}
	if l.Gateway.IPv6.IsValid() {
		programs = append(programs, "ip6tables")
	}
	for _, p := range programs {
		args := append([]string{"-w", "5"}, strings.Fields(line)...)
		if out, err := l.Gateway.Command(context.Background(), p, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s %s: %w: %s", p, line, err, out)
		}
	}
	return nil
}
