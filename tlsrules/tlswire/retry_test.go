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
