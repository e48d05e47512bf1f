package config

import (
	"slices"
	"strconv"
	"strings"

	"tlsgate/nfq"
)

const portHint = `write a number from 1 to 65535, a range as in "9000-9099", or "all"`

// readPorts takes the ports to intercept; none are all.
func readPorts(t *table) (ports []nfq.PortRange) {
	values := t.list("ports", []string{"443", "8443", "9000-9099"})
	if len(values) == 0 {
		t.fail("ports", portHint, "is empty: nothing would be intercepted")
	}
	for _, s := range values {
		if strings.EqualFold(s, "all") {
			if len(values) > 1 {
				t.fail("ports", `write only "all", or only ports`, `has "all" among others`)
			}
			return nil
		}
		low, high, isRange := strings.Cut(s, "-")
		if !isRange {
			high = low
		}
		first, err1 := strconv.ParseUint(strings.TrimSpace(low), 10, 16)
		last, err2 := strconv.ParseUint(strings.TrimSpace(high), 10, 16)
		if err1 != nil || err2 != nil || first == 0 || first > last {
			t.fail("ports", portHint, "%q is not a port or range", s)
			continue
		}
		ports = append(ports, nfq.PortRange{First: uint16(first), Last: uint16(last)})
	}
	return ports
}

// readMark takes the mask of the bits that are ours.
func readMark(t *table) uint32 {
	const def = 0x00ff0000
	const hint = `write for example "0x00ff0000": at least four bits side by side`
	var mask uint64
	switch v := t.take("mark").(type) {
	case nil:
		return def
	case string:
		n, err := strconv.ParseUint(v, 0, 32)
		if err != nil {
			t.fail("mark", hint, "%q is not a mask of 32 bits", v)
			return def
		}
		mask = n
	case int64:
		if v < 0 || v > 1<<32-1 {
			t.fail("mark", hint, "%#x is not a mask of 32 bits", v)
			return def
		}
		mask = uint64(v)
	default:
		t.fail("mark", hint, "is %s, not a mask of 32 bits", describe(v))
		return def
	}
	if _, err := nfq.NewMarks(uint32(mask)); err != nil {
		t.fail("mark", hint, "%#08x cannot hold a mark", mask)
		return def
	}
	return uint32(mask)
}

// has reports whether a port is sent to the queue.
func (i *Intercept) has(port uint16) bool {
	return len(i.Ports) == 0 || slices.ContainsFunc(i.Ports, func(r nfq.PortRange) bool { return r.First <= port && port <= r.Last })
}
