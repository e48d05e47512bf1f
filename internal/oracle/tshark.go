package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// maxPorts bounds tshark's command line.
const maxPorts = 500

// tsharkArgs has tshark put streams together as a receiver does, and look for
// TLS where we found it: elsewhere it does so by its own table of ports and its
// own guess.
func tsharkArgs(file string, ports []uint16) []string {
	args := []string{"-n", "-r", file, "-T", "json", "-J", "frame ip ipv6 tcp tls http socks proxy",
		"-Y", "tls || (tcp.flags.syn == 1 && tcp.flags.ack == 0) || http.request.method == CONNECT || socks.port || proxy",
		"-o", "tcp.reassemble_out_of_order:TRUE", "-o", "tcp.try_heuristic_first:TRUE"}
	for _, p := range ports[:min(len(ports), maxPorts)] {
		args = append(args, "-d", fmt.Sprintf("tcp.port==%d,tls", p))
	}
	return args
}

// tshark tells what tshark finds in a file.
func tshark(ctx context.Context, file string, ports []uint16) *told {
	s := &streams{byNumber: map[string]*stream{}}
	t := &told{fields: map[string]bool{}}
	read, write := io.Pipe()
	parsed := make(chan error, 1)
	go func() {
		err := s.read(read)
		if err != nil {
			_, _ = io.Copy(io.Discard, read) // so that it can end
		}
		parsed <- err
	}()
	err := t.run(ctx, write, "tshark", tsharkArgs(file, ports)...)
	write.Close()
	t.err = errors.Join(err, <-parsed)
	for _, x := range s.order {
		t.conns = append(t.conns, x.finish())
	}
	return t
}

// streams are tshark's TCP streams that have TLS in them.
type streams struct {
	byNumber map[string]*stream
	order    []*stream
}

func (s *streams) read(in io.Reader) error {
	r := &reader{in: bufio.NewReaderSize(in, 256<<10)}
	for {
		layers, err := r.next()
		switch {
		case err == io.EOF:
			return nil
		case err == io.ErrUnexpectedEOF && !r.began:
			return nil // tshark printed nothing at all
		case err != nil:
			return err
		}
		s.packet(layers)
	}
}

// packet takes one packet's layers.
func (s *streams) packet(layers *node) {
	var src, dst netip.Addr
	var tcp *node
	var x *stream
	for i := range layers.kids {
		k := &layers.kids[i]
		switch k.key {
		case "ip", "ipv6":
			src, _ = netip.ParseAddr(k.kid(k.key + ".src").text)
			dst, _ = netip.ParseAddr(k.kid(k.key + ".dst").text)
		case "tcp":
			tcp = k
			x = s.of(k, src, dst, layers.kid("frame"))
		case "http", "socks", "proxy":
			if x != nil {
				x.before(k)
			}
		case "openvpn", "tds":
			x = nil // TLS in packets of its own, not in the stream
		case "tls":
			if tcp == nil || x == nil {
				continue // TLS on something else, such as EAP
			}
			from := 0
			if endpointOf(src, tcp.kid("tcp.srcport").text) != x.ends[0] {
				from = 1
			}
			x.layer(k, from)
		}
	}
}

// of returns the stream of a segment.
func (s *streams) of(tcp *node, src, dst netip.Addr, frame *node) *stream {
	number := tcp.kid("tcp.stream").text
	x := s.byNumber[number]
	if x == nil {
		x = &stream{ends: [2]netip.AddrPort{
			endpointOf(src, tcp.kid("tcp.srcport").text), endpointOf(dst, tcp.kid("tcp.dstport").text),
		}, helloFrom: -1}
		x.conn.name, x.conn.facts = number, map[string]string{}
		x.conn.start = frameTime(frame)
		s.byNumber[number] = x
		s.order = append(s.order, x)
	}
	x.conn.last = frameTime(frame)
	if tcp.kid("tcp.flags_tree").kid("tcp.flags.syn").text == "1" {
		x.conn.syn = true
	}
	return x
}

func endpointOf(a netip.Addr, port string) netip.AddrPort {
	n, _ := strconv.ParseUint(port, 10, 16)
	return netip.AddrPortFrom(a.Unmap(), uint16(n))
}

// frameTime reads seconds since the epoch, or what newer versions print.
func frameTime(frame *node) time.Time {
	s := frame.kid("frame.time_epoch").text
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t
	}
	seconds, fraction, _ := strings.Cut(s, ".")
	sec, _ := strconv.ParseInt(seconds, 10, 64)
	nsec, _ := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
	return time.Unix(sec, nsec)
}
