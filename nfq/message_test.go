package nfq

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// datagram is a netlink message as the kernel would send it.
func datagram(kind uint16, body []byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(sizeNetlink+len(body)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, make([]byte, 10)...)
	b = append(b, body...)
	return append(b, make([]byte, align(len(b))-len(b))...)
}

func attribute(kind uint16, value ...byte) []byte {
	b := append(appendAttribute(nil, kind, len(value)), value...)
	return append(b, make([]byte, align(len(b))-len(b))...)
}

func packetMessage(attributes ...[]byte) []byte {
	return datagram(msgPacket, append([]byte{unix.AF_INET, 0, 0, 7}, bytes.Join(attributes, nil)...))
}

var header = attribute(attrPacketHeader, 0, 0, 1, 2, 8, 0, 2)

func TestPacket(t *testing.T) {
	long := attribute(attrPayload, bytes.Repeat([]byte{0x45}, 65000)...)
	tests := []struct {
		name string
		in   []byte
		want Packet
		ok   bool
	}{
		{"all attributes", packetMessage(header,
			attribute(attrMark, 0, 0x80, 0, 1), attribute(attrInDev, 0, 0, 0, 3), attribute(attrOutDev, 0, 0, 0, 4),
			attribute(attrSKBInfo, 0, 0, 0, 7), attribute(attrCapLen, 0, 1, 0, 0), attribute(attrPayload, 1, 2, 3)),
			Packet{ID: 258, Hook: Forward, Mark: 0x800001, InDev: 3, OutDev: 4, CapLen: 65536, Payload: []byte{1, 2, 3},
				ChecksumNotReady: true, ChecksumUnverified: true, GSO: true}, true},
		{"unknown attributes", packetMessage(attribute(99, 1), header, attribute(attrPayload|unix.NLA_F_NESTED, 9), attribute(19, 0, 0, 0, 0)),
			Packet{ID: 258, Hook: Forward, Payload: []byte{9}}, true},
		{"large payload", packetMessage(header, long), Packet{ID: 258, Hook: Forward, Payload: long[4:]}, true},
		{"no payload", packetMessage(header), Packet{ID: 258, Hook: Forward}, true},
		{"no header", packetMessage(attribute(attrPayload, 1)), Packet{Payload: []byte{1}}, false},
		{"short header", packetMessage(attribute(attrPacketHeader, 0, 0, 0, 1)), Packet{}, false},
		{"short mark", packetMessage(header, attribute(attrMark, 1, 2)), Packet{ID: 258, Hook: Forward}, true},
		{"attribute length 0 after the payload", packetMessage(header, attribute(attrPayload, 1), make([]byte, 4)),
			Packet{ID: 258, Hook: Forward}, true},
		{"attribute longer than the message", packetMessage(header, []byte{200, 0, attrPayload, 0}), Packet{ID: 258, Hook: Forward}, true},
		{"three bytes too many", packetMessage(header, []byte{1, 2, 3}), Packet{ID: 258, Hook: Forward}, true},
		{"no nfgenmsg", datagram(msgPacket, nil), Packet{}, false},
	}
	for _, test := range tests {
		m, rest, ok := cutMessage(test.in)
		if !ok || len(rest) != 0 || m.kind != msgPacket {
			t.Errorf("%s: cutMessage: %v, %v, %d left", test.name, m.kind, ok, len(rest))
			continue
		}
		got := Packet{ID: 99, Payload: []byte("stale"), CapLen: 1, GSO: true}
		if ok := m.packet(&got); ok != test.ok {
			t.Errorf("%s: ok %t", test.name, ok)
		}
		if diff := cmp.Diff(got, test.want); diff != "" {
			t.Errorf("%s: (-got +want)\n%s", test.name, diff)
		}
	}
}

func TestCutMessage(t *testing.T) {
	two := append(datagram(msgPacket, []byte{1, 2, 3, 4, 5}), datagram(unix.NLMSG_ERROR, []byte{0, 0, 0, 0})...)
	first, rest, ok := cutMessage(two)
	if !ok || len(first.body) != 5 {
		t.Fatalf("first: %+v, %t", first, ok)
	}
	second, rest, ok := cutMessage(rest)
	if !ok || second.kind != unix.NLMSG_ERROR || second.errno() != 0 || len(rest) != 0 {
		t.Fatalf("second: %+v, %t", second, ok)
	}
	for _, bad := range [][]byte{nil, make([]byte, 15), make([]byte, 16), two[:16]} {
		if m, rest, ok := cutMessage(bad); ok || rest != nil {
			t.Errorf("%x: %+v, %x", bad, m, rest)
		}
	}
	if _, rest, ok := cutMessage(datagram(1, []byte{1})[:17]); !ok || len(rest) != 0 {
		t.Error("a last message need not be padded")
	}
}

func TestErrno(t *testing.T) {
	for _, test := range []struct {
		body []byte
		want unix.Errno
	}{
		{binary.NativeEndian.AppendUint32(nil, ^uint32(unix.ENOENT)+1), unix.ENOENT},
		{make([]byte, 20), 0},
		{[]byte{1}, unix.EBADMSG},
	} {
		if got := (message{unix.NLMSG_ERROR, test.body}).errno(); got != test.want {
			t.Errorf("%x: %v, want %v", test.body, got, test.want)
		}
	}
	var c counters
	c.refused(unix.ENOENT, 1)
	for _, errno := range []unix.Errno{1 << 31, ^unix.Errno(0), unix.EHWPOISON + 1} { // the kernel has no such
		c.refused(errno, 1)
	}
	c.refused(unix.EHWPOISON, 1)
	if c.verdictErrors[unix.ENOENT].Load() != 1 || c.verdictErrors[unix.EHWPOISON].Load() != 1 || c.verdictErrors[0].Load() != 3 {
		t.Error("not counted")
	}
}

// What appendVerdict writes, read back attribute by attribute.
func TestAppendVerdict(t *testing.T) {
	be := binary.BigEndian
	for _, test := range []struct {
		name    string
		v       Verdict
		mark    uint32
		payload []byte
		want    []byte // attributes
	}{
		{"drop", Drop, 0, nil, attribute(attrVerdictHeader, 0, 0, 0, 0, 0, 0, 1, 2)},
		{"a verdict that is none", 3, 0, nil, attribute(attrVerdictHeader, 0, 0, 0, 0, 0, 0, 1, 2)},
		{"repeat and mark", Repeat, 0x00c00001, nil, append(attribute(attrVerdictHeader, 0, 0, 0, 4, 0, 0, 1, 2),
			attribute(attrMark, 0, 0xc0, 0, 1)...)},
		{"accept and payload", Accept, 0, []byte("hello"), append(attribute(attrVerdictHeader, 0, 0, 0, 1, 0, 0, 1, 2),
			attribute(attrPayload, []byte("hello")...)...)},
		{"empty payload", Accept, 0, []byte{}, attribute(attrVerdictHeader, 0, 0, 0, 1, 0, 0, 1, 2)},
	} {
		prefix := []byte("before")
		b := appendVerdict(prefix, 513, 258, test.v, test.mark, test.payload)
		m, rest, ok := cutMessage(b[len(prefix):])
		if !ok || len(rest) != 0 || m.kind != msgVerdict || !bytes.HasPrefix(b, prefix) {
			t.Errorf("%s: %x", test.name, b)
			continue
		}
		if m.body[0] != unix.AF_UNSPEC || be.Uint16(m.body[2:]) != 513 {
			t.Errorf("%s: nfgenmsg %x", test.name, m.body[:4])
		}
		if got := m.body[sizeNetfilter:]; !bytes.Equal(got, test.want) {
			t.Errorf("%s: got %x, want %x", test.name, got, test.want)
		}
	}
}

func TestPrefix(t *testing.T) {
	var b []byte
	for range 10 {
		b = appendVerdict(b, 0, 1, Accept, 0, nil) // 32 bytes each
	}
	for _, test := range []struct{ limit, size, messages int }{
		{1000, 320, 10}, {320, 320, 10}, {319, 288, 9}, {64, 64, 2}, {10, 32, 1},
	} {
		if size, messages := prefix(b, test.limit); size != test.size || messages != test.messages {
			t.Errorf("limit %d: %d bytes, %d messages; want %d, %d", test.limit, size, messages, test.size, test.messages)
		}
	}
}

// Repeat without a mark, and a payload no attribute holds.
func TestVerdictThatWouldHarm(t *testing.T) {
	b := &recorder{}
	q := &Queue{backend: b}
	q.Verdict(1, Repeat, 0, []byte("x"))
	q.Verdict(2, Accept, 5, make([]byte, maxAttribute+1))
	q.Verdict(3, Accept, 5, make([]byte, maxAttribute))
	want := []Verdict{Drop, Drop, Accept}
	if diff := cmp.Diff(b.verdicts, want); diff != "" {
		t.Errorf("(-got +want)\n%s", diff)
	}
	if diff := cmp.Diff(b.sizes, []int{0, 0, maxAttribute}); diff != "" {
		t.Errorf("(-got +want)\n%s", diff)
	}
}

type recorder struct {
	backend
	verdicts []Verdict
	sizes    []int
}

func (r *recorder) verdict(id uint32, v Verdict, mark uint32, payload []byte) {
	r.verdicts, r.sizes = append(r.verdicts, v), append(r.sizes, len(payload))
}

func FuzzMessages(f *testing.F) {
	f.Add(packetMessage(header, attribute(attrMark, 0, 0x80, 0, 1), attribute(attrPayload, 1, 2, 3)))
	f.Add(append(packetMessage(header), datagram(unix.NLMSG_ERROR, []byte{0xfe, 0xff, 0xff, 0xff})...))
	f.Add(packetMessage(header, []byte{200, 0, attrPayload, 0}))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		for left := b; len(left) > 0; {
			m, rest, ok := cutMessage(left)
			if len(rest) >= len(left) {
				t.Fatal("no progress")
			}
			if ok && len(m.body)+sizeNetlink > len(left) {
				t.Fatal("a message longer than its datagram")
			}
			left = rest
			m.errno()
			var p Packet
			if !m.packet(&p) && p.ID != 0 {
				t.Error("an id, and not ok")
			}
			if len(p.Payload) > len(m.body) || cap(p.Payload) > len(p.Payload) {
				t.Errorf("%d bytes of payload, capacity %d, in %d", len(p.Payload), cap(p.Payload), len(m.body))
			}
		}
		if !bytes.Equal(b, before) {
			t.Error("the message was written to")
		}
	})
}
