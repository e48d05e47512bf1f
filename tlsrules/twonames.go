package tlsrules

import (
	"net/netip"
	"slices"

	"tlsgate/tlsrules/tlswire"
)

// TwoNames reports whether servers could take the server name of a hello for two
// different ones, in a policy that asks for names.
func (p *Policy) TwoNames(h *tlswire.ClientHello) bool {
	return p.asksName && h.HasServerName && twofold(h.ServerName)
}

// twofold reports whether a name holds what ends it for some servers, or is left
// out by some: a NUL does where names are C's, a colon in nginx
// (ngx_http_request.c:ngx_http_validate_host), spaces around a name in Caddy
// (certmagic's normalizedName). No host name holds them; an address with colons, which
// RFC 6066, Section 3 does not permit either, is no part of another name.
func twofold(name []byte) bool {
	odd := func(b byte) bool { return b <= ' ' || b == 0x7f || b == ':' }
	if !slices.ContainsFunc(name, odd) {
		return false
	}
	_, err := netip.ParseAddr(string(name))
	return err != nil
}
