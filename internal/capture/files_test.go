package capture

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
	"github.com/klauspost/compress/zstd"
)

// ipv4 and ipv6 build IP packets that carry text.
func ipv4(t testing.TB, text string) []byte {
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.IP{192, 0, 2, 1}, DstIP: net.IP{192, 0, 2, 2}}
	return build(t, ip, gopacket.Payload(text))
}

func ipv6(t testing.TB, text string) []byte {
	ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolNoNextHeader, SrcIP: net.ParseIP("2001:db8::1"), DstIP: net.ParseIP("2001:db8::2")}
	return build(t, ip, gopacket.Payload(text))
}

func build(t testing.TB, ls ...gopacket.SerializableLayer) []byte {
	t.Helper()
	return serialize(t, gopacket.SerializeOptions{FixLengths: true}, ls...)
}

// framed puts an Ethernet header before layers, without the padding of short
// frames that gopacket adds.
func framed(t testing.TB, e *layers.Ethernet, ls ...gopacket.SerializableLayer) []byte {
	t.Helper()
	return append(serialize(t, gopacket.SerializeOptions{}, e)[:14:14], serialize(t, gopacket.SerializeOptions{}, ls...)...)
}

func serialize(t testing.TB, opts gopacket.SerializeOptions, ls ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, opts, ls...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

var (
	mac   = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	epoch = time.Unix(1795253400, 123456789)
)

func ether(kind layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: mac, DstMAC: mac, EthernetType: kind}
}

func vlan(kind layers.EthernetType) *layers.Dot1Q {
	return &layers.Dot1Q{VLANIdentifier: 7, Type: kind}
}

// sll and sll2 are Linux cooked headers.
func sll(kind uint16, payload []byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{0, 4, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0}, kind), payload...)
}

func sll2(kind uint16, payload []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, kind)
	return append(append(b, 0, 0, 0, 0, 0, 3, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0), payload...)
}

// pcapOf is a pcap file, written without gopacket: any link type, any order.
func pcapOf(order binary.ByteOrder, magic uint32, link uint32, frames ...[]byte) []byte {
	b := make([]byte, 24)
	order.PutUint32(b, magic)
	order.PutUint16(b[4:], 2)
	order.PutUint16(b[6:], 4)
	order.PutUint32(b[16:], 262144)
	order.PutUint32(b[20:], link)
	for _, f := range frames {
		h := make([]byte, 16)
		order.PutUint32(h, uint32(epoch.Unix()))
		order.PutUint32(h[4:], 123456)
		order.PutUint32(h[8:], uint32(len(f)))
		order.PutUint32(h[12:], uint32(len(f)))
		b = append(append(b, h...), f...)
	}
	return b
}

// modifiedPcap is a pcap file of the old format with longer packet headers.
func modifiedPcap(order binary.ByteOrder, frames ...[]byte) []byte {
	b := pcapOf(order, magicModified, linkRaw)
	for _, f := range frames {
		h := pcapOf(order, magicMicro, linkRaw, f)[24:][:16]
		b = append(append(append(b, h...), 3, 0, 0, 0, 8, 0, 0, 0), f...)
	}
	return b
}

// block is a pcapng block.
func block(order binary.ByteOrder, kind uint32, body ...byte) []byte {
	body = append(body, make([]byte, -len(body)&3)...)
	h := make([]byte, 8)
	order.PutUint32(h, kind)
	order.PutUint32(h[4:], uint32(len(body)+12))
	return append(append(h, body...), h[4:]...)
}

func section(order binary.ByteOrder) []byte {
	b := make([]byte, 16)
	order.PutUint32(b, byteOrderMagic)
	order.PutUint16(b[4:], 1)
	for i := range 8 {
		b[8+i] = 0xff
	}
	return block(order, blockSection, b...)
}

// described is an interface description with one option.
func described(order binary.ByteOrder, link uint16, snap uint32, code uint16, value ...byte) []byte {
	b := make([]byte, 12)
	order.PutUint16(b, link)
	order.PutUint32(b[4:], snap)
	order.PutUint16(b[8:], code)
	order.PutUint16(b[10:], uint16(len(value)))
	b = append(b, value...)
	return block(order, blockInterface, append(b, make([]byte, -len(b)&3+4)...)...)
}

func enhanced(order binary.ByteOrder, index uint32, stamp uint64, sent int, data []byte) []byte {
	b := make([]byte, 20)
	order.PutUint32(b, index)
	order.PutUint32(b[4:], uint32(stamp>>32))
	order.PutUint32(b[8:], uint32(stamp))
	order.PutUint32(b[12:], uint32(len(data)))
	order.PutUint32(b[16:], uint32(sent))
	return block(order, blockEnhanced, append(b, data...)...)
}

// ngOf is a pcapng file as gopacket writes it: two interfaces that take turns.
func ngOf(t testing.TB, packets ...[]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := pcapgo.NewNgWriterInterface(&b, pcapgo.NgInterface{Name: "eth0", LinkType: layers.LinkTypeEthernet}, pcapgo.DefaultNgWriterOptions)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.AddInterface(pcapgo.NgInterface{Name: "wg0", LinkType: layers.LinkTypeRaw, Comment: "a comment"}); err != nil {
		t.Fatal(err)
	}
	for i, p := range packets {
		if i%2 == 0 {
			p = append(framed(t, ether(layers.EthernetTypeIPv4)), p...)
		}
		ci := gopacket.CaptureInfo{Timestamp: epoch.Add(time.Duration(i)), CaptureLength: len(p), Length: len(p), InterfaceIndex: i % 2}
		if err := w.WritePacket(ci, p); err != nil {
			t.Fatal(err)
		}
		if err := w.WriteInterfaceStats(i%2, pcapgo.NgInterfaceStatistics{LastUpdate: epoch}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(b []byte) []byte {
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write(b)
	w.Close()
	return z.Bytes()
}

func zstandard(t testing.TB, b []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(b, nil)
}

func save(t testing.TB, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// readAll returns copies of all packets and the error that ended them, nil for
// the end of the files.
func readAll(paths ...string) ([]Packet, uint64, error) {
	r, err := Open(paths...)
	if err != nil {
		return nil, 0, err
	}
	defer r.Close()
	var all []Packet
	for {
		var p Packet
		if err := r.Next(&p); err != nil {
			if err == io.EOF {
				err = nil
			} else if errors.Is(err, io.EOF) {
				panic("an error that looks like the end")
			}
			return all, r.Counts().Skipped, err
		}
		p.Data = bytes.Clone(p.Data)
		all = append(all, p)
	}
}
