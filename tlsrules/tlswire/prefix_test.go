package tlswire

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// conversations are what real programs said to each other, and made-up ones.
func conversations(t testing.TB) map[string][]flight {
	t.Helper()
	all := map[string][]flight{
		"chrome": handshakeFlights(),
		"retry": {{Client, hello}, {Server, records(VersionTLS12, retryRequest(0x1301), 9)}, {Client, records(VersionTLS12, chromeHello(), 700)},
			{Server, hello13}, {Client, data(53)}},
		"shared_records": {{Client, hello}, {Server, records(VersionTLS12, cat(serverHello(VersionTLS12, 0xc02f), message(TypeCertificate, make([]byte, 900)),
			message(TypeServerKeyExchange, []byte{3, 0, 29, 1, 9}), message(TypeServerHelloDone, nil)), 211)}},
	}
	names, err := filepath.Glob(filepath.Join("testdata", "*.txt"))
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		name = strings.TrimSuffix(filepath.Base(name), ".txt")
		all[name] = readFlights(t, name)
	}
	return all
}

// An end is where a handshake message in clear ends: after how many bytes of
// its side.
type end struct {
	from Side
	at   int
	what HandshakeType
}

// ends walks over the records of a conversation, and knows nothing but lengths.
func ends(flights []flight) (all []end) {
	var streams [2][]byte
	for _, f := range flights {
		streams[f.from] = append(streams[f.from], f.data...)
	}
	for from, b := range streams {
		at, keys := 0, false
		var body []byte
		var places []int // of the bytes of body
		for len(b) >= recordHeaderLen && !keys {
			n := int(b[3])<<8 | int(b[4])
			keys = b[0] == byte(RecordTypeChangeCipherSpec) || b[0] == byte(RecordTypeApplicationData)
			if b[0] == byte(RecordTypeHandshake) {
				for i := range n {
					body, places = append(body, b[recordHeaderLen+i]), append(places, at+recordHeaderLen+i+1)
				}
			}
			b, at = b[recordHeaderLen+n:], at+recordHeaderLen+n
		}
		for len(body) >= messageHeaderLen {
			n := messageHeaderLen + int(body[1])<<16 + int(body[2])<<8 + int(body[3])
			all = append(all, end{Side(from), places[n-1], HandshakeType(body[0])})
			body, places = body[n:], places[n:]
		}
	}
	return all
}

// No strict prefix of a message is one, and no whole message is late: each is
// told with its last byte, in pieces of any size.
func TestPrefixOfMessage(t *testing.T) {
	for name, flights := range conversations(t) {
		for _, refragmented := range [][]flight{flights, refragment(flights, 3), refragment(flights, 4000)} {
			want := ends(refragmented)
			for _, next := range []cut{whole, oneByte, func(int) int { return 7 }} {
				var c Conn
				var at [2]int
				var got []end
				for _, f := range refragmented {
					for b := f.data; len(b) > 0; {
						n, _, st := c.Consume(f.from, b[:min(len(b), next(len(b)))])
						b, at[f.from] = b[n:], at[f.from]+n
						if st == Message {
							got = append(got, end{f.from, at[f.from], c.LastMessage.Type})
						}
					}
				}
				slices.SortStableFunc(got, func(a, b end) int { return int(a.from) - int(b.from) })
				if inClear(got, want) != "" || !c.Fault.OK() {
					t.Fatalf("%s: %s, %v", name, inClear(got, want), c.Fault)
				}
			}
		}
	}
}

// inClear says how what was told differs from what there is: after a
// HelloRetryRequest and a ChangeCipherSpec of compatibility mode there is more.
func inClear(got, want []end) string {
	for _, w := range want {
		if !slices.Contains(got, w) {
			return fmt.Sprintf("%v's %d does not end at %d: %v", w.from, w.what, w.at, got)
		}
	}
	if len(got) < len(want) || len(want) == 0 {
		return fmt.Sprintf("%d messages, %d told", len(want), len(got))
	}
	return ""
}

// Nothing of a hello is known before its last byte, and nothing is broken.
func TestPrefixTellsNothing(t *testing.T) {
	for name, flights := range conversations(t) {
		var c Conn
		hello := flights[0].data
		last := ends(flights[:1])[0].at
		for i := range last - 1 {
			c.Consume(Client, hello[i:i+1])
			if c.HasClientHello || c.Phase != PhaseStart || !c.Fault.OK() || c.ClientHello.Resumes() != 0 {
				t.Fatalf("%s: something is known after %d of %d bytes", name, i+1, last)
			}
		}
		c.Consume(Client, hello[last-1:last])
		if !c.HasClientHello {
			t.Errorf("%s: nothing is known after all of %d bytes", name, last)
		}
	}
}
