package events

// What lines that wait for a reader may take, in bytes, all together: an event may tell
// of two chains of certificates, and of all that a hello of 64 kB offers.
const (
	queuedBytes = 32 << 20
	tailedBytes = 4 << 20
)

// room knows what the lines in a channel take, by how many are left in it: their reader
// need not tell. The zero room is that of an empty channel.
type room struct {
	sizes       []int // a ring, as long as the channel
	first, n    int
	bytes, most int
}

func newRoom(lines, most int) room { return room{sizes: make([]int, lines), most: most} }

// fits reports whether there is room for a line beside those that are left. One alone
// always has.
func (r *room) fits(left, size int) bool {
	for ; r.n > left; r.n-- {
		r.bytes -= r.sizes[r.first]
		r.first = (r.first + 1) % len(r.sizes)
	}
	return r.bytes == 0 || r.bytes+size <= r.most
}

// add notes a line that was put in, after fits.
func (r *room) add(size int) {
	r.sizes[(r.first+r.n)%len(r.sizes)] = size
	r.n++
	r.bytes += size
}
