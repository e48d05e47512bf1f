package tlsrules

import (
	"fmt"
	"slices"
	"strings"

	"tlsgate/tlsrules/suites"
)

// warnings are what is allowed in a policy and cannot be meant: a rule that
// never matches, a requirement nothing fulfils.
func (p *Policy) warnings(i int) []string {
	r := &p.rules[i]
	w := r.notes()
	if by := p.shadow(i); by != "" {
		w = append(w, "is never asked: "+by)
	}
	if why := r.neverMatches(); why != "" {
		return append(w, "never matches: "+why)
	}
	if r.Action == Continue && !r.demands() {
		w = append(w, `has no effect: action = "continue" without require, pin or hold`)
	}
	w = append(w, r.refusalWarnings()...)
	allowed, said := r.allowedVersions()
	if said == "" {
		w = append(w, "is never satisfied: match and require have no version in common")
		return w
	}
	w = append(w, r.suiteWarnings(allowed)...)
	return append(w, r.recordWarnings(allowed)...)
}

// notes are what values of the rule say of themselves.
func (r *rule) notes() (w []string) {
	for _, part := range [][]Condition{r.Match, r.Unless, r.Require} {
		for i := range part {
			for _, note := range part[i].notes {
				if note = part[i].key.String() + ": " + note; !slices.Contains(w, note) {
					w = append(w, note)
				}
			}
		}
	}
	return w
}

// shadow says which earlier rule decides all that rule i would match.
func (p *Policy) shadow(i int) string {
	var c *candidates
	if p.index != nil {
		c = &candidates{}
		p.index.within(&p.rules[i], c)
	}
	for b := c.next(0); b < i; b = c.next(b + 1) {
		e := &p.rules[b]
		if e.Action == Continue || e.Observe && e.Action.Refuses() || len(e.Unless) > 0 {
			continue
		}
		if implied(p.rules[i].Match, e.Match) {
			if len(e.Match) == 0 {
				return fmt.Sprintf("rule %q before it decides every connection", e.Name)
			}
			return fmt.Sprintf("rule %q before it decides every connection it matches", e.Name)
		}
	}
	return ""
}

// implied reports whether all of then hold wherever all of given do.
func implied(given, then []Condition) bool {
	for t := range then {
		if !slices.ContainsFunc(given, func(g Condition) bool { return g.key == then[t].key && g.within(&then[t]) }) {
			return false
		}
	}
	return true
}

// within reports whether d holds wherever c does; both have one key.
func (c *Condition) within(d *Condition) bool {
	if c.bits&^d.bits != 0 || c.none && !d.none {
		return false
	}
	for o := range c.octets {
		if _, ok := d.octets[o]; !ok {
			return false
		}
	}
	for _, s := range c.sizes {
		if !slices.ContainsFunc(d.sizes, func(o sizeRange) bool { return o.first <= s.first && s.last <= o.last }) {
			return false
		}
	}
	for _, p := range c.ja4 {
		if !slices.ContainsFunc(d.ja4, p.within) {
			return false
		}
	}
	for _, prefix := range c.prefixes {
		if !d.table.LookupPrefix(prefix) {
			return false
		}
	}
	for _, r := range c.ports {
		if !slices.ContainsFunc(d.ports, func(o portRange) bool { return o.first <= r.first && r.last <= o.last }) {
			return false
		}
	}
	switch c.key {
	case KeyCertKey, KeyTime:
		for _, value := range c.text {
			if !slices.Contains(d.text, value) {
				return false
			}
		}
	case KeyInInterface, KeyOutInterface, KeyServerName, KeyCertName:
		for _, name := range c.text {
			if !(c.key == KeyServerName && name == none) && !d.names.covers(c.key, name) {
				return false
			}
		}
	}
	for _, word := range c.words {
		if !slices.Contains(d.words, word) {
			return false
		}
	}
	return c.numbers == nil || d.numbers != nil && c.numbers.within(d.numbers)
}

// neverMatches says why match cannot hold, or unless always does.
func (r *rule) neverMatches() string {
	if len(r.Unless) > 0 && implied(r.Match, r.Unless) {
		return "unless holds wherever match does"
	}
	matched := stepsOf(r.Match)
	if c := find(r.Match, KeyProtocol); c != nil && matched&tlsSteps != 0 {
		if names := []string{"tls", "sslv2"}; !slices.ContainsFunc(c.text, func(s string) bool { return slices.Contains(names, s) }) {
			return fmt.Sprintf("protocol %s has no %s", strings.Join(c.text, ", "), firstTLS(r.Match))
		}
	}
	c, content := find(r.Match, KeyAlert), find(r.Match, KeyContentType)
	if c != nil && content != nil && !slices.Contains(content.text, "alert") {
		return "an alert has no other content_type than alert"
	}
	version := find(r.Match, KeyVersion)
	if version == nil {
		return ""
	}
	if cipher := find(r.Match, KeyCipher); cipher != nil && len(cipher.usable(version.bits)) == 0 {
		return "no suite of cipher exists in a version of version"
	}
	if version.bits == versionBit(suites.VersionTLS13) {
		for i := range r.Match {
			if what := hidden(r.Match[i].key); what != "" {
				return "TLS 1.3 encrypts " + what
			}
		}
	}
	return ""
}

// hidden names what TLS 1.3 encrypts of what a key is about, "" for nothing.
func hidden(k Key) string {
	switch {
	case k == KeyALPNSelected:
		return "the ALPN protocol selected"
	case keys[k].step == stepCertificate:
		return "the certificate"
	}
	return ""
}

func firstTLS(conditions []Condition) Key {
	for i := range conditions {
		if conditions[i].step&tlsSteps != 0 {
			return conditions[i].key
		}
	}
	return KeyNone
}

func find(conditions []Condition, k Key) *Condition {
	for i := range conditions {
		if conditions[i].key == k {
			return &conditions[i]
		}
	}
	return nil
}

// allowedVersions are those match and require leave, by version and by the
// suites matched, and their names; no name is no version.
func (r *rule) allowedVersions() (set uint64, names string) {
	set = 1<<len(versions) - 1
	for _, part := range [][]Condition{r.Match, r.Require} {
		if c := find(part, KeyVersion); c != nil {
			set &= c.bits
		}
	}
	if c := find(r.Match, KeyCipher); c != nil {
		var has uint64
		for code := range c.numbers.all() {
			has |= suiteVersions(code)
		}
		set &= has
	}
	return set, versionNames(set)
}

func versionNames(set uint64) string {
	var names []string
	for _, v := range versionsOf(set) {
		names = append(names, suites.VersionKey(v))
	}
	slices.Reverse(names)
	return strings.Join(names, ", ")
}

// usable are the condition's suites that one of the versions has. A suite of
// which nothing is known may be used in any.
func (c *Condition) usable(set uint64) (codes []uint16) {
	for code := range c.numbers.all() {
		if suiteVersions(code)&set != 0 {
			codes = append(codes, code)
		}
	}
	return codes
}

func suiteVersions(code uint16) (set uint64) {
	s, ok := suites.ByCode(code)
	if !ok {
		return 1<<len(versions) - 1
	}
	for i, v := range versions {
		if s.MinVersion <= v && v <= s.MaxVersion {
			set |= 1 << i
		}
	}
	return set
}

// suiteWarnings compares the suites required with the versions allowed. Of the
// versions a policy allows without naming them only TLS 1.3 is spoken of: a
// server that has it selects it.
func (r *rule) suiteWarnings(allowed uint64) (w []string) {
	c := find(r.Require, KeyCipher)
	if c == nil {
		return nil
	}
	usable := c.usable(allowed)
	if len(usable) == 0 {
		return []string{fmt.Sprintf("is never satisfied: no suite of cipher exists in version %s", versionNames(allowed))}
	}
	var useless []string
	for code := range c.numbers.all() {
		if !slices.Contains(usable, code) {
			useless = append(useless, suites.OpenSSLName(code))
		}
	}
	if len(useless) > 0 {
		w = append(w, fmt.Sprintf("allows suites that no allowed version (%s) has: %s", versionNames(allowed), enumerate(useless)))
	}
	var covered uint64
	for _, code := range usable {
		covered |= suiteVersions(code)
	}
	named := find(r.Match, KeyVersion) != nil || find(r.Require, KeyVersion) != nil
	for _, v := range versions {
		if bit := versionBit(v); allowed&bit != 0 && covered&bit == 0 && (named || v == suites.VersionTLS13) {
			w = append(w, fmt.Sprintf("refuses every %s connection: none of the allowed suites exists there", suites.VersionName(v)))
		}
	}
	if group := find(r.Require, KeyGroup); group != nil && !r.UnseenAllow && !slices.ContainsFunc(usable, hasGroup) {
		w = append(w, "is never satisfied: no suite of cipher has a group")
	}
	return w
}

// hasGroup reports whether a suite's key exchange may name a group.
func hasGroup(code uint16) bool {
	s, ok := suites.ByCode(code)
	return !ok || s.KX == "any" || strings.HasPrefix(s.KX, "ECDHE")
}

// recordWarnings tells of requirements on what encryption hides.
func (r *rule) recordWarnings(allowed uint64) (w []string) {
	if r.UnseenAllow {
		return nil
	}
	if tls13 := versionBit(suites.VersionTLS13); allowed&tls13 != 0 {
		for i := range r.Require {
			what := hidden(r.Require[i].key)
			switch {
			case what == "":
				continue
			case allowed == tls13:
				w = append(w, `is never satisfied: TLS 1.3 encrypts `+what+`, and unseen = "allow" is not set`)
			default:
				w = append(w, `refuses every TLS 1.3 connection: `+r.Require[i].key.String()+` is encrypted there, and unseen = "allow" is not set`)
			}
			break
		}
	}
	if find(r.Require, KeyAlert) != nil {
		w = append(w, `refuses at every encrypted alert, the closing one of each connection too: set unseen = "allow" to judge only those in clear`)
	}
	return w
}

// refusalWarnings tells of refusals at a record that are not what was meant.
func (r *rule) refusalWarnings() (w []string) {
	a, on := r.Otherwise, r.Require
	if r.Action.Refuses() {
		a, on = r.Action, r.Match
	}
	switch kind := a.Kind(); {
	case kind == Drop && find(slices.Concat(on, r.Unless), KeyContentType) != nil:
		w = append(w, `stops the whole connection with the first such record: behind a byte that was dropped TCP delivers nothing, and both ends wait; "reset" tells them, and a hold has data wait`)
	case kind == Alert && slices.ContainsFunc(on, transient):
		w = append(w, `sends its alert only as long as the server's records are in clear: behind the ServerHello in TLS 1.3, and behind ChangeCipherSpec before, the connection is reset`)
	case kind == Alert && r.Hold != nil && r.Hold.Patience > 0:
		w = append(w, `resets a connection whose data has waited for too long: behind the handshake no alert is read any more`)
	}
	return w
}
