package tlsrules

import (
	"slices"
	"strconv"
	"strings"
)

// Answer is what a condition says of a connection. The zero Answer is NotYet.
type Answer uint8

const (
	NotYet   = Answer(waiting)
	True     = Answer(yes)
	False    = Answer(no)
	Never    = Answer(never) // will the fact be known
	NoMatter = Answer(moot)  // the fact is one that this connection has not
)

var answerNames = [...]string{NotYet: "not yet", True: "true", False: "false", Never: "never", NoMatter: "does not matter"}

func (a Answer) String() string {
	if int(a) < len(answerNames) {
		return answerNames[a]
	}
	return "invalid"
}

// Says is what came of asking a rule. The zero Says is NotAsked.
type Says uint8

const (
	NotAsked Says = iota // an earlier rule has decided, or waits
	Applies
	Passes // the rule says nothing of this connection
	Waits  // for a fact
)

var saysNames = [...]string{"not asked", "applies", "does not apply", "waits"}

func (s Says) String() string {
	if int(s) < len(saysNames) {
		return saysNames[s]
	}
	return "invalid"
}

// Asked is one rule, and what it said when it was asked last.
type Asked struct {
	Index                  int
	Rule                   string
	Says                   Says
	Bound                  bool // its requirements hold for the connection
	Decides                bool // the decision is this rule's
	Would                  bool // it only observes, and would have refused
	Match, Unless, Require []AskedCondition
	Pin                    *Pin
	Hold                   *Hold
}

// AskedCondition is one condition, what it said, and the value that made it so.
type AskedCondition struct {
	Key      Key
	Answer   Answer
	Violated bool   // by the connection, if it is a requirement
	Seen     string // a sentence
	Wanted   string
}

// Ask tells what each rule has said of a connection, in order, with what the
// judgement has been told of f. It changes neither, and is for people: it
// allocates, and a policy of a thousand rules takes it milliseconds.
func (p *Policy) Ask(f *Facts, j *Judgement) []Asked {
	v := j.saw(f)
	list := make([]Asked, len(p.rules))
	would := -1
	if j.flags.has(wouldAlready) {
		would = int(j.would.rule) - 1
	}
	for i := range p.rules {
		r := &p.rules[i]
		list[i] = Asked{
			Index: i, Rule: r.Name, Bound: j.isBound(i), Would: i == would, Pin: r.Pin, Hold: r.Hold,
			Decides: j.flags.has(decided) && i == int(j.ruling.rule)-1,
			Match:   r.told(r.Match, v, false), Unless: r.told(r.Unless, v, false),
			Require: r.told(r.Require, v, true),
		}
	}
	p.walked(list, v, j)
	return list
}

// saw is the view of f that rules have been asked with last.
func (j *Judgement) saw(f *Facts) *view {
	v := new(view)
	v.look(f, j.content)
	v.search = j.search
	foreign := v.foreign() && j.seen&stepFirstBytes.bit() != 0
	v.known, v.never = v.known&j.seen, v.never&j.seen
	if !foreign {
		v.moot &= j.seen
	}
	return v
}

func (j *Judgement) isBound(i int) bool {
	for k := range int(j.nbound) {
		if j.at(k) == i {
			return true
		}
	}
	return false
}

// walked fills in what came of each rule, as ask asks them.
func (p *Policy) walked(list []Asked, v *view, j *Judgement) {
	if j.seen == 0 {
		return // nobody was asked
	}
	violated := j.flags.has(refused) && j.ruling.reason.Key() != KeyNone
	for i := range list {
		r, a := &p.rules[i], &list[i]
		if violated && a.Decides {
			a.Says = Applies
			return
		}
		switch applies, _, _ := r.applies(v); applies {
		case waiting:
			a.Says = Waits
		case yes:
			a.Says = Applies
		default:
			a.Says = Passes
		}
		last := a.Says == Waits || a.Says == Applies && r.Action != Continue && !(r.Observe && r.Action.Refuses())
		if last && !violated {
			return
		}
	}
}

// told asks conditions for people.
func (r *rule) told(conditions []Condition, v *view, required bool) []AskedCondition {
	var list []AskedCondition
	for i := range conditions {
		c := &conditions[i]
		a := AskedCondition{Key: c.key, Wanted: c.wanted()}
		t := c.eval(v)
		if required && c.key == KeyAlert && !v.alert {
			t = waiting // it is asked of alerts alone
		}
		a.Answer, a.Seen = Answer(t), clip(c.told(t, v))
		a.Violated = required && (t == no || t == never && !r.UnseenAllow)
		list = append(list, a)
	}
	return list
}

// told says what made a condition say what it does.
func (c *Condition) told(t truth, v *view) string {
	switch {
	case t == waiting && c.key == KeyContains:
		return "none of them was found so far"
	case c.key == KeyAlert && !v.alert:
		return "no alert is at hand"
	case t == waiting && v.lost(c.key):
		return "it is not remembered any more"
	case t == waiting:
		return ""
	case t == moot && v.foreign():
		return "the connection is not TLS"
	case t == moot:
		return "the key exchange has none"
	case t == never:
		return c.unseen(v)
	}
	return c.seen(v)
}

// wanted names the values.
func (c *Condition) wanted() string {
	if len(c.text) == 1 {
		return c.text[0]
	}
	return strconv.Itoa(len(c.text)) + " " + keys[c.key].many + ": " + enumerate(c.text)
}

// mostTold bounds a sentence, bytes: a client may have written much.
const mostTold = 512

func clip(s string) string {
	if len(s) > mostTold {
		return strings.ToValidUTF8(s[:mostTold], "") + "..."
	}
	return s
}

// Fact is something known of a connection, in a sentence.
type Fact struct {
	Key   Key
	Stage Stage
	Text  string
}

// mute are keys whose facts another key tells, or no sentence does.
var mute = [keyCount]bool{
	KeyContains: true, KeyOffersOnlyCipher: true, KeyOffersOnlyVersion: true, KeyOffersOnlyGroup: true,
	KeyContentType: true, KeyAlert: true, KeyRenegotiates: true, KeyJA3: true, KeyJA3S: true,
	KeyCertSHA256: true, KeyCertSPKISHA256: true,
}

// Told says what is known, in the order in which it becomes known.
func (f *Facts) Told() (list []Fact) {
	var v view
	v.look(f, 0)
	for k := KeySource; int(k) < keyCount; k++ {
		c := Condition{key: k, step: keys[k].step.bit()}
		if v.known&c.step == 0 || mute[k] || v.lost(k) || c.silent(f) {
			continue
		}
		list = append(list, Fact{k, k.Stage(), clip(c.seen(&v))})
	}
	return list
}

// silent reports whether a fact is that there is nothing to tell.
func (c *Condition) silent(f *Facts) bool {
	switch c.key {
	case KeyInInterface:
		return f.InInterface == ""
	case KeyOutInterface:
		return f.OutInterface == ""
	case KeyVia:
		return f.Via == 0
	case KeyECH:
		return !f.Client.ECH.Present
	case KeyEarlyData:
		return !f.Client.EarlyData
	case KeyFallback:
		return !f.Client.FallbackSCSV()
	case KeyALPN:
		return len(f.Client.ALPN) == 0
	case KeyALPNSelected:
		return len(f.Server.ALPN) == 0
	case KeyResumes:
		return f.Resumes == 0
	}
	return c.step == stepCertificate.bit() && len(f.Chain) == 0 && c.key != KeyCertSubject
}

// Clone returns a copy of f that shares nothing with what still changes.
func (f *Facts) Clone() Facts {
	k := *f
	k.Chain = slices.Clone(f.Chain)
	if f.Client != nil {
		k.Client = f.Client.Clone()
	}
	if f.Server != nil {
		k.Server = f.Server.Clone()
	}
	return k
}

// Clone returns a copy of j for Ask.
func (j *Judgement) Clone() Judgement {
	k := *j
	if j.more != nil {
		more := slices.Clone(*j.more)
		k.more = &more
	}
	return k
}
