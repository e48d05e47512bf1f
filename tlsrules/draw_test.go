package tlsrules

import (
	"fmt"
	"net/netip"
	"slices"

	"pgregory.net/rapid"

	"tlsgate/tlsrules/certs"
	"tlsgate/tlsrules/suites"
	"tlsgate/tlsrules/tlswire"
)

// alphabet is a few words for each key of the model.
var alphabet = map[Key][]string{
	KeySource:       {"192.0.2.1", "192.0.2.2"},
	KeyPort:         {"443", "8443"},
	KeyProtocol:     {"tls", "http"},
	KeyServerName:   {"a.example", "none"},
	KeyOffersCipher: {"AES128-SHA", "AES256-SHA"},
	KeyVersion:      {"1.2", "1.3"},
	KeyCipher:       {"AES128-SHA", "AES256-SHA"},
	KeyALPNSelected: {"h2", "none"},
	KeyGroup:        {"x25519", "x448"},
	KeyContentType:  {"handshake", "application_data"},
	KeyContains:     {"amazing", "grace"},
	KeyResumed:      {"no", "unknown"},
	KeyCertName:     {"a.example", "b.example"},
}

func drawConditions(t *rapid.T, name string, most int) (m map[Key][]string) {
	m = map[Key][]string{}
	all := slices.DeleteFunc(Keys(), func(k Key) bool { return alphabet[k] == nil })
	for _, k := range rapid.SliceOfNDistinct(rapid.SampledFrom(all), 0, most, rapid.ID).Draw(t, name) {
		m[k] = rapid.SliceOfNDistinct(rapid.SampledFrom(alphabet[k]), 1, 2, rapid.ID).Draw(t, k.String())
	}
	return m
}

func parsed(t *rapid.T, m map[Key][]string) (list []Condition) {
	for k, values := range m {
		c, err := ParseCondition(k, values)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, c)
	}
	return list
}

func drawPolicy(t *rapid.T, transient bool) (*Policy, *model) {
	actions := []Action{Drop, Accept, Reset, Refuse, AlertOf(49)}
	m := &model{def: Defaults{Action: rapid.SampledFrom(actions).Draw(t, "default"), NotTLS: rapid.SampledFrom(actions[:4]).Draw(t, "not tls")}}
	var rules []Rule
	for range rapid.IntRange(0, 5).Draw(t, "rules") {
		r := modelRule{
			match: drawConditions(t, "match", 2), unless: drawConditions(t, "unless", 2), require: drawConditions(t, "require", 3),
			rule: Rule{
				Action: rapid.SampledFrom(actions).Draw(t, "action"), HasAction: rapid.Bool().Draw(t, "has action"),
				Otherwise: rapid.SampledFrom([]Action{Drop, Reset, Alert, Refuse}).Draw(t, "otherwise"),
				Observe:   rapid.Bool().Draw(t, "observe"), UnseenAllow: rapid.Bool().Draw(t, "unseen"),
			},
		}
		if !transient {
			for _, part := range []map[Key][]string{r.match, r.unless} {
				delete(part, KeyContentType)
			}
		}
		if len(r.require) == 0 {
			r.rule.HasAction = true
		}
		if r.rule.HasAction && r.rule.Action.Refuses() {
			r.require = nil
		}
		r.rule.Match, r.rule.Unless, r.rule.Require = parsed(t, r.match), parsed(t, r.unless), parsed(t, r.require)
		m.rules = append(m.rules, r)
		rules = append(rules, r.rule)
	}
	p, err := New(rules, m.def)
	if err != nil {
		t.Fatal(err)
	}
	if rapid.Bool().Draw(t, "indexed") {
		p.index = newIndex(p.rules)
	}
	return p, m
}

// event is one thing that becomes known: a stage's facts, or that they never
// will; the group; or a record.
type event struct {
	stage   Stage
	never   bool
	group   bool
	resumed bool
	found   string // a text of KeyContains
	over    bool   // the search for those
	content string
}

// searches: it may come at any stage.
func (e event) searches() bool { return e.found != "" || e.over }

func drawEvents(t *rapid.T) (w world, events []event) {
	w = world{}
	for _, k := range Keys() {
		if values := alphabet[k]; values != nil {
			w[k] = rapid.SampledFrom(values).Draw(t, k.String())
		}
	}
	never := func(name string) bool { return rapid.IntRange(0, 5).Draw(t, name) == 0 }
	record := func() {
		for range rapid.IntRange(0, 2).Draw(t, "records") {
			events = append(events, event{stage: StageRecords, content: rapid.SampledFrom(alphabet[KeyContentType]).Draw(t, "record")})
		}
	}
	var found, over bool
	search := func() {
		switch n := rapid.IntRange(0, 4).Draw(t, "search"); {
		case over:
		case n == 0 && !found:
			found = true
			events = append(events, event{found: w[KeyContains]})
		case n == 1:
			over = true
			events = append(events, event{over: true})
		}
	}
	events = append(events, event{stage: StageSYN}, event{stage: StageFirstBytes, never: never("no first bytes")})
	search()
	if w[KeyProtocol] == "http" && !events[1].never {
		search()
		return w, events
	}
	record()
	events = append(events, event{stage: StageClientHello, never: never("no client hello")})
	record()
	search()
	noServer := never("no server hello")
	events = append(events, event{stage: StageServerHello, never: noServer})
	record()
	if !noServer {
		events = append(events, event{stage: StageServerHello, resumed: true})
		record()
		events = append(events, event{stage: StageServerHello, group: true, never: never("no group")})
	}
	search()
	events = append(events, event{stage: StageCertificate, never: never("no certificate")})
	record()
	search()
	return w, events
}

// number gives what a word of the alphabet is on the wire.
func number(t *rapid.T, byName func(string) (uint16, bool), s string) uint16 {
	n, ok := byName(s)
	if !ok {
		t.Fatal(s)
	}
	return n
}

// tell puts an event into facts.
func (e event) tell(t *rapid.T, p *Policy, w world, f *Facts) {
	switch {
	case e.group && e.never:
		f.GroupSettled = true
		return
	case e.group:
		f.Group = number(t, suites.GroupByName, w[KeyGroup])
		return
	case e.resumed:
		f.Resumed = ResumedNo
		if w[KeyResumed] == "unknown" {
			f.Resumed = ResumedUnknown
		}
		return
	case e.found != "":
		if i := slices.Index(p.Patterns(), e.found); i >= 0 {
			f.Contains |= 1 << i
		}
		return
	case e.over:
		f.ContainsOver = true
		return
	case e.content != "":
		f.Content = tlswire.Handshake
		if e.content == "application_data" {
			f.Content = tlswire.ApplicationData
		}
		return
	case e.never:
		f.Never.Add(e.stage)
		return
	}
	f.Known.Add(e.stage)
	switch e.stage {
	case StageSYN:
		f.Source = netip.MustParseAddr(w[KeySource])
		fmt.Sscan(w[KeyPort], &f.Port)
	case StageFirstBytes:
		f.Protocol = tlswire.ProtocolTLS
		if w[KeyProtocol] == "http" {
			f.Protocol = tlswire.ProtocolHTTP
		}
	case StageClientHello:
		s, _ := suites.Lookup(w[KeyOffersCipher])
		f.Client = &tlswire.ClientHello{
			HasServerName: w[KeyServerName] != "none", ServerName: []byte(w[KeyServerName]), CipherSuites: []uint16{s.Code},
		}
	case StageServerHello:
		s, _ := suites.Lookup(w[KeyCipher])
		f.Server = &tlswire.ServerHello{Version: number(t, suites.ParseVersion, w[KeyVersion]), CipherSuite: s.Code}
		if w[KeyALPNSelected] != "none" {
			f.Server.ALPN = []byte(w[KeyALPNSelected])
		}
	case StageCertificate:
		f.Chain = []*certs.Certificate{{CommonName: w[KeyCertName]}}
	}
}
