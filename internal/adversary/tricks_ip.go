package adversary

import (
	"bytes"
	"slices"
)

func packets() []Trick { return slices.Concat(fragments(), chains()) }

// whyKernel is why a fragment is seen only on a wire.
const whyKernel = "it takes a kernel that puts fragments together"

// fragments are those of the segment with the hello.
func fragments() []Trick {
	const (
		whyWhole = "the kernel puts fragments together before we see them, and one that it has not is dropped"
		whyTwo   = "fragments that overlap never become a packet (RFC 5722; ip_fragment.c for IPv4)"
	)
	type cut func(p *Peer, ip []byte) [][]byte
	t := func(name, why string, honest bool, f cut) Trick {
		return Trick{Name: name, Group: IP, Why: why, Honest: honest, Wire: whyKernel, Play: func(p *Peer) {
			p.open()
			p.mean(0, p.Hello)
			s := p.segment(0, p.Hello)
			for _, b := range f(p, s.Packet()) {
				p.wire.Send(b)
			}
		}}
	}
	pieces := func(size int) []Piece {
		var list []Piece
		for at := 0; at < 400; at += size {
			list = append(list, Piece{From: at, To: at + size})
		}
		return list
	}
	body := func(ip []byte) int {
		if ip[0]>>4 == 4 {
			return len(ip) - 20
		}
		return len(ip) - 40
	}
	within := func(ip []byte, list []Piece) (out []Piece) {
		for _, p := range list {
			if p.From < body(ip) {
				out = append(out, p)
			}
		}
		return out
	}
	innocent := func(p *Peer) []byte {
		s := p.segment(0, p.twin())
		return s.Packet()
	}
	return []Trick{
		t("two fragments", whyWhole, true, func(p *Peer, ip []byte) [][]byte {
			return Fragments(ip, 1, Piece{From: 0, To: 96}, Piece{From: 96, To: 2000})
		}),
		t("eight bytes a fragment", whyWhole, true, func(p *Peer, ip []byte) [][]byte { return Fragments(ip, 2, within(ip, pieces(8))...) }),
		t("fragments backward", whyWhole, true, func(p *Peer, ip []byte) [][]byte {
			list := Fragments(ip, 3, within(ip, pieces(48))...)
			slices.Reverse(list)
			return list
		}),
		t("the second fragment first", whyWhole, true, func(p *Peer, ip []byte) [][]byte {
			return Fragments(ip, 4, Piece{From: 96, To: 2000}, Piece{From: 0, To: 96})
		}),
		t("the TCP header cut", "the kernel puts fragments together, and drops such ones of IPv6 (RFC 8200, Section 4.5)", false, func(p *Peer, ip []byte) [][]byte {
			return Fragments(ip, 5, Piece{From: 0, To: 16}, Piece{From: 16, To: 2000})
		}),
		t("a first fragment that holds it all, and says that more follow", whyWhole, false, func(p *Peer, ip []byte) [][]byte {
			first := Fragments(ip, 6, Piece{From: 0, To: body(ip) - body(ip)%8})
			return first
		}),
		t("overlapping fragments, the innocent one first", whyTwo, false, func(p *Peer, ip []byte) [][]byte {
			good := innocent(p)
			return slices.Concat(
				Fragments(good, 7, Piece{From: 96, To: 2000}), Fragments(ip, 7, Piece{From: 80, To: 2000}), Fragments(ip, 7, Piece{From: 0, To: 96}))
		}),
		t("overlapping fragments, the innocent one last", whyTwo, false, func(p *Peer, ip []byte) [][]byte {
			good := innocent(p)
			return slices.Concat(
				Fragments(ip, 8, Piece{From: 96, To: 2000}), Fragments(good, 8, Piece{From: 80, To: 2000}), Fragments(ip, 8, Piece{From: 0, To: 96}))
		}),
		t("the same fragment twice, innocent and not", whyTwo, false, func(p *Peer, ip []byte) [][]byte {
			good := innocent(p)
			return slices.Concat(
				Fragments(good, 9, Piece{From: 96, To: 2000}), Fragments(ip, 9, Piece{From: 96, To: 2000}), Fragments(ip, 9, Piece{From: 0, To: 96}))
		}),
		t("a fragment that overlays the TCP header", whyTwo, false, func(p *Peer, ip []byte) [][]byte {
			good := innocent(p)
			return slices.Concat(
				Fragments(good, 10, Piece{From: 0, To: 96}), Fragments(ip, 10, Piece{From: 8, To: 2000}), Fragments(ip, 10, Piece{From: 0, To: 96}, Piece{From: 96, To: 2000}))
		}),
		t("a fragment of no bytes between", whyWhole, false, func(p *Peer, ip []byte) [][]byte {
			return Fragments(ip, 11, Piece{From: 0, To: 96}, Piece{From: 96, To: 96, Bytes: []byte{}}, Piece{From: 96, To: 2000})
		}),
		t("a last fragment too early", whyTwo, false, func(p *Peer, ip []byte) [][]byte {
			return Fragments(ip, 12, Piece{From: 0, To: 96, Last: true}, Piece{From: 0, To: 96}, Piece{From: 96, To: 2000})
		}),
		t("a fragment that ends behind 65535", whyWhole, false, func(p *Peer, ip []byte) [][]byte {
			return Fragments(ip, 13, Piece{From: 0, To: 96}, Piece{From: 65528, Bytes: make([]byte, 64), Last: true}, Piece{From: 96, To: 2000})
		}),
		t("one fragment alone, the rest as a segment", whyWhole, true, func(p *Peer, ip []byte) [][]byte {
			rest := p.segment(0, p.Hello)
			return append(Fragments(ip, 14, Piece{From: 0, To: 96}), rest.Packet())
		}),
	}
}

// chains are headers between IP and TCP.
func chains() (list []Trick) {
	const why = "extension headers that lead to TCP are walked, any other is dropped"
	options := []byte{0, 1, 4, 0, 0, 0, 0} // PadN
	for _, c := range []struct {
		name    string
		headers []Header
		v4      []byte
		honest  bool
	}{
		{"hop-by-hop options; IPv4 no-operations", []Header{{0, options}}, []byte{1, 1, 1, 0}, true},
		{"destination options; a timestamp option", []Header{{60, options}}, []byte{68, 8, 5, 0, 0, 0, 0, 0}, true},
		{"an atomic fragment; a router alert", []Header{{44, []byte{0, 0, 0, 1, 2, 3, 4}}}, []byte{148, 4, 0, 0}, true},
		{"hop-by-hop and destination options", []Header{{0, options}, {60, options}}, nil, true},
		{"seven destination options", slices.Repeat([]Header{{60, options}}, 7), nil, false},
		{"twenty destination options", slices.Repeat([]Header{{60, options}}, 20), nil, false},
		{"two hop-by-hop options", []Header{{0, options}, {0, options}}, nil, false},
		{"a routing header without hops to go; a source route that is over", []Header{{43, []byte{0, 0, 0, 0, 0, 0, 0}}}, []byte{131, 7, 8, 198, 18, 2, 2}, false},
		{"a mobility header", []Header{{135, []byte{0, 0, 0, 0, 0, 1, 4}}}, nil, false},
		{"an authentication header", []Header{{51, append([]byte{1}, make([]byte, 9)...)}}, nil, false},
		{"an experimental header", []Header{{253, options}}, nil, false},
		{"a header that ends the chain", []Header{{59, options}}, nil, false},
		{"a jumbo payload option", []Header{{0, []byte{0, 0xc2, 4, 0, 0, 0, 200}}}, nil, false},
		{"a header longer than the packet", []Header{{60, []byte{200, 1, 4, 0, 0, 0, 0}}}, nil, false},
	} {
		list = append(list, Trick{
			Name: c.name, Group: IP, Why: why, Honest: c.honest,
			Play: func(p *Peer) {
				p.open()
				p.mean(0, p.Hello)
				for at := 0; at < len(p.Hello); at += 100 {
					s := p.segment(at, bytes.Clone(p.Hello[at:min(at+100, len(p.Hello))]))
					s.IPOptions = c.v4
					if p.Server.Addr().Is6() {
						s.Headers, s.IPOptions = c.headers, nil
					}
					p.send(s)
				}
			},
		})
	}
	return append(list, Trick{
		Name: "bytes behind the IP packet", Group: IP, Honest: true, Why: "what IP does not count is left out, as receivers do",
		Play: func(p *Peer) {
			p.open()
			p.mean(0, p.Hello)
			for at := 0; at < len(p.Hello); at += 100 {
				s := p.segment(at, p.Hello[at:min(at+100, len(p.Hello))])
				p.wire.Send(append(s.Packet(), p.Good...))
			}
		},
	})
}
