package adversary

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

func hellos() []Trick {
	return append(append(names(), lies()...), shapes()...)
}

// spec is a trick that changes the hello.
func spec(name, why string, honest bool, change func(h *Hello)) Trick {
	return Trick{Name: name, Group: Hellos, Why: why, Honest: honest, Play: func(p *Peer) {
		h := p.Spec
		change(&h)
		b := h.Message()
		p.open()
		p.pieces(0, inRecords(b, 16384, nil), 1200)
	}}
}

// names play with the server name.
func names() []Trick {
	const (
		whyTwo  = "a hello that names two servers is refused as malformed: servers differ in which one they take"
		whyName = "names are compared without case, a dot at their end is malformed"
		whyEnds = "a name that ends earlier for some servers, or that some take spaces off, is ambiguous"
	)
	body := func(kind byte, name string) []byte {
		b := nameBody(name)
		b[2] = kind
		return b
	}
	both := func(a, b []byte) []byte {
		list := append(bytes.Clone(a[2:]), b[2:]...)
		return append([]byte{byte(len(list) >> 8), byte(len(list))}, list...)
	}
	t := func(name, why string, strict bool, change func(h *Hello)) Trick {
		x := spec(name, why, false, change)
		x.Strict = strict
		return x
	}
	doubt := func(name, why string, strict bool, change func(h *Hello)) Trick {
		x := t(name, why, strict, change)
		x.Ambiguous = true
		return x
	}
	upper := spec("the name in upper case", whyName, true, func(h *Hello) { h.Name = strings.ToUpper(h.Name) })
	return []Trick{
		upper,
		t("the name twice, an innocent one first", whyTwo, false, func(h *Hello) {
			h.Before = []Extension{{0, nameBody(Permitted)}}
		}),
		t("the name twice, an innocent one last", whyTwo, false, func(h *Hello) {
			h.After = []Extension{{0, nameBody(Permitted)}}
		}),
		t("two names in the list, the innocent one first", whyTwo, false, func(h *Hello) { h.NameExtension = nameBody(Permitted, h.Name) }),
		t("two names in the list, the innocent one last", whyTwo, false, func(h *Hello) { h.NameExtension = nameBody(h.Name, Permitted) }),
		t("a name of another type first", whyTwo, false, func(h *Hello) { h.NameExtension = both(body(1, Permitted), nameBody(h.Name)) }),
		t("a name of another type last", whyTwo, false, func(h *Hello) { h.NameExtension = both(nameBody(h.Name), body(1, Permitted)) }),
		t("a trailing dot", whyName, false, func(h *Hello) { h.Name += "." }),
		t("two trailing dots", whyName, false, func(h *Hello) { h.Name += ".." }),
		t("a leading dot", whyName, false, func(h *Hello) { h.Name = "." + h.Name }),
		doubt("a leading space", whyEnds, false, func(h *Hello) { h.Name = " " + h.Name }),
		doubt("a NUL and an innocent name behind it", whyEnds, false, func(h *Hello) { h.Name += "\x00.good.example" }),
		doubt("a NUL at the end", whyEnds, false, func(h *Hello) { h.Name += "\x00" }),
		doubt("an innocent name, a NUL and the name", whyEnds, false, func(h *Hello) { h.Name = Permitted + "\x00" + h.Name }),
		t("a name that is not ASCII", "it is another name, for servers too", true, func(h *Hello) { h.Name = strings.Replace(h.Name, "evil", "ev\xc4\xb1l", 1) }),
		t("a full stop of East Asia", "it is another name, for servers too", true, func(h *Hello) { h.Name = strings.Replace(h.Name, ".", "\u3002", 1) }),
		doubt("a port behind the name", whyEnds, false, func(h *Hello) { h.Name += ":443" }),
		t("no name where a name is required", "a required name that is not there is not the right one", true, func(h *Hello) { h.NoName = true }),
		t("an empty name", "a required name that is not there is not the right one", true, func(h *Hello) { h.Name = "" }),
		t("an empty name extension", "a required name that is not there is not the right one", true, func(h *Hello) { h.NameExtension = []byte{} }),
		t("an empty list of names", "a required name that is not there is not the right one", true, func(h *Hello) { h.NameExtension = []byte{0, 0} }),
		t("an address as the name", "a required name that is not there is not the right one", true, func(h *Hello) { h.Name = "198.18.2.2" }),
		t("the name in a numbered extension of its own", "an extension that is not the server name is none", true, func(h *Hello) {
			h.NoName = true
			h.After = []Extension{{0xff00, nameBody(Permitted)}}
		}),
	}
}

// lies have one length off by one.
func lies() (list []Trick) {
	h := hello(StakeName)
	base := h.Record()
	name := bytes.Index(base, []byte(Forbidden))
	for _, f := range []struct {
		name string
		at   int // the length's last byte
	}{
		{"the record's", 4}, {"the message's", 8}, {"the session id's", 43}, {"the suites'", 77}, {"the compression methods'", 80},
		{"the extensions'", 83}, {"the name extension's", name - 6}, {"the name list's", name - 4}, {"the name's", name - 1},
	} {
		for _, by := range []int{1, -1} {
			list = append(list, whole(Hellos, fmt.Sprintf("%s length off by %+d", f.name, by),
				"every length is held against what surrounds it; a hello that does not add up is refused as malformed", false,
				func(p *Peer) []byte {
					b := bytes.Clone(p.Hello)
					b[f.at] += byte(by)
					return append(b, 0, 0)[:len(b)+max(by, 0)]
				}))
		}
	}
	return list
}

// shapes are large and odd hellos.
func shapes() []Trick {
	const why = "a hello is read whole, in whatever order, up to limits.hello"
	grease := []uint16{0x0a0a, 0x1a1a, 0xfafa}
	reversed := func(p *Peer) []byte {
		h := p.Spec
		all := h.extensions()
		h.After = nil
		var b []byte
		for i := len(all) - 1; i >= 0; i-- {
			b = append(b, byte(all[i].Kind>>8), byte(all[i].Kind), byte(len(all[i].Body)>>8), byte(len(all[i].Body)))
			b = append(b, all[i].Body...)
		}
		m := h.Message()
		copy(m[len(m)-len(b):], b)
		return record(recordHandshake, m)
	}
	nameless := retries("a hello without a name, asked to try again, and the hello", "the second hello is judged from the first rule again", func(h *Hello) Hello {
		first := *h
		first.NoName = true
		return first
	})
	nameless.Wire = "OpenSSL alone takes it"
	return []Trick{
		whole(Hellos, "extensions in reverse order", why, true, reversed),
		spec("GREASE everywhere", why, true, func(h *Hello) {
			h.Suites = append(grease[:1:1], h.Suites...)
			h.Before = []Extension{{0x2a2a, nil}}
			h.After = []Extension{{0x3a3a, []byte{0}}}
			h.Versions = []uint16{0x4a4a, 0x0304}
		}),
		spec("thousands of suites", why, true, func(h *Hello) {
			for i := range uint16(5000) {
				h.Suites = append(h.Suites, 0x7000+i)
			}
		}),
		spec("padding to the largest record", why, true, func(h *Hello) { h.After = []Extension{{21, make([]byte, 15900)}} }),
		spec("padding beyond the limit", "a hello larger than limits.hello is refused", false, func(h *Hello) {
			for i := range uint16(5) {
				h.Before = append(h.Before, Extension{0x7a00 + i, make([]byte, 12000)})
			}
		}),
		spec("thousands of extensions before the name", why, false, func(h *Hello) {
			for i := range uint16(3000) {
				h.Before = append(h.Before, Extension{0x7000 + i, nil})
			}
		}),
		spec("an extension twice", "duplicates that are not the name change nothing of what is judged", false, func(h *Hello) {
			h.After = []Extension{{10, []byte{0, 2, 0, 29}}}
		}),
		spec("an ECH extension that is none", "the outer name is judged; rules may ask for ech", false, func(h *Hello) {
			h.After = []Extension{{0xfe0d, append([]byte{0, 0, 1, 0, 1, 7, 0, 32}, append(make([]byte, 32), append([]byte{0, 64}, make([]byte, 64)...)...)...)}}
		}),
		spec("a pre-shared key that nobody knows", why, true, func(h *Hello) {
			psk := append([]byte{0, 38, 0, 32}, make([]byte, 32)...)
			psk = append(psk, 0, 0, 0, 0, 0, 33, 32)
			h.After = []Extension{{41, append(psk, make([]byte, 32)...)}}
		}),
		spec("a name behind everything else", why, true, func(h *Hello) {
			h.NoName = true
			h.After = []Extension{{0, nameBody(h.Name)}}
		}),
		retries("an innocent hello, asked to try again, and the hello", "the second hello is judged from the first rule again", func(h *Hello) Hello {
			first := *h
			first.Name = Permitted
			return first
		}),
		nameless,
		secondly("an innocent hello, asked to try again, a warning of no level, and the hello", []byte{recordAlert, 3, 3, 0, 2, 0, 90}, nil),
		secondly("an innocent hello, asked to try again, and the hello, larger than any may be", nil, func(h *Hello) {
			h.Suites = append(h.Suites, slices.Repeat([]uint16{0xeeee}, 4000)...)
			h.After = append(h.After, Extension{21, make([]byte, 60000)})
		}),
	}
}

// secondly is a second hello that is made larger, or stands behind something: OpenSSL
// reads over an alert of any level that says user_canceled, and takes hellos of 128 KiB.
func secondly(name string, between []byte, larger func(h *Hello)) Trick {
	t := retries(name, "what breaks the syntax, or is larger than limits.hello, is refused behind a HelloRetryRequest, too", nil)
	t.Wire = "OpenSSL alone takes it"
	t.Play = func(p *Peer) {
		p.retries = true
		first := p.Spec
		first.Name, first.Shares = Permitted, []byte{0, 0}
		p.open()
		b := first.Record()
		p.data(0, b)
		p.settle()
		p.ack()
		h := p.Spec
		if larger != nil {
			larger(&h)
		}
		p.pieces(len(b), append(bytes.Clone(between), inRecords(h.Message(), 16000, nil)...), 1200)
	}
	return t
}

// retries makes the server ask for another key share.
func retries(name, why string, first func(h *Hello) Hello) Trick {
	return Trick{Name: name, Group: Hellos, Why: why, Play: func(p *Peer) {
		p.retries = true
		h := first(&p.Spec)
		h.Shares = []byte{0, 0}
		p.open()
		b := h.Record()
		p.data(0, b)
		p.settle()
		p.ack()
		p.data(len(b), []byte{recordCCS, 3, 3, 0, 1, 1})
		second := bytes.Clone(p.Hello)
		second[2] = 3 // RFC 8446, Section 5.1
		p.data(len(b)+6, second)
	}}
}
