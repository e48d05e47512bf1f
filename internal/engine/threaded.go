package engine

// neighbours are who stands next to one in a list. The zero neighbours are none.
type neighbours[T any] struct {
	before, after *T
}

// threaded is a list of what waits for its turn. It goes through the neighbours that
// of finds in each, so that to stand in it allocates nothing. The zero threaded is
// empty.
type threaded[T any] struct {
	first, last *T
}

// push puts x, which is in no list by these neighbours, at the end.
func (l *threaded[T]) push(x *T, of func(*T) *neighbours[T]) {
	of(x).before = l.last
	if l.last != nil {
		of(l.last).after = x
	} else {
		l.first = x
	}
	l.last = x
}

// remove takes x out, which is in the list.
func (l *threaded[T]) remove(x *T, of func(*T) *neighbours[T]) {
	n := of(x)
	if n.before != nil {
		of(n.before).after = n.after
	} else {
		l.first = n.after
	}
	if n.after != nil {
		of(n.after).before = n.before
	} else {
		l.last = n.before
	}
	*n = neighbours[T]{}
}
