package capture

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

func TestWriter(t *testing.T) {
	path := t.TempDir() + "/out.pcapng"
	w, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	four, six := ipv4(t, "text"), ipv6(t, "text")
	for i, p := range [][]byte{four, six} {
		if err := w.Write(p, epoch.UnixNano()+int64(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got, _, err := readAll(path)
	want := []Packet{
		{Data: four, Time: epoch.UnixNano()},
		{Data: six, Time: epoch.UnixNano() + 1},
	}
	if diff := cmp.Diff(got, want); diff != "" || err != nil {
		t.Errorf("%v, got-, want+\n%s", err, diff)
	}
	if err := w.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Close twice = %v", err)
	}
	// And another reader thinks so too.
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := pcapgo.NewNgReader(bytes.NewReader(file), pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range want {
		data, ci, err := r.ReadPacketData()
		if err != nil || !bytes.Equal(data, want.Data) || ci.Timestamp.UnixNano() != want.Time || r.LinkType() != layers.LinkTypeRaw {
			t.Errorf("packet %d: %x at %v (%v)", i, data, ci.Timestamp, err)
		}
	}
}

func TestWriterInterfaces(t *testing.T) {
	path := t.TempDir() + "/out.pcapng"
	w, err := create(path, layers.LinkTypeLinuxSLL)
	if err != nil {
		t.Fatal(err)
	}
	four := sll(etherIPv4, ipv4(t, "text"))
	var want []Packet
	for i, name := range []string{"eth1", "wg0", "eth1", ""} {
		if err := w.write(four[:len(four)-i], len(four), epoch.UnixNano(), name); err != nil {
			t.Fatal(err)
		}
		want = append(want, Packet{Data: four[sllHeader : len(four)-i], Time: epoch.UnixNano(), Interface: name, Cut: i > 0})
	}
	for i := len(w.ifaces); i < maxInterfaces; i++ {
		w.ifaces[fmt.Sprint(i)] = i
	}
	if err := w.write(four, len(four), 0, "one more"); err == nil {
		t.Error("interfaces without end")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got, _, err := readAll(path)
	if diff := cmp.Diff(got, want); diff != "" || err != nil {
		t.Errorf("%v, got-, want+\n%s", err, diff)
	}
}

// What is written is for other programs: they must read it, also when it is of
// several interfaces.
func TestTcpdumpReads(t *testing.T) {
	if _, err := exec.LookPath("tcpdump"); err != nil {
		missing(t, err)
	}
	four := ipv4(t, "\x00\x09\x00\x09\x00\x0c\x00\x00text") // UDP from port 9 to 9
	for _, tt := range []struct {
		link  layers.LinkType
		frame []byte
		names []string
	}{
		{layers.LinkTypeRaw, four, []string{"", ""}},
		{layers.LinkTypeLinuxSLL, sll(etherIPv4, four), []string{"eth1", "eth2"}},
	} {
		path := t.TempDir() + "/out.pcapng"
		w, err := create(path, tt.link)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range tt.names {
			if err := w.write(tt.frame, len(tt.frame), epoch.UnixNano(), name); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("tcpdump", "-nn", "-r", "-")
		cmd.Stdin = file
		out, err := cmd.CombinedOutput()
		file.Close()
		if got := bytes.Count(out, []byte("192.0.2.1.9 > 192.0.2.2.9: UDP")); got != 2 || err != nil {
			t.Errorf("%v: tcpdump reads %d packets (%v):\n%s", tt.link, got, err, out)
		}
	}
}

func TestWriterFull(t *testing.T) {
	w, err := Create("/dev/full")
	if err != nil {
		missing(t, err)
	}
	if err := w.Write(ipv4(t, "text"), 0); err != nil {
		t.Errorf("Write = %v before the buffer is full", err)
	}
	var e *Error
	if err := w.Close(); !errors.As(err, &e) || e.File != "/dev/full" || e.Op != "write" {
		t.Errorf("Close = %v, want an error that names the file", err)
	}
}

// missing skips a test for what this machine lacks; with CI=true it fails.
func missing(t *testing.T, what error) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("missing: %v", what)
	}
	t.Skipf("missing: %v", what)
}
