package tlsrules

import "strings"

// nameSet holds names, and patterns with one star: of host names at the front,
// for any depth below, of interfaces at the end. The zero nameSet is empty.
type nameSet struct {
	exact map[string]struct{}
	below map[string]struct{} // "example.com" of "*.example.com"
	begin []string            // "eth" of "eth*"
}

// longestName is that of RFC 1035, Section 2.3.4, and a final dot.
const longestName = 256

// has reports whether a host name, as sent, is in the set. Case and a final
// dot do not count.
func (s *nameSet) has(name []byte) bool {
	var lower [longestName]byte
	n, ok := normal(name, &lower)
	if !ok {
		return false
	}
	if _, ok := s.exact[string(n)]; ok {
		return true
	}
	return s.beneath(n)
}

// normal writes a host name in lower case and without a final dot; false if it
// is longer than any.
func normal(name []byte, buf *[longestName]byte) ([]byte, bool) {
	if len(name) > len(buf) {
		return nil, false
	}
	n := buf[:len(name)]
	for i, b := range name {
		if 'A' <= b && b <= 'Z' {
			b += 'a' - 'A'
		}
		n[i] = b
	}
	if len(n) > 0 && n[len(n)-1] == '.' {
		n = n[:len(n)-1]
	}
	return n, true
}

// beneath reports whether a name in lower case is below one with a star.
func (s *nameSet) beneath(n []byte) bool {
	if len(s.below) == 0 {
		return false
	}
	for i := 1; i < len(n); i++ {
		if n[i] != '.' {
			continue
		}
		if _, ok := s.below[string(n[i+1:])]; ok {
			return true
		}
	}
	return false
}

// interfaceIn asks for an interface's name; one without a name is never known.
func (s *nameSet) interfaceIn(name string) truth {
	if name == "" {
		return never
	}
	if _, ok := s.exact[name]; ok {
		return yes
	}
	for _, b := range s.begin {
		if strings.HasPrefix(name, b) {
			return yes
		}
	}
	return no
}

// covers reports whether all that one value of the key stands for is in s.
func (s *nameSet) covers(k Key, value string) bool {
	if k != KeyServerName && k != KeyCertName {
		if stem, star := strings.CutSuffix(value, "*"); star {
			for _, b := range s.begin {
				if strings.HasPrefix(stem, b) {
					return true
				}
			}
			return false
		}
		return s.interfaceIn(value) == yes
	}
	if stem, star := strings.CutPrefix(value, "*."); star {
		_, same := s.below[stem]
		return same || s.beneath([]byte(stem))
	}
	return s.has([]byte(value))
}
