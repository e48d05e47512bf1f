package nfq

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Chains of ours in the mangle table. A packet reaches chainMain from FORWARD
// and INPUT, and from OUTPUT by way of chainOutput.
const (
	chainMain   = "TLSGATE"
	chainQueue  = "TLSGATE-QUEUE"
	chainSeen   = "TLSGATE-SEEN"
	chainOutput = "TLSGATE-OUT"
)

var chains = []string{chainMain, chainQueue, chainSeen, chainOutput}

// multiportSlots is XT_MULTI_PORTS; a range takes two.
const multiportSlots = 15

// Family says which of the two rule sets: iptables or ip6tables.
type Family uint8

const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// PortRange are the TCP ports from First to Last, both included.
type PortRange struct {
	First, Last uint16
}

// Rules are the iptables rules that send packets to the queues and keep
// decisions in connection marks. The zero Rules cannot be installed, but
// removed, as can any other. Rules are values, safe for concurrent use.
//
// Every queued packet is to be answered with Repeat and a mark of Marks: the
// rules know it by that, save a decision to the connection, clear our bits of
// the packet's mark, and let the rules behind ours be asked.
type Rules struct {
	Queue        uint16      // the first queue
	Workers      int         // queues, from Queue on; 0 is 1
	FailOpen     bool        // packets pass while nobody listens
	Hooks        []Hook      // at least one of Forward, Input, Output
	Ports        []PortRange // either side; empty = all
	InInterfaces []string    // where connections come in, "*" allowed at the end; empty = any
	Mark         uint32      // our bits, as NewMarks wants them
	Generation   uint32      // of the policy, for Marks.Accepted
	Offload      bool        // accepted connections are queued only where they begin and end
	Variant      string      // "nft" or "legacy": that iptables; "" = the system's choice
}

// jump is how a built-in chain leads to ours.
type jump struct{ from, to string }

func (j jump) rule() string { return j.from + " -p tcp -j " + j.to }

// jumps are wanted in this order. OUTPUT is always among them: packets of our
// own leave there, and shall not carry our mark any further.
func (r Rules) jumps() []jump {
	var js []jump
	for _, h := range []Hook{Forward, Input} {
		if slices.Contains(r.Hooks, h) {
			js = append(js, jump{strings.ToUpper(h.String()), chainMain})
		}
	}
	return append(js, jump{"OUTPUT", chainOutput})
}

// Render is the document for iptables-restore --noflush (IPv6: ip6tables-restore)
// that puts the rules in place where there are none of ours. The two families
// get the same text.
func (r Rules) Render(f Family) (string, error) {
	if err := r.check(); err != nil {
		return "", err
	}
	return r.document(nil), nil
}

// Down is the document that takes away what Render put in place.
func (r Rules) Down(f Family) string {
	var rules []string
	for _, j := range r.jumps() {
		rules = append(rules, j.rule())
	}
	return downDocument(chains, rules)
}

// document declares our chains, which empties them where they are, and adds the
// jumps that are missing. A jump that is there stays where it is: rules may have
// been put before or behind it on purpose.
func (r Rules) document(present []string) string {
	var b strings.Builder
	b.WriteString("*mangle\n")
	for _, c := range chains {
		fmt.Fprintf(&b, ":%s - [0:0]\n", c)
	}
	for _, j := range r.jumps() {
		if i := slices.Index(present, j.rule()); i >= 0 {
			present = slices.Delete(slices.Clone(present), i, i+1)
			continue
		}
		fmt.Fprintf(&b, "-A %s\n", j.rule())
	}
	// The others: hooks no longer wanted, and whatever else leads to us.
	for _, rule := range present {
		fmt.Fprintf(&b, "-D %s\n", rule)
	}
	for _, rule := range r.rules() {
		fmt.Fprintf(&b, "-A %s\n", rule)
	}
	b.WriteString("COMMIT\n")
	return b.String()
}

// downDocument empties the chains, so that none is used by another, and takes
// them and the jumps away.
func downDocument(chains, jumps []string) string {
	var b strings.Builder
	b.WriteString("*mangle\n")
	for _, c := range chains {
		fmt.Fprintf(&b, ":%s - [0:0]\n", c)
	}
	for _, rule := range jumps {
		fmt.Fprintf(&b, "-D %s\n", rule)
	}
	for _, c := range chains {
		fmt.Fprintf(&b, "-X %s\n", c)
	}
	b.WriteString("COMMIT\n")
	return b.String()
}

// rules are the rules in chains of ours.
func (r Rules) rules() []string {
	m := Marks{r.Mark}
	mask := hex(r.Mark)
	clear := "-j MARK --set-xmark 0x0/" + mask
	save := "-j CONNMARK --save-mark --nfmask " + mask + " --ctmask " + mask
	kind := func(match string, value uint32) string {
		return "-m " + match + " --mark " + hex(value) + "/" + hex(m.kindMask())
	}

	// Back from the queue, or a packet of ours. Goto: the return from the chain
	// leads behind the jump to chainMain, not to its next rule.
	rules := []string{chainMain + " -m mark ! --mark 0x0/" + mask + " -g " + chainSeen}
	for _, match := range r.selection() {
		rules = append(rules, chainMain+match+" -g "+chainQueue)
	}

	queue := func(rule string) { rules = append(rules, chainQueue+" "+rule) }
	if r.Offload {
		queue("-p tcp -m connmark --mark " + hex(m.Accepted(r.Generation)) + "/" + mask +
			" -m tcp --tcp-flags FIN,SYN,RST NONE -j RETURN")
	}
	if r.FailOpen {
		// But what ends the connection, or begins another on its ports.
		queue("-p tcp " + kind("connmark", m.Refused()) + " -m tcp --tcp-flags SYN,RST NONE -j DROP")
	}
	// The daemon is shown an earlier decision. Should the packet pass because
	// nobody listens, it keeps that mark: an accept by NFQUEUE ends the table.
	queue("-j CONNMARK --restore-mark --nfmask " + mask + " --ctmask " + mask)
	if r.Offload {
		// One that the kernel takes for none of its connection's can end it all the same,
		// and could not have its mark cleared: the daemon is told (Marks.Untracked).
		for _, flag := range []string{"RST", "FIN"} {
			queue("-p tcp -m tcp --tcp-flags " + flag + " " + flag + " -m conntrack --ctstate INVALID -j MARK --set-xmark " + hex(m.Untracked()) + "/" + mask)
		}
	}
	queue(r.target())

	seen := func(rule string) { rules = append(rules, chainSeen+" "+rule) }
	seen(kind("mark", m.value(Accepted)) + " " + save)
	seen(kind("mark", m.Refused()) + " " + save)
	seen(kind("mark", m.Refused()) + " -j DROP")
	seen("-m mark --mark " + hex(m.Clear()) + "/" + mask + " -j CONNMARK --set-xmark 0x0/" + mask)
	seen(clear)

	return append(rules, r.output()...)
}

// output are the rules for packets that leave this host. What goes over the
// loopback interface comes to INPUT next, mark and all: if that is hooked, one
// time through the queue is enough, and a packet of ours must still be known. One
// of ours that leaves may carry a refusal into its connection's mark.
func (r Rules) output() []string {
	var rules []string
	if slices.Contains(r.Hooks, Input) {
		rules = append(rules, chainOutput+" -o lo -j RETURN")
	}
	if slices.Contains(r.Hooks, Output) {
		return append(rules, chainOutput+" -g "+chainMain)
	}
	return append(rules, chainOutput+" -m mark ! --mark 0x0/"+hex(r.Mark)+" -g "+chainSeen)
}

// target is the NFQUEUE target. --queue-balance hashes both directions of an
// address pair to the same queue (xt_NFQUEUE.c, nf_queue.h:nfqueue_hash).
func (r Rules) target() string {
	t := "-j NFQUEUE --queue-num " + strconv.Itoa(int(r.Queue))
	if r.Workers > 1 {
		t = fmt.Sprintf("-j NFQUEUE --queue-balance %d:%d", r.Queue, int(r.Queue)+r.Workers-1)
	}
	if r.FailOpen {
		t += " --queue-bypass"
	}
	return t
}

// selection are the matches of which any one sends a packet to the queue. The
// answers of a connection leave by the interface it came in by. An interface
// that does not exist at a hook matches nothing.
func (r Rules) selection() []string {
	var interfaces []string
	for _, name := range r.InInterfaces {
		if s, ok := strings.CutSuffix(name, "*"); ok {
			name = s + "+"
		}
		interfaces = append(interfaces, " -i "+name, " -o "+name)
	}
	if len(interfaces) == 0 {
		interfaces = []string{""}
	}
	var matches []string
	for _, i := range interfaces {
		for _, p := range r.portMatches() {
			matches = append(matches, i+p)
		}
	}
	return matches
}

// portMatches are the multiport matches for the ports, or one empty match.
func (r Rules) portMatches() []string {
	var matches, list []string
	slots := 0
	end := func() {
		if len(list) > 0 {
			matches = append(matches, " -p tcp -m multiport --ports "+strings.Join(list, ","))
		}
		list, slots = nil, 0
	}
	for _, p := range r.Ports {
		text, need := strconv.Itoa(int(p.First)), 1
		if p.Last > p.First {
			text, need = fmt.Sprintf("%d:%d", p.First, p.Last), 2
		}
		if slots+need > multiportSlots {
			end()
		}
		list, slots = append(list, text), slots+need
	}
	end()
	if len(matches) == 0 {
		return []string{""}
	}
	return matches
}

func hex(v uint32) string { return fmt.Sprintf("%#x", v) }

// check refuses what no kernel would take, and what would read as something
// else in an iptables-restore document.
func (r Rules) check() error {
	if _, err := NewMarks(r.Mark); err != nil {
		return err
	}
	if r.Workers < 0 || int(r.Queue)+max(r.Workers, 1)-1 > 0xffff {
		return fmt.Errorf("nfq: %d queues from number %d on: numbers end at 65535", r.Workers, r.Queue)
	}
	if len(r.Hooks) == 0 {
		return fmt.Errorf("nfq: no hook: want forward, input or output")
	}
	for _, h := range r.Hooks {
		if h != Forward && h != Input && h != Output {
			return fmt.Errorf("nfq: hook %d: want forward, input or output", h)
		}
	}
	for _, p := range r.Ports {
		if p.First > p.Last {
			return fmt.Errorf("nfq: ports %d-%d: the first is larger than the last", p.First, p.Last)
		}
	}
	for _, name := range r.InInterfaces {
		if err := checkInterface(name); err != nil {
			return err
		}
	}
	return nil
}

// checkInterface wants a name as the kernel allows it (dev.c:dev_valid_name) of
// which iptables-restore and iptables make nothing else.
func checkInterface(name string) error {
	bare := strings.TrimSuffix(name, "*")
	odd := strings.ContainsFunc(bare, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune(`/:"'\*+`, c) })
	if name == "" || len(bare) > 15 || odd || bare == "." || bare == ".." || strings.HasPrefix(bare, "-") || strings.HasPrefix(bare, "!") {
		return fmt.Errorf("nfq: interface %q: not a name iptables can match", name)
	}
	return nil
}
