package lab_test

import (
	"slices"
	"sync"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"

	"tlsgate/internal/lab"
)

// seen is one TCP packet on its way from the client to the server.
type seen struct {
	seq     uint32
	payload []byte
	rst     bool
	size    int // of the IP packet
}

// watch records what the gateway gets from a link until the returned function is
// called.
func watch(t *testing.T, l *lab.Lab) func() []seen {
	t.Helper()
	fd := -1
	if err := l.Gateway.Run(func() error {
		link, err := interfaceIndex(lab.GatewayClientLink)
		if err != nil {
			return err
		}
		const all = unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20)
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000})
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all & 0xffff, Ifindex: link})
	}); err != nil {
		t.Fatal(err)
	}
	var (
		mu    sync.Mutex
		all   []seen
		stop  = make(chan struct{})
		ended = make(chan struct{})
	)
	go func() {
		defer close(ended)
		b := make([]byte, 1<<17)
		for {
			n, from, err := unix.Recvfrom(fd, b, 0)
			if err != nil {
				select {
				case <-stop:
					return
				default:
					continue
				}
			}
			if from.(*unix.SockaddrLinklayer).Pkttype != unix.PACKET_HOST {
				continue
			}
			first := gopacket.LayerType(layers.LayerTypeIPv4)
			if b[0]>>4 == 6 {
				first = layers.LayerTypeIPv6
			}
			p := gopacket.NewPacket(slices.Clone(b[:n]), first, gopacket.Default)
			if tcp, ok := p.TransportLayer().(*layers.TCP); ok {
				mu.Lock()
				all = append(all, seen{tcp.Seq, tcp.Payload, tcp.RST, n})
				mu.Unlock()
			}
		}
	}()
	var once sync.Once
	end := func() []seen {
		once.Do(func() {
			close(stop)
			<-ended
			unix.Close(fd)
		})
		return all
	}
	t.Cleanup(func() { end() })
	return end
}

func interfaceIndex(name string) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, r)
	return int(r.Uint32()), err
}

// data leaves the packets with payload.
func data(packets []seen) (out []seen) {
	for _, p := range packets {
		if len(p.payload) > 0 {
			out = append(out, p)
		}
	}
	return out
}
