package engine

import (
	"runtime"
	"testing"

	"tlsgate/nfq"
)

// TestFootprint: an engine whose connections are all inspected takes less than its
// limits are said to allow, and not so much less that the number says nothing.
func TestFootprint(t *testing.T) {
	const connections = 20_000
	cfg := config()
	cfg.Limits = Limits{Connections: connections, HalfOpen: connections, Buffered: 1 << 20, Refused: 16, Stories: -1}
	hello := recording(t, "tls13")[0].bytes
	packets := script(t, policy(acceptAll), []turn{{original, hello}}, strategies["mss"])[:5]
	e := New(cfg, only("handshake", "change_cipher_spec"))
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	for port := range uint16(connections) {
		for _, b := range packets {
			setPort(b, 10000+port)
			e.Packet(&nfq.Packet{Payload: b}, second)
		}
	}
	took := heap() - before
	said := cfg.Limits.Footprint() - perEngine
	t.Logf("%d connections take %d bytes each, and are said to take %d at most", e.table.Len(), took/connections, said/connections)
	if took > said || took < said/4 {
		t.Errorf("%d bytes, and %d are said to be the most", took, said)
	}
	runtime.KeepAlive(e)
}
