package main

import (
	"net/netip"
	"slices"
	"time"
)

// difference is one fact on which an oracle and we do not agree.
type difference struct {
	oracle, file, conn, field string
	ours, theirs              string
	facts, theirFacts         map[string]string // of the connection
	explained                 *explanation
}

// score counts what became of one field.
type score struct {
	compared, agree, differ, explained int
	oursOnly                           int
}

// comparison is a run with one oracle over all files.
type comparison struct {
	oracle string
	scores map[string]*score
	told   map[string]bool // fields of which we had a word
	list   []difference
	only   []string // connections in which only we found TLS
	list0  []explanation
}

// connection is the field that says whether TLS was found at all, and hello
// whether what the oracle read of it was.
const (
	connection = "connection"
	tuple      = "tuple"
	helloField = "client_hello"
	answerName = "server_hello"
)

// maxListed bounds the differences that are kept to be shown; all are counted.
const maxListed = 20000

// slack is how far the clocks of two readers of one file may differ: EVE counts
// in microseconds.
const slack = time.Millisecond

// key is a connection's ends, whichever way round.
func key(c *conn) [2]netip.AddrPort {
	ends := [2]netip.AddrPort{c.src, c.dst}
	if ends[1].Compare(ends[0]) < 0 {
		ends[0], ends[1] = ends[1], ends[0]
	}
	return ends
}

// compare sets each connection the oracle tells of against ours.
func (c *comparison) compare(file string, ours, theirs *told) {
	for name := range ours.fields {
		c.told[name] = true
	}
	byEnds := map[[2]netip.AddrPort][]*conn{}
	for _, x := range ours.conns {
		x.matched = false
		byEnds[key(x)] = append(byEnds[key(x)], x)
	}
	for _, t := range theirs.conns {
		if !t.tls {
			continue
		}
		o := partner(byEnds[key(t)], t)
		switch {
		case o == nil:
			c.judge(file, &conn{}, t, connection, "not found", "TLS")
		case !o.tls:
			o.matched = true
			c.judge(file, o, t, connection, "no TLS in connection "+o.name, "TLS")
		default:
			o.matched = true
			c.judge(file, o, t, connection, "TLS", "TLS")
			c.pair(file, o, t)
		}
	}
	for _, x := range ours.conns {
		if x.tls && !x.matched && x.facts["client_random"] != "" && len(c.only) < maxListed {
			c.only = append(c.only, file+" "+describe(x))
		}
	}
}

// partner finds the connection of the same ends at the same time.
func partner(list []*conn, t *conn) *conn {
	var best *conn
	var overlap time.Duration
	for _, o := range list {
		both := min(o.last.UnixNano(), t.last.UnixNano()) - max(o.start.UnixNano(), t.start.UnixNano())
		d := time.Duration(both) + slack
		// The clock of some captures goes backwards: ends that met once are the ends.
		if d < 0 && len(list) > 1 {
			continue
		}
		if best == nil || d > overlap || o.tls && !best.tls || best.matched && !o.matched {
			best, overlap = o, d
		}
	}
	return best
}

// pair compares the facts of one connection.
func (c *comparison) pair(file string, o, t *conn) {
	flipped := o.src != t.src
	if !flipped || t.syn && o.syn {
		c.judge(file, o, t, tuple, o.src.String()+" > "+o.dst.String(), t.src.String()+" > "+t.dst.String())
	}
	if _, ok := t.facts["extensions"]; ok && t.facts["client_random"] != "" {
		if !c.parent(file, o, t, helloField, "client_random") {
			return
		}
	}
	answered := true
	if _, ok := t.facts["server_version"]; ok && t.facts["client_random"] != "" {
		answered = c.parent(file, o, t, answerName, "version")
	}
	for i := range fields {
		f := &fields[i]
		if f.parent == answer && !answered {
			continue
		}
		theirs, ok := t.facts[f.name]
		if flipped {
			switch f.name {
			case "records_to_server":
				theirs, ok = t.facts["records_to_client"], true
			case "records_to_client":
				theirs, ok = t.facts["records_to_server"], true
			}
		}
		mine, known := o.facts[f.name]
		switch {
		case ok:
			c.judge(file, o, t, f.name, mine, theirs)
		case known && mine != "":
			c.score(f.name).oursOnly++
		}
	}
}

// parent checks that a message the oracle read was read by us.
func (c *comparison) parent(file string, o, t *conn, name, fact string) bool {
	_, ok := o.facts[fact]
	if !ok {
		c.judge(file, o, t, name, "not told", "seen")
		return false
	}
	c.judge(file, o, t, name, "seen", "seen")
	return true
}

func (c *comparison) score(name string) *score {
	s := c.scores[name]
	if s == nil {
		s = &score{}
		c.scores[name] = s
	}
	return s
}

func (c *comparison) judge(file string, o, t *conn, name, ours, theirs string) {
	s := c.score(name)
	s.compared++
	if ours == theirs {
		s.agree++
		return
	}
	d := difference{oracle: c.oracle, file: file, conn: describe(t), field: name, ours: ours, theirs: theirs, facts: o.facts, theirFacts: t.facts}
	i := slices.IndexFunc(c.list0, func(e explanation) bool { return e.matches(&d) })
	if i >= 0 {
		c.list0[i].used++
		d.explained = &c.list0[i]
		s.explained++
	} else {
		s.differ++
	}
	if len(c.list) < maxListed {
		c.list = append(c.list, d)
	}
}

func describe(c *conn) string {
	return c.name + " " + c.src.String() + " > " + c.dst.String()
}
