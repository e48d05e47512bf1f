package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"tlsgate/tlsrules"
	"tlsgate/tlsrules/certs"
	"tlsgate/tlsrules/suites"
	"tlsgate/tlsrules/tlswire"
	"tlsgate/tlsrules/via"
)

// Test is one [[test]]: what the two ends of a connection say, and what is to
// become of it. Both ends agree with each other, and nothing is left open.
type Test struct {
	Name   string
	Line   int
	Time   time.Time // of the first packet
	Client TestClient
	Server TestServer
	Given  TestGiven
	Expect Expectation
}

// TestGiven is how it stands when the connection comes.
type TestGiven struct {
	Pin  GivenPin
	Gate GivenGate
}

// GivenPin says who holds the pins of the groups to which the connection belongs.
type GivenPin uint8

const (
	GivenPinUnsaid      GivenPin = iota // nobody, or the session that it resumes
	GivenPinFree                        // nobody
	GivenPinTaken                       // others, so many as there are places
	GivenPinSameSession                 // the session that it resumes, whose connection lives
)

// GivenGate says how the gates of all rules stand.
type GivenGate uint8

const (
	GivenGateUnsaid GivenGate = iota // open where its time is over
	GivenGateOpen
	GivenGateClosed
)

var givenGateNames = []string{"", "open", "closed"}

var givenPinNames = []string{"", "free", "taken", "same-session"}

// TestClient is the side that connects.
type TestClient struct {
	From, To                  netip.AddrPort
	InInterface, OutInterface string
	// Protocol is what it speaks. All that follows is of TLS; an SSL 2.0 hello
	// has the versions and suites only.
	Protocol tlswire.Protocol
	Via      []via.Kind // what comes before TLS, the outermost first; empty is nothing
	Text     []byte     // said in clear, by who does not speak TLS

	Versions   []uint16 // highest first
	Ciphers    []uint16
	ServerName string // "" is none
	ALPN       []string
	Groups     []uint16
	KeyShares  []uint16
	Signatures []uint16
	Extensions []uint16 // beside those of the other fields
	Random     [32]byte
	Resumes    tlswire.Resumes
	ECH        bool
	EarlyData  bool
	Fallback   bool
	Alert      tlswire.AlertMessage // in answer to the server's first flight; none if the level is
	Sends      []TestRecord
}

// TestServer is the side that answers.
type TestServer struct {
	Silent  bool                 // it never does
	Alert   tlswire.AlertMessage // before its ServerHello, or fatal in place of it
	Version uint16
	Cipher  uint16
	Group   uint16 // 0 where the exchange has none
	ALPN    string
	Resumed tlsrules.Resumed
	DHBits  int
	// Certificate is what it shows; nil if it has none, or none in clear.
	Certificate *TestCertificate
	Sends       []TestRecord
}

// TestCertificate is the server's certificate: made of what is said of it, or
// DER read from a file, the server's own first.
type TestCertificate struct {
	Subject, Issuer []NamePart
	Names           []string
	Key             certs.Key
	Expired         bool
	DER             [][]byte

	selfSigned bool
}

// NamePart is one attribute of a distinguished name.
type NamePart struct{ OID, Value string }

// TestRecord is what a side sends once the handshake is done.
type TestRecord uint8

const (
	SendApplicationData TestRecord = iota
	SendAlert                      // encrypted
	SendHeartbeat
	SendChangeCipherSpec
	SendRenegotiation
)

var testRecordNames = []string{"application_data", "alert", "heartbeat", "change_cipher_spec", "renegotiation"}

// Expectation is what is to become of a connection. Of an empty field or a nil
// one nothing is asked.
type Expectation struct {
	Verdict  string
	Rule     *string // "" is no rule
	Reason   string
	Stage    string
	Detail   string // a part of the sentence
	Observed *bool
}

// Held is the verdict of a connection whose application data waits for a gate.
const Held = "hold"

// Undecided is the verdict of a connection that no rule and no default has
// decided when its test ends.
const Undecided = "undecided"

// tests reads every [[test]].
func (l *loader) tests(list []*table, c *Config) []Test {
	tests := make([]Test, 0, len(list))
	names := map[string]int{}
	var rules []tlsrules.RuleInfo
	if len(list) > 0 {
		rules = c.Policy.Rules()
	}
	for i, t := range list {
		tests = append(tests, l.test(t, rules))
		name := tests[i].Name
		if first, taken := names[name]; taken {
			t.fail("name", "reports tell tests by name", "test %d has this name already: %q", first, name)
		}
		names[name] = i + 1
	}
	return tests
}

func (l *loader) test(t *table, rules []tlsrules.RuleInfo) Test {
	r := &testReader{rules: rules, l: l, t: t, client: t.table("client"), server: t.table("server")}
	r.test = Test{Name: t.str("name", ""), Line: l.lines.of(t.path)}
	if r.test.Name == "" {
		r.test.Name = strings.NewReplacer("[", " ", "]", "").Replace(t.path)
	}
	if strings.ContainsFunc(r.test.Name, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		t.fail("name", "it stands in a line of a report", "cannot be a name")
	}
	before := len(l.errs)
	r.readClient()
	r.readServer()
	if len(l.errs) == before { // else the one may contradict the other only for that
		r.agree()
	}
	r.readGiven(t.table("given"))
	r.readTime()
	r.readExpect(t.table("expect"))
	t.finish()
	return r.test
}

// readGiven takes how it stands when the connection comes.
func (r *testReader) readGiven(t *table) {
	defer t.finish()
	r.test.Given.Gate = GivenGate(t.oneOf("gate", 0, givenGateNames))
	if r.test.Given.Gate != GivenGateUnsaid && !slices.ContainsFunc(r.rules, func(r tlsrules.RuleInfo) bool { return r.Hold != nil }) {
		t.fail("gate", "", "no rule of the policy has a hold")
	}
	r.test.Given.Pin = GivenPin(t.oneOf("pin", 0, givenPinNames))
	if r.test.Given.Pin == GivenPinUnsaid {
		return
	}
	if !slices.ContainsFunc(r.rules, func(r tlsrules.RuleInfo) bool { return r.Pin != nil }) {
		t.fail("pin", "", "no rule of the policy has a pin")
	}
	if r.test.Given.Pin == GivenPinSameSession && r.test.Server.Resumed != tlsrules.ResumedKnown {
		t.fail("pin", `write server.resumed = "known"`, "only a session that was seen to begin can have it")
	}
}

// testReader is a test being read.
type testReader struct {
	rules          []tlsrules.RuleInfo
	l              *loader
	t              *table
	client, server *table
	test           Test
}

// defaultTime is that of tests that name none: the same every time.
var defaultTime = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// readTime takes the time of the first packet. Without one it is within the
// life of a certificate that was read, or behind its end.
func (r *testReader) readTime() {
	r.test.Time = defaultTime
	if c := r.test.Server.Certificate; c != nil && len(c.DER) > 0 {
		leaf := certs.Parse(c.DER[0])
		r.test.Time = leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 2)
		if c.Expired {
			r.test.Time = leaf.NotAfter.Add(time.Hour)
		}
	}
	if at := r.t.moment("time"); !at.IsZero() {
		r.test.Time = at
	}
}

// readExpect takes what is to become of the connection.
func (r *testReader) readExpect(t *table) {
	var rules []string
	for _, rule := range r.rules {
		rules = append(rules, rule.Name)
	}
	e := &r.test.Expect
	verdicts := verdicts()
	if i := t.oneOf("verdict", -1, verdicts); i >= 0 {
		e.Verdict = verdicts[i]
	}
	if t.m["rule"] != nil {
		name := t.str("rule", "")
		e.Rule = &name
		if name != "" && !slices.Contains(rules, name) {
			hint := `"" is no rule`
			if c := closest(name, rules); c != "" {
				hint = fmt.Sprintf("did you mean %q?", c)
			}
			t.fail("rule", hint, "there is no rule %q", name)
		}
	} else {
		t.take("rule")
	}
	e.Reason = t.word("reason", tlsrules.Reasons(), "a reason", `as in "rule", "default", "require.cipher"`)
	var stages []string
	for s := tlsrules.StageSYN; s <= tlsrules.StageRecords; s++ {
		stages = append(stages, s.String())
	}
	e.Stage = t.word("stage", stages, "a stage", "one of: "+quoted(stages))
	e.Detail = t.str("detail", "")
	if t.m["observed"] != nil {
		observed := t.boolean("observed", false)
		e.Observed = &observed
	} else {
		t.take("observed")
	}
	t.finish()
	if len(t.m) == 0 {
		r.t.fail("expect", `write for example expect = { verdict = "accept" }`, "is missing: a test that expects nothing cannot fail")
	}
}

// verdicts are what can become of a connection.
func verdicts() (names []string) {
	for a := tlsrules.Drop; a.String() != "invalid"; a++ {
		if a != tlsrules.Continue {
			names = append(names, a.Name())
		}
	}
	return append(names, Held, Undecided)
}

// word takes one of many words; "" is none.
func (t *table) word(k string, words []string, what, hint string) string {
	s := t.str(k, "")
	if s == "" || slices.Contains(words, s) {
		return s
	}
	if c := closest(s, words); c != "" {
		hint = fmt.Sprintf("did you mean %q?", c)
	}
	t.fail(k, hint, "%q is not %s", s, what)
	return ""
}

// given reports whether one of some keys stands in the table, and which.
func (t *table) given(keys ...string) (string, bool) {
	for _, k := range keys {
		if t.m[k] != nil {
			return k, true
		}
	}
	return "", false
}

// mostValues bounds the lists of a test, so that all of them find room in a
// hello or a certificate; of key shares, the longest are 1216 bytes.
var mostValues = map[tlsrules.Key]int{tlsrules.KeyOffersCipher: 8192, tlsrules.KeyALPN: 64, tlsrules.KeyCertName: 100}

const (
	mostOthers = 512
	mostShares = 16
	mostSends  = 1000
)

// values takes the values that a condition on k would have, as it shows them.
func (r *testReader) values(t *table, name string, k tlsrules.Key) []string {
	c, ok := r.l.conditionAt(t, name, k)
	if !ok {
		return nil
	}
	most := mostValues[k]
	if most == 0 {
		most = mostOthers
	}
	v := c.Values()
	if len(v) > most {
		t.fail(name, "", "has %d values, more than the %d that a test can have", len(v), most)
		return nil
	}
	return v
}

// value takes one such value; "" is none.
func (r *testReader) value(t *table, name string, k tlsrules.Key) string {
	v := r.values(t, name, k)
	switch len(v) {
	case 0:
		return ""
	case 1:
		return v[0]
	}
	t.fail(name, "name one", "names %d: %s", len(v), strings.Join(v[:min(len(v), 5)], ", "))
	return ""
}

// numbers takes the numbers of values that a condition on k would have.
func (r *testReader) numbers(t *table, name string, k tlsrules.Key, byName func(string) (uint16, bool)) (list []uint16) {
	for _, v := range r.values(t, name, k) {
		if n, ok := byName(v); ok {
			list = append(list, n)
		}
	}
	return list
}

func suiteByName(s string) (uint16, bool) {
	if suite, ok := suites.Lookup(s); ok {
		return suite.Code, true
	}
	return suites.ParseCode(s)
}

// alert takes an alert, fatal unless "warning:" stands before its name.
func (r *testReader) alert(t *table) (a tlswire.AlertMessage) {
	s := t.str("alert", "")
	if s == "" {
		return a
	}
	name, warning := strings.CutPrefix(strings.ToLower(s), "warning:")
	n, ok := suites.AlertByName(name)
	if !ok {
		hint := `write a name of RFC 8446, Section 6, or "warning:" and a name`
		if c := suites.SuggestAlert(name); c != "" {
			hint = fmt.Sprintf("did you mean %q?", c)
		}
		t.fail("alert", hint, "%q is not an alert", s)
		return a
	}
	a = tlswire.AlertMessage{Level: tlswire.AlertLevelFatal, Description: n}
	if warning {
		a.Level = tlswire.AlertLevelWarning
	}
	return a
}

// sends takes what a side sends once the handshake is done.
func (r *testReader) sends(t *table) (list []TestRecord) {
	for _, s := range t.list("sends", []string{"application_data"}) {
		i := slices.Index(testRecordNames, strings.ToLower(s))
		if i < 0 {
			hint := "known are " + strings.Join(testRecordNames, ", ")
			if c := closest(strings.ToLower(s), testRecordNames); c != "" {
				hint = fmt.Sprintf("did you mean %q?", c)
			}
			t.fail("sends", hint, "%q is not what a side can send", s)
			continue
		}
		list = append(list, TestRecord(i))
	}
	if len(list) > mostSends {
		t.fail("sends", "", "has %d records, more than the %d that a test can have", len(list), mostSends)
		return nil
	}
	return list
}
