package via

import (
	"net/netip"
	"strconv"
)

// A Target is where a tunnel leads to. The zero Target is none.
type Target struct {
	Host string // a name or an address, at most 255 bytes, as it was asked for
	Port uint16
}

// Proxied is what a PROXY header tells of a connection. Its addresses are not
// valid where the header names none: LOCAL, UNKNOWN, or not of IP.
type Proxied struct {
	Source, Destination netip.AddrPort
}

// maxHost is the longest host that is kept (RFC 1035, Section 2.3.4).
const maxHost = 255

// parseAuthority reads a CONNECT's host:port (RFC 9110, Section 9.3.6).
func parseAuthority(b []byte) (t Target) {
	i := len(b) - 1
	for i >= 0 && b[i] != ':' {
		i--
	}
	if i < 0 {
		return Target{}
	}
	port, err := strconv.ParseUint(string(b[i+1:]), 10, 16)
	host := b[:i]
	if n := len(host); n >= 2 && host[0] == '[' && host[n-1] == ']' {
		host = host[1 : n-1]
	}
	if err != nil || len(host) == 0 || len(host) > maxHost {
		return Target{}
	}
	return Target{Host: string(host), Port: uint16(port)}
}

// addressOf reads an address of 4 or 16 bytes.
func addressOf(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b)
	return a
}

func uint16Of(b []byte) uint16 { return uint16(b[0])<<8 | uint16(b[1]) }
