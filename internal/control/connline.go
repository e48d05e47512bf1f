package control

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strconv"

	"tlsgate/internal/engine"
)

// appendConn appends a connection as encoding/json would write its Conn, and a line
// feed. A listing writes a hundred thousand of them: what it allocates, the garbage
// collector takes from the packets.
func appendConn(b []byte, s *engine.Seen, now int64) []byte {
	c := brief(s, now)
	o := object{append(b, '{')}
	o.number("flow_id", c.FlowID)
	o.address("src_ip", s.Original.Addr())
	o.number("src_port", uint64(c.SourcePort))
	o.address("dest_ip", s.Reply.Addr())
	o.number("dest_port", uint64(c.Port))
	o.text("state", c.State)
	o.seconds("age", c.Age)
	o.seconds("idle", c.Idle)
	o.number("pkts_toserver", c.PktsToServer)
	o.number("pkts_toclient", c.PktsToClient)
	o.number("bytes_toserver", c.BytesToServer)
	o.number("bytes_toclient", c.BytesToClient)
	o.text("verdict", c.Verdict)
	o.truth("final", c.Final)
	o.ifTrue("observed", c.Observed)
	o.ifText("rule", c.Rule)
	o.ifText("reason", c.Reason)
	o.ifText("stage", c.Stage)
	o.ifText("phase", c.Phase)
	o.ifText("via", c.Via)
	o.ifText("sni", c.SNI)
	o.ifText("alpn", c.ALPN)
	o.ifText("version", c.Version)
	o.ifText("cipher", c.Cipher)
	o.ifTrue("midstream", c.Midstream)
	o.truth("offloaded", c.Offloaded)
	o.ifTrue("grace", c.Grace)
	o.ifText("pin", c.Pin)
	if c.Waited != 0 {
		o.seconds("waited", c.Waited)
	}
	o.ifTrue("stood", c.Stood)
	return append(o.b, '}', '\n')
}

// object is a JSON object that is being written, behind its opening brace.
type object struct{ b []byte }

func (o *object) key(k string) {
	if o.b[len(o.b)-1] != '{' {
		o.b = append(o.b, ',')
	}
	o.b = append(append(append(o.b, '"'), k...), '"', ':')
}

func (o *object) number(k string, n uint64) {
	o.key(k)
	o.b = strconv.AppendUint(o.b, n, 10)
}

func (o *object) seconds(k string, v float64) {
	o.key(k)
	o.b = strconv.AppendFloat(o.b, v, 'f', -1, 64)
}

func (o *object) truth(k string, v bool) {
	o.key(k)
	o.b = strconv.AppendBool(o.b, v)
}

func (o *object) address(k string, a netip.Addr) {
	o.key(k)
	o.b = append(o.b, '"')
	if a.IsValid() {
		o.b = a.AppendTo(o.b)
	} else {
		o.b = append(o.b, a.String()...)
	}
	o.b = append(o.b, '"')
}

func (o *object) text(k, v string) {
	o.key(k)
	for i := range len(v) {
		if c := v[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			o.escaped(v)
			return
		}
	}
	o.b = append(append(append(o.b, '"'), v...), '"')
}

// escaped writes what clients make up, and rules are seldom called.
func (o *object) escaped(v string) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.Encode(v) // of a string, to memory
	o.b = append(o.b, bytes.TrimSuffix(out.Bytes(), []byte("\n"))...)
}

func (o *object) ifTrue(k string, v bool) {
	if v {
		o.truth(k, v)
	}
}

func (o *object) ifText(k, v string) {
	if v != "" {
		o.text(k, v)
	}
}
