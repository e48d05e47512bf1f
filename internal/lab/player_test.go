package lab_test

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"

	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// TestPlayer: what is played from one side leaves the gateway on the other, checksums
// right, in order, and no two connections are alike.
func TestPlayer(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	packet := func(fromServer bool, flags byte, seq, ack uint32, payload string) lab.Recorded {
		ports := [2]uint16{40000, 443}
		from := 0
		if fromServer {
			from = 1
		}
		be := binary.BigEndian
		b := be.AppendUint16(be.AppendUint16(nil, ports[from]), ports[1-from])
		b = be.AppendUint32(be.AppendUint32(b, seq), ack)
		b = append(b, 5<<4, flags, 0xff, 0xff, 0, 0, 0, 0)
		return lab.Recorded{FromServer: fromServer, TCP: append(b, payload...)}
	}
	p, err := l.Player([][]lab.Recorded{{
		packet(false, 2, 99, 0, ""), packet(true, 18, 499, 100, ""), packet(false, 16, 100, 500, "odd"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	seen := listenAll(t, l)
	const connections = 50
	sent, err := p.Play(connections, 16, func(int) error { return nil })
	if err != nil || sent != 3*connections {
		t.Fatalf("%d packets sent, %v", sent, err)
	}
	steps := map[string]int{}
	for range 2 * connections { // what the client's side sent
		step, connection := decoded(t, seen())
		if steps[connection] != step {
			t.Errorf("%s: step %d after %d", connection, step, steps[connection])
		}
		steps[connection]++
	}
	if len(steps) != connections {
		t.Errorf("%d connections are told apart, want %d", len(steps), connections)
	}
}

// listenAll returns the frames that reach the server's host, one after the other.
func listenAll(t *testing.T, l *lab.Lab) func() []byte {
	var fd int
	err := l.Server.Run(func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0x0300) // ETH_P_ALL
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5})
	buf := make([]byte, 4096)
	return func() []byte {
		for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
			n, from, err := unix.Recvfrom(fd, buf, 0)
			if err != nil {
				t.Fatal(err)
			}
			if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OTHERHOST {
				return buf[:n]
			}
		}
		t.Fatal("no more frames")
		return nil
	}
}

// decoded tells which step of which connection a frame is, and judges its checksums.
func decoded(t *testing.T, frame []byte) (step int, connection string) {
	t.Helper()
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	tcp, ok := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
	if !ok {
		t.Fatalf("not TCP: %x", frame)
	}
	want := tcp.Checksum
	tcp.SetNetworkLayerForChecksum(p.NetworkLayer())
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{ComputeChecksums: true}, tcp, gopacket.Payload(tcp.Payload)); err != nil {
		t.Fatal(err)
	}
	if tcp.Checksum != want {
		t.Errorf("TCP checksum %#x, want %#x", want, tcp.Checksum)
	}
	if !tcp.SYN {
		step = 1
	}
	return step, p.NetworkLayer().NetworkFlow().String() + " " + tcp.TransportFlow().String()
}
