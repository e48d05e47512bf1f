package tlswire

import "testing"

func TestRetryRequest(t *testing.T) {
	request := func(exts ...ext) []byte {
		m := serverHello(VersionTLS12, 0x1301, append([]ext{{extensionSupportedVersions, []byte{3, 4}}}, exts...)...)
		copy(m[6:], helloRetryRequestRandom[:])
		return records(VersionTLS12, m, 1000)
	}
	group, cookie := ext{extensionKeyShare, []byte{0, 24}}, ext{extensionCookie, []byte{0, 1, 7}}
	for _, tt := range []struct {
		name    string
		request []byte
		group   uint16
		cookie  bool
	}{
		{"group", request(group), 24, false},
		{"cookie", request(cookie), 0, true},
		{"both", request(cookie, group), 24, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, _ := checkSplits(t, []flight{{Client, hello}, {Server, tt.request}, {Client, hello}, {Server, hello13}})
			if !c.Retry || c.RetryGroup != tt.group || c.RetryCookie != tt.cookie || !c.HasServerHello || c.Renegotiates() {
				t.Errorf("got group %d, cookie %v, %v", c.RetryGroup, c.RetryCookie, c.Fault)
			}
		})
	}
}

// TestSecondHelloBroken: what was read of the first one stays.
func TestSecondHelloBroken(t *testing.T) {
	var bufs Buffers
	c := Conn{Buffers: &bufs}
	consume(&c, Client, hello)
	want := factsOf(&c)
	consume(&c, Server, records(VersionTLS12, helloRetry(), 1000))
	msg := clientHello([]uint16{0x1301}, ext{extensionServerName, []byte{0, 9, 0}})
	consume(&c, Client, records(VersionTLS12, msg, 1000))
	if c.Fault.Field != FaultServerName {
		t.Fatalf("fault %v", c.Fault)
	}
	got := factsOf(&c)
	if got.JA3 != want.JA3 || string(got.Client.ServerName) != string(want.Client.ServerName) || len(got.Client.CipherSuites) != len(want.Client.CipherSuites) {
		t.Errorf("got %+v, want %+v", got.Client, want.Client)
	}
	c.Reset() // and the memory serves again
	consume(&c, Client, hello)
	if again := factsOf(&c); again.JA3 != want.JA3 || again.JA4 != want.JA4 {
		t.Errorf("after another connection: %+v", again.Client)
	}
}

func helloRetry() []byte {
	m := serverHello(VersionTLS12, 0x1301, ext{extensionSupportedVersions, []byte{3, 4}}, ext{extensionKeyShare, []byte{0, 24}})
	copy(m[6:], helloRetryRequestRandom[:])
	return m
}
