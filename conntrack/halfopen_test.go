package conntrack

import (
	"fmt"
	"testing"
)

// oldConnection is RFC 9293, Section 3.5.1, figure 9: the server still has a
// connection on the ports that the client uses anew, of which this table knows
// nothing. It challenges the SYN (RFC 5961, Section 4.2), the client resets the
// old connection, and repeats its SYN.
const oldConnection = `
	> S    0    0           : opened    SYN_SENT
	< A    900000  -70000   : %s        SYN_SENT
	> R    -70000  0        : bad_reset SYN_SENT
	> S    0    0           : known     SYN_SENT
	< SA   0    1           : known     SYN_RECV
	> A    1    1           : known     ESTABLISHED
	> PA   1    1   len=500 : known     ESTABLISHED
	< A    1    501         : known     ESTABLISHED
	< PA   1    501 len=900 : known     ESTABLISHED`

func TestOldConnectionOfServer(t *testing.T) {
	for _, recorded := range []bool{false, true} {
		for _, isn := range isns {
			tab := New[int](Config{Recorded: recorded}, nil)
			c := replay(t, tab, fmt.Sprintf(oldConnection, "bad_state"), isn)
			if c.Value != 1400 || c.Midstream || tab.Len() != 1 {
				t.Errorf("recorded %v, ISNs %#x: %d bytes, midstream %v, %d connections", recorded, isn, c.Value, c.Midstream, tab.Len())
			}
		}
	}
}
