package capture

import (
	"bufio"
	"fmt"
	"os"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// Writer writes IP packets to a pcapng file. It is not safe for concurrent use.
type Writer struct {
	path   string
	file   *os.File
	out    *pcapgo.NgWriter
	link   layers.LinkType
	ifaces map[string]int // by name; "" is there from the beginning
}

// Create makes a file, or empties it, and writes the head of a capture.
func Create(path string) (*Writer, error) { return create(path, layers.LinkTypeRaw) }

func create(path string, link layers.LinkType) (*Writer, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, fail("create", path, 0, err)
	}
	w := &Writer{path: path, file: f, link: link, ifaces: map[string]int{"": 0}}
	w.out, err = pcapgo.NewNgWriterInterface(bufio.NewWriterSize(f, 64<<10), w.describe(""), pcapgo.NgWriterOptions{
		SectionInfo: pcapgo.NgSectionInfo{Application: "tlsgate"},
	})
	if err != nil {
		f.Close()
		return nil, fail("create", path, 0, err)
	}
	return w, nil
}

func (w *Writer) describe(name string) pcapgo.NgInterface {
	return pcapgo.NgInterface{Name: name, LinkType: w.link}
}

// Write appends an IP packet at a time in nanoseconds since the Unix epoch.
// Nothing of ip is kept.
func (w *Writer) Write(ip []byte, time int64) error { return w.write(ip, len(ip), time, "") }

// write appends a frame of length sent, of which data is what is there, with the
// name of its interface.
func (w *Writer) write(data []byte, sent int, ns int64, name string) error {
	index, ok := w.ifaces[name]
	if !ok {
		if len(w.ifaces) == maxInterfaces {
			return fail("write", w.path, 0, fmt.Errorf("more than %d interfaces", maxInterfaces))
		}
		var err error
		if index, err = w.out.AddInterface(w.describe(name)); err != nil {
			return fail("write", w.path, 0, err)
		}
		w.ifaces[name] = index
	}
	return fail("write", w.path, 0, w.out.WritePacket(gopacket.CaptureInfo{
		Timestamp:      time.Unix(0, ns),
		CaptureLength:  len(data),
		Length:         sent,
		InterfaceIndex: index,
	}, data))
}

// Flush gives what was written so far to the file.
func (w *Writer) Flush() error { return fail("write", w.path, 0, w.out.Flush()) }

// Close flushes and closes the file.
func (w *Writer) Close() error {
	err := w.out.Flush()
	if closing := w.file.Close(); err == nil {
		err = closing
	}
	return fail("write", w.path, 0, err)
}
