package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
)

func TestBroken(t *testing.T) {
	le := binary.LittleEndian
	four := ipv4(t, "text")
	pcap := pcapOf(le, magicMicro, 101, four, four)
	ng := func(blocks ...[]byte) []byte { return append(section(le), bytes.Join(blocks, nil)...) }
	iface := described(le, linkRaw, 0, optionName, 'e')
	changed := func(b []byte, at int, v uint32) []byte {
		b = bytes.Clone(b)
		le.PutUint32(b[at:], v)
		return b
	}
	for _, tt := range []struct {
		name    string
		file    []byte
		packets int
		want    string // after the name of the file
	}{
		{"empty", nil, 0, "the file is empty"},
		{"two bytes", []byte{0xd4, 0xc3}, 0, "neither pcap nor pcapng"},
		{"text", []byte("1  0.000000 192.0.2.1"), 0, "neither pcap nor pcapng"},
		{"pcap header cut", pcap[:23], 0, "the file ends in its header"},
		{"pcap of another time", changed(pcap, 4, 1), 0, "pcap version 1.0 is not supported"},
		{"pcap of USB", changed(pcap, 20, 220), 0, "link type 220 (USB_LINUX_MMAPPED) is not supported"},
		{"pcap, packet header cut", pcap[:24+16+len(four)+15], 1, "packet 2, offset 64: the file ends in the middle of a packet"},
		{"pcap, packet cut", pcap[:len(pcap)-1], 1, "packet 2, offset 64: the file ends in the middle of a packet"},
		{"pcap, packet missing", pcap[:24+16], 0, "packet 1, offset 24: the file ends in the middle of a packet"},
		{"pcap, packet too long", changed(pcap, 24+8, 1<<20+1), 0, "packet 1, offset 24: 1048577 bytes in one piece, at most 1048576 are read"},

		{"pcapng header cut", section(le)[:20], 0, "the file ends in its header"},
		{"pcapng without a byte order", changed(section(le), 8, 0), 0, "a section has no byte order"},
		{"pcapng of another time", changed(section(le), 12, 2), 0, "pcapng version 2.0 is not supported"},
		{"pcapng, section too short", changed(section(le), 4, 24), 0, "the lengths in a block contradict each other"},
		{"pcapng, section too long", changed(section(le), 4, 1<<31), 0, "the file ends in its header"},
		{"pcapng, section lengths differ", changed(section(le), 24, 32), 0, "the lengths in a block contradict each other"},
		{"pcapng, block cut", ng(iface[:7]), 0, "packet 1, offset 28: the file ends in the middle of a packet"},
		{"pcapng, block too short", ng(changed(iface, 4, 8)), 0, "packet 1, offset 28: the lengths in a block contradict each other"},
		{"pcapng, block length odd", ng(changed(iface, 4, 33)), 0, "packet 1, offset 28: the lengths in a block contradict each other"},
		{"pcapng, block lengths differ", ng(changed(iface, len(iface)-4, 1)), 0, "packet 1, offset 28: the lengths in a block contradict each other"},
		{"pcapng, second length missing", ng(iface, enhanced(le, 0, 1, len(four), four)[:32+len(four)-4]), 0, "packet 1, offset 60: the file ends in the middle of a packet"},
		{"pcapng, option too long", ng(changed(iface, 16, optionName|500<<16)), 0, "packet 1, offset 28: the lengths in a block contradict each other"},
		{"pcapng, interface too short", ng(block(le, blockInterface, 1, 0, 0, 0)), 0, "packet 1, offset 28: the lengths in a block contradict each other"},
		{"pcapng, interface too long", ng(block(le, blockInterface, make([]byte, 300<<10)...)), 0, "packet 1, offset 28: an interface description has 307200 bytes, at most 262144 are read"},
		{"pcapng, interfaces without end", ng(bytes.Repeat(iface, maxInterfaces+1)), 0, "packet 1, offset 131100: a section has more than 4096 interfaces"},
		{"pcapng, no interface", ng(enhanced(le, 0, 1, len(four), four)), 0, "packet 1, offset 28: interface 0 was not described"},
		{"pcapng, wrong interface", ng(iface, enhanced(le, 0, 1, len(four), four), enhanced(le, 1<<31, 1, len(four), four)), 1, "packet 2, offset 116: interface 2147483648 was not described"},
		{"pcapng, interface of another section", ng(iface, section(le), enhanced(le, 0, 1, len(four), four)), 0, "packet 1, offset 88: interface 0 was not described"},
		{"pcapng, simple without interface", ng(block(le, blockSimple, 1, 0, 0, 0, 1, 2, 3, 4)), 0, "packet 1, offset 28: interface 0 was not described"},
		{"pcapng, simple too short", ng(iface, block(le, blockSimple)), 0, "packet 1, offset 60: the lengths in a block contradict each other"},
		{"pcapng, enhanced too short", ng(iface, block(le, blockEnhanced, make([]byte, 16)...)), 0, "packet 1, offset 60: the lengths in a block contradict each other"},
		{"pcapng, packet beyond its block", ng(iface, changed(enhanced(le, 0, 1, len(four), four), 20, 100)), 0, "packet 1, offset 60: the lengths in a block contradict each other"},
		{"pcapng, of Bluetooth", ng(described(le, 187, 0, optionName), enhanced(le, 0, 1, len(four), four)), 0, "packet 1, offset 56: link type 187 (BLUETOOTH_HCI_H4) is not supported, such packets are left out"},
		{"pcapng, out of time", ng(described(le, linkRaw, 0, optionResolution, 0), enhanced(le, 0, 1<<62, len(four), four)), 0, "packet 1, offset 60: time stamp 4611686018427387904 is out of range"},
		{"gzip of text", gzipped([]byte("hello, world")), 0, "neither pcap nor pcapng"},
		{"gzip of nothing", gzipped(nil), 0, "the file is empty"},
		{"gzip header cut", gzipped(pcap)[:5], 0, "the file ends in its header"},
		{"gzip with a wrong header", append([]byte{0x1f, 0x8b, 0xff}, pcap...), 0, "gzip: invalid header"},
		{"gzip with a wrong checksum", changed(gzipped(pcap), len(gzipped(pcap))-8, 1), 2, "packet 3, offset 104: gzip: invalid checksum"},
	} {
		path := save(t, "x", tt.file)
		got, _, err := readAll(path)
		if err == nil || err.Error() != "capture: read "+path+": "+tt.want {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		if len(got) != tt.packets {
			t.Errorf("%s: %d packets, want %d", tt.name, len(got), tt.packets)
		}
	}
}

func TestUnreadable(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{
		dir + "/missing": "capture: open " + dir + "/missing: no such file or directory",
		dir:              "capture: read " + dir + ": is a directory",
	} {
		if _, err := Open(path); err == nil || err.Error() != want {
			t.Errorf("Open(%s) = %v, want %s", path, err, want)
		}
	}
	if _, err := Create(dir); err == nil || !strings.Contains(err.Error(), "capture: create "+dir+": is a directory") {
		t.Errorf("Create(%s) = %v", dir, err)
	}
}

// Wherever a file ends, what it holds in full is read, and the cut is noticed.
func TestEveryPrefix(t *testing.T) {
	a, b, c := ipv4(t, "a"), ipv6(t, "bb"), ipv4(t, "ccc")
	for name, file := range map[string][]byte{
		"pcap":   pcapOf(binary.BigEndian, magicMicro, 101, a, b, c),
		"pcapng": ngOf(t, a, b, c),
		"gzip":   gzipped(pcapOf(binary.LittleEndian, magicMicro, 101, a, b, c)),
	} {
		all, _, err := readAll(save(t, name, file))
		if err != nil || len(all) != 3 {
			t.Fatalf("%s: %d packets, %v", name, len(all), err)
		}
		before := 0
		for n := range file {
			path := save(t, name, file[:n])
			got, _, err := readAll(path)
			if len(got) < before || len(got) > 3 {
				t.Fatalf("%s: %d packets of %d bytes, %d of fewer", name, len(got), n, before)
			}
			before = len(got)
			for i := range got {
				if !bytes.Equal(got[i].Data, all[i].Data) {
					t.Fatalf("%s: packet %d of %d bytes differs", name, i, n)
				}
			}
			if len(got) > 0 && err != nil && !errors.Is(err, ErrTruncated) {
				t.Fatalf("%s of %d bytes: %v", name, n, err)
			}
			os.Remove(path)
		}
	}
}

// FuzzReader reads anything as a file. It must end, with packets no longer than
// the bound, and an error that says why.
func FuzzReader(f *testing.F) {
	four := ipv4(f, "text")
	le, be := binary.LittleEndian, binary.BigEndian
	for _, file := range [][]byte{
		pcapOf(le, magicMicro, 1, framed(f, ether(0x0800)), four),
		pcapOf(be, magicNano, 276, sll2(etherVLAN, append([]byte{0, 7, 8, 0}, four...))),
		ngOf(f, four, four),
		bytes.Join([][]byte{section(be), described(be, linkRaw, 0, optionResolution, 0x8a), enhanced(be, 0, 1<<40, 99, four), section(le)}, nil),
		gzipped(pcapOf(le, magicMicro, 0, append([]byte{2, 0, 0, 0}, four...))),
	} {
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		r := &Reader{files: files{name: "fuzz"}, in: newInput(bytes.NewReader(file))}
		src, err := newSource(r.in, &r.counts.Dropped)
		if err != nil {
			return
		}
		r.source = src
		for range 4*len(file) + 1000 {
			var p Packet
			err := r.Next(&p)
			if err == io.EOF {
				return
			}
			var e *Error
			if err != nil && (!errors.As(err, &e) || e.File != "fuzz" || err.Error() == "") {
				t.Fatalf("error without a file: %v", err)
			}
			if err != nil {
				continue
			}
			if len(p.Data) == 0 || len(p.Data) > maxPacket {
				t.Fatalf("a packet of %d bytes", len(p.Data))
			}
		}
	})
}
