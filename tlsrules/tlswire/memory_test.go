package tlswire

import (
	"crypto/tls"
	"testing"
	"unsafe"
)

// consume feeds b to c and looks at nothing.
func consume(c *Conn, from Side, b []byte) {
	for len(b) > 0 {
		n, _, _ := c.Consume(from, b)
		b = b[n:]
	}
}

// handshakeFlights is a TLS 1.3 handshake and a little data.
func handshakeFlights() []flight {
	return []flight{
		{Client, records(VersionTLS10, chromeHello(), maxPlaintext)},
		{Server, cat(hello13, spec, data(30), data(3000), data(280), data(53))},
		{Client, cat(spec, data(53), data(400))},
		{Server, data(1400)},
		{Client, data(19)},
		{Server, data(19)},
	}
}

// A warm Conn allocates nothing, also for a hello in two segments.
func TestNoAllocs(t *testing.T) {
	flights := handshakeFlights()
	first := flights[0].data
	var bufs Buffers
	c := Conn{Buffers: &bufs}
	for name, split := range map[string]int{"whole": len(first), "two_segments": 1400} {
		run := func() {
			c.Reset()
			consume(&c, Client, first[:split])
			consume(&c, Client, first[split:])
			for _, f := range flights[1:] {
				consume(&c, f.from, f.data)
			}
		}
		run()
		if got := testing.AllocsPerRun(100, run); got != 0 {
			t.Errorf("%s: %v allocations", name, got)
		}
		if !c.HandshakeDone || int(c.ClientHello.Length) != len(first)-recordHeaderLen {
			t.Fatalf("%s: not read: %v", name, c.Fault)
		}
	}
	var h ClientHello
	msg := chromeHello()
	ParseClientHello(msg, &h)
	if got := testing.AllocsPerRun(100, func() { ParseClientHello(msg, &h) }); got != 0 {
		t.Errorf("ParseClientHello: %v allocations", got)
	}
}

// A warm Conn allocates nothing for certificates, however they are cut, nor do
// Conns whose messages are of other sizes.
func TestNoAllocsForCertificates(t *testing.T) {
	flights := []flight{
		{Client, hello},
		{Server, cat(hello12, records(VersionTLS12, cat(
			message(TypeCertificate, certificateList(make([]byte, 1500), make([]byte, 1200), make([]byte, 2500))),
			message(TypeServerKeyExchange, make([]byte, 300)),
			message(TypeServerHelloDone, nil)), maxPlaintext))},
		{Client, records(VersionTLS12, message(TypeClientKeyExchange, make([]byte, 66)), maxPlaintext)},
		{Client, records(VersionTLS12, message(TypeNewSessionTicket, make([]byte, 6)), maxPlaintext)}, // of the wrong side
	}
	var bufs Buffers
	c, other := Conn{Buffers: &bufs}, Conn{Buffers: &bufs}
	for _, size := range []int{1, 100, 1400, 4000, 1 << 20} {
		seen := 0
		run := func() {
			c.Reset()
			other.Reset()
			consume(&other, Client, hello[:20])
			for _, f := range flights {
				for b := f.data; len(b) > 0; {
					piece := b[:min(size, len(b))]
					b = b[len(piece):]
					for len(piece) > 0 {
						n, _, st := c.Consume(f.from, piece)
						piece = piece[n:]
						if st == Message && c.LastMessage.Type == TypeCertificate {
							for der := range CertificateList(c.Message()).All() {
								seen += len(der)
							}
						}
					}
				}
			}
		}
		run()
		if seen != 1500+1200+2500 || c.Fault.Field != FaultMessageOrder {
			t.Fatalf("pieces of %d: %d bytes of certificates, %v", size, seen, c.Fault)
		}
		if got := testing.AllocsPerRun(100, run); got != 0 {
			t.Errorf("pieces of %d: %v allocations", size, got)
		}
	}
}

// A connection takes little memory, and most of it from the start.
func TestConnMemory(t *testing.T) {
	var bufs Buffers
	c := Conn{Buffers: &bufs}
	for _, f := range handshakeFlights() {
		tell(t, &c, []flight{f}, func(int) int { return 1400 })
	}
	h, s := &c.ClientHello, &c.ServerHello
	fixed := int(unsafe.Sizeof(c))
	warm := 2*cap(h.words) + cap(h.octets) + 2*cap(s.Extensions) + cap(s.octets)
	t.Logf("Conn %d bytes, warm slices %d bytes", fixed, warm)
	if fixed+warm+c.Held() > 1200 {
		t.Errorf("Conn takes %d + %d bytes and holds %d", fixed, warm, c.Held())
	}
}

// spare returns the memory of the buffers that are kept for use again.
func spare(p *Buffers) (n int) {
	for _, class := range p.free {
		for _, b := range class {
			n += cap(b)
		}
	}
	return n
}

// What a sender claims costs nothing; only what it sends is held, and bounded.
func TestHeld(t *testing.T) {
	var bufs Buffers
	c := Conn{Buffers: &bufs}
	claim := record(RecordTypeHandshake, VersionTLS10, append([]byte{1, 0, 0xff, 0xff}, make([]byte, 10)...))
	consume(&c, Client, claim)
	if c.Held() > 2048 {
		t.Errorf("%d bytes held for 10", c.Held())
	}
	c.Reset()
	if c.Held() != 0 || spare(&bufs) != 2048 {
		t.Errorf("%d bytes held after Reset, %d free", c.Held(), spare(&bufs))
	}
	fat := records(VersionTLS10, clientHello(make([]uint16, 20000)), maxPlaintext)
	consume(&c, Client, fat[:40000])
	if c.Held() < 30000 || c.Held() > 96<<10 || bufs.Held() != c.Held() {
		t.Errorf("%d bytes held for 40000, in all %d", c.Held(), bufs.Held())
	}
	consume(&c, Client, fat[40000:])
	if !c.HasClientHello || c.Held() != 0 || spare(&bufs) > 2048+32<<10 {
		t.Errorf("%d bytes held, %d free after a fat hello", c.Held(), spare(&bufs))
	}
	if bufs.Held() != 0 {
		t.Errorf("%d bytes held by no Conn", bufs.Held())
	}
	for range 1000 {
		for size := 1 << 10; size <= 256<<10; size *= 2 {
			bufs.put(make([]byte, 0, size))
		}
	}
	if spare(&bufs) != 256*2048+64*8192+8*32768 {
		t.Errorf("%d bytes free", spare(&bufs))
	}
}

// The bounds of Limits hold at the byte.
func TestLimits(t *testing.T) {
	msg := clientHello(make([]uint16, 100))
	for _, tt := range []struct {
		name   string
		limits Limits
		want   FaultField
	}{
		{"hello_fits", Limits{Hello: len(msg) - messageHeaderLen}, FaultNone},
		{"hello_too_long", Limits{Hello: len(msg) - messageHeaderLen - 1}, FaultMessageTooLong},
		{"records_fit", Limits{RecordsPerMessage: (len(msg) + 9) / 10}, FaultNone},
		{"too_many_records", Limits{RecordsPerMessage: (len(msg)+9)/10 - 1}, FaultTooManyRecords},
	} {
		c := Conn{Limits: &tt.limits}
		consume(&c, Client, records(VersionTLS10, msg, 10))
		if c.Fault.Field != tt.want || c.HasClientHello != (tt.want == FaultNone) {
			t.Errorf("%s: got %v, want %v", tt.name, c.Fault.Field, tt.want)
		}
		if want := tt.want.Kind(); want != NoFault && want != LimitFault {
			t.Errorf("%s: %v is not a fault of limits", tt.name, tt.want)
		}
	}
}

func BenchmarkParseClientHello(b *testing.B) {
	msg := chromeHello()
	var h ClientHello
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	for b.Loop() {
		ParseClientHello(msg, &h)
	}
}

// A new connection up to the ClientHello, in one segment or two.
func BenchmarkConsumeHello(b *testing.B) {
	stream := records(VersionTLS10, chromeHello(), maxPlaintext)
	for name, split := range map[string]int{"whole": len(stream), "two_segments": 1400} {
		b.Run(name, func(b *testing.B) {
			c := Conn{Buffers: new(Buffers)}
			b.ReportAllocs()
			for b.Loop() {
				c.Reset()
				consume(&c, Client, stream[:split])
				consume(&c, Client, stream[split:])
			}
		})
	}
}

// The inside of records, once all that is read is their headers.
func BenchmarkConsumeRecord16k(b *testing.B) {
	var c Conn
	for _, f := range handshakeFlights()[:4] {
		consume(&c, f.from, f.data)
	}
	r := data(maxPlaintext + 17)
	b.SetBytes(int64(len(r)))
	b.ReportAllocs()
	for b.Loop() {
		consume(&c, Server, r)
	}
}

// A whole handshake of crypto/tls and a little data.
func BenchmarkConsumeHandshake(b *testing.B) {
	certs := certificates()
	for name, version := range map[string]uint16{"tls12": tls.VersionTLS12, "tls13": tls.VersionTLS13} {
		server := serverOf(certs)
		server.MaxVersion = version
		flights, _ := talk(clientOf(certs), server)
		b.Run(name, func(b *testing.B) {
			c := Conn{Buffers: new(Buffers)}
			b.ReportAllocs()
			for b.Loop() {
				c.Reset()
				for _, f := range flights {
					consume(&c, f.from, f.data)
				}
			}
		})
	}
}
