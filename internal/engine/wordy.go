package engine

// usualTold is what a connection may hold of what its hellos said without being asked:
// a post-quantum hello has a tenth of it.
const usualTold = 8 << 10

// maxSaid bounds what is remembered of the names of a connection that is read no more.
const maxSaid = 1 << 10

// wordy reports whether there is no room for what the hellos of a connection have said,
// which is held for as long as it is read. What is more than usual of it is taken from
// limits.buffered.
func (e *Engine) wordy(f *flow) bool {
	told, has := f.ins.tls.Told(), e.told[f.ins]
	if told <= max(usualTold, has) {
		return false
	}
	if !e.budget.Reserve(told - has) {
		return true
	}
	if e.told == nil {
		e.told = map[*inspection]int{}
	}
	e.told[f.ins] = told
	return false
}

// forgetTold gives back what wordy took.
func (e *Engine) forgetTold(ins *inspection) {
	if has := e.told[ins]; has > 0 {
		e.budget.Return(has)
		delete(e.told, ins)
	}
}
