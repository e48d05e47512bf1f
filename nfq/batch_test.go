package nfq

import (
	"errors"
	"net"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// pairRaw is a descriptor of a socket pair as a RawConn; the peer plays the kernel.
type pairRaw struct{ fd uintptr }

func (p pairRaw) Control(f func(uintptr)) error   { f(p.fd); return nil }
func (p pairRaw) Read(f func(uintptr) bool) error { f(p.fd); return nil }

func (p pairRaw) Write(f func(uintptr) bool) error { f(p.fd); return nil }

// newPair is a batchQueue without a kernel queue.
func newPair(t testing.TB) (q *batchQueue, kernel int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
	q = &batchQueue{raw: pairRaw{uintptr(fds[0])}, number: 7, counters: &counters{}, sendLimit: 4096}
	q.write = q.writeTo
	q.reader.init()
	return q, fds[1]
}

func TestNoAllocs(t *testing.T) {
	q, kernel := newPair(t)
	in := packetMessage(header, attribute(attrPayload, make([]byte, 1500)...))
	batch := make([]Packet, 64)
	answer := make([]byte, 65536)
	round := func() {
		for range 8 {
			if _, err := unix.Write(kernel, in); err != nil {
				t.Fatal(err)
			}
		}
		n, err := q.recv(batch, time.Second)
		if n != 8 || err != nil {
			t.Fatal(n, err)
		}
		for i := range batch[:n] {
			q.verdict(batch[i].ID, Repeat, 0xc00000, batch[i].Payload[:100])
		}
		if err := q.flush(); err != nil {
			t.Fatal(err)
		}
		if _, err := unix.Read(kernel, answer); err != nil {
			t.Fatal(err)
		}
		q.recv(batch, time.Microsecond) // the wait, too
	}
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations for eight packets", n)
	}
}

// A datagram may hold several messages, and a packet be among others.
func TestMessagesOfADatagram(t *testing.T) {
	q, kernel := newPair(t)
	enoent := datagram(unix.NLMSG_ERROR, []byte{0xfe, 0xff, 0xff, 0xff})
	unix.Write(kernel, enoent)
	unix.Write(kernel, append(append(packetMessage(header, attribute(attrPayload, 1)), enoent...), packetMessage(header, attribute(attrPayload, 2))...))
	unix.Write(kernel, []byte("nonsense"))
	unix.Write(kernel, datagram(0x1234, nil))
	unix.Write(kernel, packetMessage(header, attribute(attrPayload, 3)))
	var got []byte
	for range 3 {
		batch := make([]Packet, 1)
		n, err := q.recv(batch, time.Second)
		if n != 1 || err != nil {
			t.Fatal(n, err)
		}
		got = append(got, batch[0].Payload...)
	}
	if string(got) != "\x01\x02\x03" {
		t.Errorf("got %x", got)
	}
	c := q.counters
	if c.verdictErrors[unix.ENOENT].Load() != 2 || c.malformed.Load() != 2 {
		t.Errorf("%d refused, %d malformed", c.verdictErrors[unix.ENOENT].Load(), c.malformed.Load())
	}
}

// Who is not the kernel is not heard.
func TestForeignSender(t *testing.T) {
	q, kernel := newPair(t)
	q.reader.senders[0].Pid = 77 // a Unix socket leaves it as it is
	unix.Write(kernel, packetMessage(header, attribute(attrPayload, 1)))
	if n, err := q.recv(make([]Packet, 1), 20*time.Millisecond); n != 0 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if q.counters.malformed.Load() != 1 {
		t.Error("not counted")
	}
}

// Verdicts that could not be sent are sent by the next Flush, in their order.
func TestFlushAgain(t *testing.T) {
	q, kernel := newPair(t)
	for id := range uint32(2000) {
		q.verdict(id, Accept, 0, nil)
	}
	seen := uint32(0)
	b := make([]byte, 65536)
	for flushes := 0; seen < 2000; flushes++ {
		err := q.flush()
		if err != nil && !errors.Is(err, unix.EAGAIN) || flushes > 2000 {
			t.Fatal(err)
		}
		n, err := unix.Read(kernel, b)
		if err != nil {
			t.Fatal(err)
		}
		for left := b[:n]; len(left) > 0; seen++ {
			m, rest, ok := cutMessage(left)
			if id := uint32(m.body[14])<<8 | uint32(m.body[15]); !ok || id != seen {
				t.Fatalf("verdict %d, want %d", id, seen)
			}
			left = rest
		}
	}
	if q.counters.verdicts.Load() != 2000 || len(q.out) != 0 {
		t.Errorf("%d counted, %d bytes left", q.counters.verdicts.Load(), len(q.out))
	}
}

func TestSequence(t *testing.T) {
	c := &counters{}
	for _, id := range []uint32{1, 2, 5, 6} {
		c.sequence(id)
	}
	if got := c.missed.Load(); got != 2 {
		t.Errorf("missed %d, want 2", got)
	}
	c = &counters{lastID: 1<<32 - 2}
	for _, id := range []uint32{1<<32 - 1, 0, 3} {
		c.sequence(id)
	}
	if got := c.missed.Load(); got != 2 {
		t.Errorf("around 0: missed %d, want 2", got)
	}
}

func TestFindRow(t *testing.T) {
	table := []byte("    0  31621     5 2 65531     7     8       52  1\n    3 4294963104     0 2 65531     0     0        0  1\n")
	if row, err := findRow(table, 0); err != nil || row != (queueRow{31621, 5, 7, 8}) {
		t.Errorf("%+v, %v", row, err)
	}
	if row, err := findRow(table, 3); err != nil || row.portID != 4294963104 {
		t.Errorf("%+v, %v", row, err)
	}
	if _, err := findRow(table, 1); err == nil {
		t.Error("found a queue that is not there")
	}
}

func TestOpenUnknownBackend(t *testing.T) {
	_, err := Open(Config{Backend: "batchy"})
	var e *Error
	if !errors.As(err, &e) || e.Hint == "" {
		t.Error(err)
	}
}

func TestErrors(t *testing.T) {
	if err := wrap("x", nil); err != nil {
		t.Errorf("nil became %v", err)
	}
	for _, test := range []struct {
		err  error
		want error
	}{
		{socketError("x", unix.EPERM), ErrPermission},
		{socketError("x", unix.EPERM), unix.EPERM},
		{socketError("x", unix.EPROTONOSUPPORT), ErrUnsupported},
		{socketError("x", unix.EINVAL), ErrUnsupported},
		{bindError(0, unix.EPERM), ErrTaken},
		{closedError("x"), net.ErrClosed},
	} {
		if !errors.Is(test.err, test.want) {
			t.Errorf("%v is not %v", test.err, test.want)
		}
	}
}

// Every counter is added: a new one, too.
func TestStatsAdd(t *testing.T) {
	one := Stats{VerdictErrors: map[unix.Errno]uint64{unix.ENOENT: 1}}
	want := Stats{VerdictErrors: map[unix.Errno]uint64{unix.ENOENT: 2}}
	for i := range reflect.TypeFor[Stats]().NumField() {
		switch f := reflect.ValueOf(&one).Elem().Field(i); f.Kind() {
		case reflect.Uint64:
			f.SetUint(uint64(i) + 1)
			reflect.ValueOf(&want).Elem().Field(i).SetUint(2 * (uint64(i) + 1))
		case reflect.Bool:
			f.SetBool(true)
			reflect.ValueOf(&want).Elem().Field(i).SetBool(true)
		}
	}
	var got Stats
	got.Add(&one)
	got.Add(&one)
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("(-got +want)\n%s", diff)
	}
}
