package nfq

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRender(t *testing.T) {
	for _, test := range []struct {
		name  string
		rules Rules
		want  string
	}{
		{"gateway", Rules{Hooks: []Hook{Forward}, Ports: []PortRange{{443, 443}, {9000, 9099}}, Mark: 0x00ff0000, Generation: 3, Offload: true}, `*mangle
:TLSGATE - [0:0]
:TLSGATE-QUEUE - [0:0]
:TLSGATE-SEEN - [0:0]
:TLSGATE-OUT - [0:0]
-A FORWARD -p tcp -j TLSGATE
-A OUTPUT -p tcp -j TLSGATE-OUT
-A TLSGATE -m mark ! --mark 0x0/0xff0000 -g TLSGATE-SEEN
-A TLSGATE -p tcp -m multiport --ports 443,9000:9099 -g TLSGATE-QUEUE
-A TLSGATE-QUEUE -p tcp -m connmark --mark 0x430000/0xff0000 -m tcp --tcp-flags FIN,SYN,RST NONE -j RETURN
-A TLSGATE-QUEUE -j CONNMARK --restore-mark --nfmask 0xff0000 --ctmask 0xff0000
-A TLSGATE-QUEUE -p tcp -m tcp --tcp-flags RST RST -m conntrack --ctstate INVALID -j MARK --set-xmark 0xc10000/0xff0000
-A TLSGATE-QUEUE -p tcp -m tcp --tcp-flags FIN FIN -m conntrack --ctstate INVALID -j MARK --set-xmark 0xc10000/0xff0000
-A TLSGATE-QUEUE -j NFQUEUE --queue-num 0
-A TLSGATE-SEEN -m mark --mark 0x400000/0xc00000 -j CONNMARK --save-mark --nfmask 0xff0000 --ctmask 0xff0000
-A TLSGATE-SEEN -m mark --mark 0x800000/0xc00000 -j CONNMARK --save-mark --nfmask 0xff0000 --ctmask 0xff0000
-A TLSGATE-SEEN -m mark --mark 0x800000/0xc00000 -j DROP
-A TLSGATE-SEEN -m mark --mark 0xc10000/0xff0000 -j CONNMARK --set-xmark 0x0/0xff0000
-A TLSGATE-SEEN -j MARK --set-xmark 0x0/0xff0000
-A TLSGATE-OUT -m mark ! --mark 0x0/0xff0000 -g TLSGATE-SEEN
COMMIT
`},
		{"this host, fail open, several queues", Rules{Queue: 8, Workers: 4, Hooks: []Hook{Output, Input}, InInterfaces: []string{"eth1", "ppp*"},
			Mark: 0xf0000000, FailOpen: true}, `*mangle
:TLSGATE - [0:0]
:TLSGATE-QUEUE - [0:0]
:TLSGATE-SEEN - [0:0]
:TLSGATE-OUT - [0:0]
-A INPUT -p tcp -j TLSGATE
-A OUTPUT -p tcp -j TLSGATE-OUT
-A TLSGATE -m mark ! --mark 0x0/0xf0000000 -g TLSGATE-SEEN
-A TLSGATE -i eth1 -g TLSGATE-QUEUE
-A TLSGATE -o eth1 -g TLSGATE-QUEUE
-A TLSGATE -i ppp+ -g TLSGATE-QUEUE
-A TLSGATE -o ppp+ -g TLSGATE-QUEUE
-A TLSGATE-QUEUE -p tcp -m connmark --mark 0x80000000/0xc0000000 -m tcp --tcp-flags SYN,RST NONE -j DROP
-A TLSGATE-QUEUE -j CONNMARK --restore-mark --nfmask 0xf0000000 --ctmask 0xf0000000
-A TLSGATE-QUEUE -j NFQUEUE --queue-balance 8:11 --queue-bypass
-A TLSGATE-SEEN -m mark --mark 0x40000000/0xc0000000 -j CONNMARK --save-mark --nfmask 0xf0000000 --ctmask 0xf0000000
-A TLSGATE-SEEN -m mark --mark 0x80000000/0xc0000000 -j CONNMARK --save-mark --nfmask 0xf0000000 --ctmask 0xf0000000
-A TLSGATE-SEEN -m mark --mark 0x80000000/0xc0000000 -j DROP
-A TLSGATE-SEEN -m mark --mark 0xd0000000/0xf0000000 -j CONNMARK --set-xmark 0x0/0xf0000000
-A TLSGATE-SEEN -j MARK --set-xmark 0x0/0xf0000000
-A TLSGATE-OUT -o lo -j RETURN
-A TLSGATE-OUT -g TLSGATE
COMMIT
`},
	} {
		got, err := test.rules.Render(IPv4)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if diff := cmp.Diff(got, test.want); diff != "" {
			t.Errorf("%s: (-got +want)\n%s", test.name, diff)
		}
	}
}

func TestDown(t *testing.T) {
	want := `*mangle
:TLSGATE - [0:0]
:TLSGATE-QUEUE - [0:0]
:TLSGATE-SEEN - [0:0]
:TLSGATE-OUT - [0:0]
-D FORWARD -p tcp -j TLSGATE
-D OUTPUT -p tcp -j TLSGATE-OUT
-X TLSGATE
-X TLSGATE-QUEUE
-X TLSGATE-SEEN
-X TLSGATE-OUT
COMMIT
`
	if diff := cmp.Diff(Rules{Hooks: []Hook{Forward}}.Down(IPv6), want); diff != "" {
		t.Errorf("(-got +want)\n%s", diff)
	}
}

// A rule has fifteen slots, and a range takes two.
func TestPortMatches(t *testing.T) {
	var many []PortRange
	for i := range uint16(14) {
		many = append(many, PortRange{i, i})
	}
	many = append(many, PortRange{100, 200}, PortRange{300, 300})
	got := Rules{Ports: many}.portMatches()
	want := []string{" -p tcp -m multiport --ports 0,1,2,3,4,5,6,7,8,9,10,11,12,13", " -p tcp -m multiport --ports 100:200,300"}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("(-got +want)\n%s", diff)
	}
}

func TestRulesRefused(t *testing.T) {
	good := Rules{Hooks: []Hook{Forward}, Mark: 0xf}
	if _, err := good.Render(IPv4); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Rules){
		"no mark":           func(r *Rules) { r.Mark = 0 },
		"three bits":        func(r *Rules) { r.Mark = 7 },
		"a gap in the mark": func(r *Rules) { r.Mark = 0x2f },
		"no hook":           func(r *Rules) { r.Hooks = nil },
		"prerouting":        func(r *Rules) { r.Hooks = []Hook{0} },
		"ports backwards":   func(r *Rules) { r.Ports = []PortRange{{2, 1}} },
		"queue 65536":       func(r *Rules) { r.Queue, r.Workers = 65535, 2 },
		"workers":           func(r *Rules) { r.Workers = -1 },
	} {
		r := good
		change(&r)
		if text, err := r.Render(IPv4); err == nil || text != "" {
			t.Errorf("%s: %q", name, text)
		}
	}
	for _, name := range []string{"", "eth0 -j ACCEPT", "eth0\n-A FORWARD -j ACCEPT", "!eth0", "-j", `"`, `'`, `\`, "e*h", "eth+", "a/b", ".", "..",
		"sixteencharacter", "eth\x00", "ß", "a:b"} {
		r := good
		r.InInterfaces = []string{name}
		if text, err := r.Render(IPv4); err == nil || text != "" {
			t.Errorf("interface %q: %q", name, text)
		}
	}
	for _, name := range []string{"eth0", "*", "wlan0.1", "fifteencharacte", "br-0_x@", "fifteencharacte*"} {
		if err := checkInterface(name); err != nil {
			t.Error(err)
		}
	}
}

func TestParseSave(t *testing.T) {
	got := parseSave(`# Generated by iptables-save
*mangle
:FORWARD ACCEPT [1:2]
:TLSGATE - [0:0]
:TLSGATE-OUT - [0:0]
:TLSGATE-OTHER - [0:0]
-A FORWARD -p tcp -j TLSGATE
-A FORWARD -m comment --comment "not -j TLSGATE" -j ACCEPT
-A FORWARD -m comment --comment "see TLSGATE"
-A FORWARD -i eth0 -m comment --comment "two  spaces" -g TLSGATE
-A FORWARD -j TLSGATE-OTHER
-A TLSGATE-OUT -g TLSGATE
-A OUTPUT -p tcp -j TLSGATE-OUT
COMMIT
`)
	want := present{
		chains: []string{"TLSGATE", "TLSGATE-OUT"},
		jumps: []string{"FORWARD -p tcp -j TLSGATE", `FORWARD -i eth0 -m comment --comment "two  spaces" -g TLSGATE`,
			"OUTPUT -p tcp -j TLSGATE-OUT"},
	}
	if diff := cmp.Diff(got, want, cmp.AllowUnexported(present{})); diff != "" {
		t.Errorf("(-got +want)\n%s", diff)
	}
}

func TestProgramError(t *testing.T) {
	exit := errors.New("exit status 1")
	for _, test := range []struct {
		err    error
		stderr string
		want   error
		text   string
	}{
		{&exec.Error{Name: "iptables-restore", Err: exec.ErrNotFound}, "", ErrUnsupported, "not found"},
		{exit, "iptables-restore v1.8.9 (nf_tables): Could not fetch rule set generation id: Permission denied (you must be root)\n", ErrPermission, "you must be root"},
		{exit, "iptables-restore: line 3 failed: No chain/target/match by that name.\n", ErrUnsupported, "line 3 failed"},
		{exit, "Warning: Extension NFQUEUE revision 0 not supported, missing kernel module?\niptables-restore: line 9 failed\n", ErrUnsupported, "NFQUEUE"},
		{exit, "iptables v1.8.9 (legacy): can't initialize iptables table `mangle': Table does not exist (do you need to insmod?)\n", ErrUnsupported, "insmod"},
		{exit, "something else\n", exit, "something else (exit status 1)"},
		{exit, "", exit, "exit status 1"},
	} {
		err := programError("iptables-restore", test.err, test.stderr)
		if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%q: %v", test.stderr, err)
		}
	}
}

func TestMarks(t *testing.T) {
	for _, mask := range []uint32{0x00ff0000, 0xf0000000, 0xf, 0xffffffff} {
		m, err := NewMarks(mask)
		if err != nil {
			t.Fatal(err)
		}
		foreign := ^mask & 0xa5a5a5a5
		for kind, value := range map[Kind]uint32{Undecided: 0, Refused: m.Refused(), Pass: m.Pass(), Accepted: m.Accepted(1)} {
			if value&^mask != 0 {
				t.Errorf("%#x: %v is %#x", mask, kind, value)
			}
			if got := m.Kind(m.Set(foreign, value)); got != kind {
				t.Errorf("%#x: kind %v, want %v", mask, got, kind)
			}
			if got := m.Set(m.Set(foreign, m.Pass()), value); got&^mask != foreign || got&mask != value {
				t.Errorf("%#x: set %#x in %#x: %#x", mask, value, foreign, got)
			}
		}
		if m.Kind(m.Clear()) != Pass || m.Clear() == m.Pass() || m.Clear()&^mask != 0 {
			t.Errorf("%#x: clear is %#x, pass %#x", mask, m.Clear(), m.Pass())
		}
		last := m.Generations() - 1
		if got := m.Generation(m.Set(foreign, m.Accepted(last))); got != last {
			t.Errorf("%#x: generation %d, want %d", mask, got, last)
		}
		if m.Accepted(last+1) != m.Accepted(0) || m.Accepted(last) == m.Accepted(0) {
			t.Errorf("%#x: generations do not start again after %d", mask, last)
		}
		for g := range uint32(300) {
			if m.Accepted(g) == m.Held() {
				t.Errorf("%#x: generation %d is that of what waits", mask, g)
			}
		}
		if m.Kind(m.Held()) != Accepted || m.Held()&^mask != 0 {
			t.Errorf("%#x: held is %#x", mask, m.Held())
		}
	}
	var none Marks
	if none.Kind(0xffffffff) != Undecided || none.Pass() != 0 || none.Clear()&none.Mask() != 0 || none.Accepted(7) != 0 || none.Set(5, 0xffff) != 5 || none.Generation(9) != 0 {
		t.Error("the zero Marks says something")
	}
}

func TestHooks(t *testing.T) {
	for _, h := range []Hook{Input, Forward, Output} {
		if got, ok := ParseHook(h.String()); !ok || got != h {
			t.Errorf("%v became %v", h, got)
		}
	}
	for _, name := range []string{"", "unknown", "prerouting"} {
		if h, ok := ParseHook(name); ok {
			t.Errorf("%q became %v", name, h)
		}
	}
}
