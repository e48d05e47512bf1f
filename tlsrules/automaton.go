package tlsrules

// automaton searches for all texts of a policy at once: Aho and Corasick's, with
// every step worked out. It has as many states as the texts have prefixes, and a
// column for each byte that one of them has and one for all others. The zero
// automaton searches for nothing.
type automaton struct {
	column  [256]uint16 // of a byte, 0 for those in no text
	columns int
	next    []uint16 // by state and column
	found   []uint64 // by state: which texts end there
}

// maxStates is what a SearchState can count: 63 texts of 256 bytes have fewer.
const maxStates = 1 << 16

func newAutomaton(texts []string) (a automaton) {
	if len(texts) == 0 {
		return a
	}
	a.columns = 1
	for _, text := range texts {
		for i := range len(text) {
			if a.column[text[i]] == 0 {
				a.column[text[i]] = uint16(a.columns)
				a.columns++
			}
		}
	}
	a.add() // the beginning, to which all leads that is no prefix
	for bit, text := range texts {
		state := 0
		for i := range len(text) {
			at := state*a.columns + int(a.column[text[i]])
			if a.next[at] == 0 {
				added := a.add()
				a.next[at] = added
			}
			state = int(a.next[at])
		}
		a.found[state] |= 1 << bit
	}
	a.complete()
	return a
}

// add adds a state.
func (a *automaton) add() uint16 {
	a.next = append(a.next, make([]uint16, a.columns)...)
	a.found = append(a.found, 0)
	return uint16(len(a.found) - 1)
}

// complete works out the steps that leave a text: to where the longest end of
// what was read leads that is the beginning of a text. States are taken in the
// order of their length, so that shorter ones are complete.
func (a *automaton) complete() {
	back := make([]uint16, len(a.found))
	queue := []uint16{0}
	for i := 0; i < len(queue); i++ {
		state := int(queue[i])
		row := a.next[state*a.columns:][:a.columns]
		for column, to := range row {
			fallen := uint16(0)
			if state != 0 {
				fallen = a.next[int(back[state])*a.columns+column]
			}
			if to == 0 {
				row[column] = fallen
				continue
			}
			back[to] = fallen
			a.found[to] |= a.found[fallen]
			queue = append(queue, to)
		}
	}
}

// SearchState is how far the search for a policy's patterns has come in one
// direction of a connection. The zero SearchState is at the beginning.
type SearchState uint16

// Search reads the bytes that follow, and returns a bit for each of Patterns that
// ends in them. It does not allocate.
func (p *Policy) Search(state SearchState, b []byte) (SearchState, uint64) {
	a := &p.automaton
	if a.columns == 0 {
		return 0, 0
	}
	var found uint64
	s := int(state)
	for _, v := range b {
		s = int(a.next[s*a.columns+int(a.column[v])])
		found |= a.found[s]
	}
	return SearchState(s), found
}
