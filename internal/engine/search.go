package engine

import (
	"tlsgate/conntrack"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/tlswire"
)

// Bounds of what is searched for the texts of contains on a connection that does
// not speak TLS: so much of both directions, or so much of one.
const (
	searchBoth = 64 << 10
	searchOne  = 1 << 20
)

// search is how far the search in the cleartext of a connection has come. The
// zero search is at its beginning.
type search struct {
	policy *tlsrules.Policy        // whose texts they are
	state  [2]tlsrules.SearchState // by tlswire.Side
	read   [2]uint32
}

func (e *Engine) searchOf(f *flow) *search {
	if f.search == nil {
		if n := len(e.searches); n > 0 {
			f.search = e.searches[n-1]
			e.searches = e.searches[:n-1]
		} else {
			f.search = new(search)
		}
		f.search.policy = e.policy
	}
	return f.search
}

// endSearch gives back what the search took.
func (e *Engine) endSearch(f *flow) {
	if f.search == nil {
		return
	}
	*f.search = search{}
	if len(e.searches) < maxSpare {
		e.searches = append(e.searches, f.search)
	}
	f.search = nil
}

// search looks for the policy's texts in bytes of a side, as long as they are in
// clear, and judges the connection by what it has found.
func (e *Engine) search(c *conntrack.Conn[flow], from tlswire.Side, b []byte) {
	f := &c.Value
	facts := &f.ins.facts
	if len(e.policy.Patterns()) == 0 || f.phase != reading || facts.ContainsOver || unseen(c) && f.provisional {
		return
	}
	t, s := &f.ins.tls, e.searchOf(f)
	if !t.Encrypted(from) {
		var found uint64
		s.state[from], found = e.policy.Search(s.state[from], b)
		s.read[from] = min(s.read[from]+uint32(len(b)), searchOne)
		if found &^= facts.Contains; found != 0 {
			facts.Contains |= found
			e.notice(NoticedText)
			e.searched(c)
		}
	}
	if e.searchOver(f) {
		facts.ContainsOver = true
		e.searched(c)
	}
}

// searchOver reports whether no more of a connection is to be searched: both
// sides are encrypted, or it has said enough in clear.
func (e *Engine) searchOver(f *flow) bool {
	t, s := &f.ins.tls, f.search
	if t.Encrypted(tlswire.Client) && t.Encrypted(tlswire.Server) {
		return true
	}
	return min(s.read[0], s.read[1]) >= searchBoth || max(s.read[0], s.read[1]) == searchOne
}

// searched judges what the search has told. It tells of no record.
func (e *Engine) searched(c *conntrack.Conn[flow]) {
	f := &c.Value
	if f.phase == reading {
		f.ins.facts.Content, f.ins.facts.HasAlert = 0, false
		e.judge(c)
		e.unsearched(c)
	}
}
