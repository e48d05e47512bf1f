// Package via watches the clear text that both sides of a connection say before
// TLS, and tells at which byte of which side TLS begins: after a STARTTLS of SMTP
// (RFC 3207), IMAP and POP3 (RFC 2595, RFC 9051), FTP (RFC 4217), XMPP (RFC 6120)
// or LDAP (RFC 4511), after the requests for TLS of PostgreSQL ("Frontend/Backend
// Protocol") and MySQL ("Connection Phase"), inside the tunnels of HTTP CONNECT
// (RFC 9110, Section 9.3.6) and SOCKS (SOCKS4, SOCKS4A, RFC 1928, RFC 1929), and
// behind the header of the PROXY protocol.
//
// A client must not be able to make it look away. So TLS is found by its first
// bytes and not by what was said before: they are looked for wherever the reader
// of a side may begin a message, and that is at every line and at every message,
// whether it is understood or not, and at the next byte of a client whenever its
// server has spoken. What is understood of a protocol only names how TLS began,
// and says when it cannot begin any more.
//
// It does not know addresses, rules, or time.
package via

// A Kind is one way in which TLS begins. The zero Kind is not known.
type Kind uint8

const (
	Direct   Kind = iota + 1 // with the first byte
	SMTP                     // RFC 3207
	IMAP                     // RFC 9051, Section 6.2.1
	POP3                     // RFC 2595, Section 4
	FTP                      // RFC 4217
	XMPP                     // RFC 6120, Section 5
	LDAP                     // RFC 4511, Section 4.14
	Postgres                 // PostgreSQL, "Message Flow": SSLRequest
	MySQL                    // MySQL, "Connection Phase": SSLRequest
	Connect                  // RFC 9110, Section 9.3.6
	SOCKS                    // SOCKS 4, 4A, and RFC 1928
	Proxy                    // the PROXY protocol, versions 1 and 2

	kinds = int(iota) + 1
)

var kindNames = [kinds]string{
	"none", "direct", "starttls:smtp", "starttls:imap", "starttls:pop3", "starttls:ftp", "starttls:xmpp",
	"starttls:ldap", "starttls:postgres", "starttls:mysql", "connect", "socks", "proxy",
}

// String returns the name policies use.
func (k Kind) String() string {
	if int(k) < kinds {
		return kindNames[k]
	}
	return "invalid"
}

// All returns every kind.
func All() []Kind {
	all := make([]Kind, 0, kinds-1)
	for k := Direct; int(k) < kinds; k++ {
		all = append(all, k)
	}
	return all
}

// Kinds is a set of kinds: TLS may begin after STARTTLS behind a proxy. The
// zero Kinds is empty: not known.
type Kinds uint16

// Add puts a kind into the set.
func (s *Kinds) Add(k Kind) { *s |= 1 << k }

// Has reports whether the kind is in the set.
func (s Kinds) Has(k Kind) bool { return s>>k&1 != 0 }
