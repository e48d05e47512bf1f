package main

import (
	"bufio"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func testConn(name, src, dst string, start, last int64) *conn {
	return &conn{name: name, src: netip.MustParseAddrPort(src), dst: netip.MustParseAddrPort(dst),
		start: time.Unix(start, 0), last: time.Unix(last, 0)}
}

func TestReader(t *testing.T) {
	const text = `[
  {"_index": "packets", "_score": null, "_source": {"layers": {
    "tls": {"tls.record": {"a": "1", "a": "2", "b\"é": "\n"}},
    "tls": ["x", {"a": "3"}], "n": 12
  }}},
  {"_source": {"layers": {}}}
]`
	r := &reader{in: bufio.NewReader(strings.NewReader(text))}
	layers, err := r.next()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(layers.texts("a"), ","), "1,2,3"; got != want {
		t.Errorf("values of a repeated key: %s, want %s", got, want)
	}
	if got := layers.find("b\"é"); got == nil || got.text != "\n" {
		t.Errorf("an escaped key and value: %v", got)
	}
	if _, err := r.next(); err != nil {
		t.Error(err)
	}
	if _, err := r.next(); err != io.EOF {
		t.Errorf("at the end: %v, want EOF", err)
	}
}

func TestReaderBroken(t *testing.T) {
	for _, tt := range []struct{ name, text string }{
		{"cut", `[{"_source": {"layers": {"a": "1`},
		{"not an array", `{}`},
		{"no key", `[{1: 2}]`},
		{"deep", "[" + strings.Repeat(`{"a":`, 1000)},
		{"deep list", strings.Repeat(`[`, 1000)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &reader{in: bufio.NewReader(strings.NewReader(tt.text))}
			if n, err := r.next(); err == nil || err == io.EOF {
				t.Errorf("got %v, %v; want an error", n, err)
			}
		})
	}
}

func TestReaderIsBounded(t *testing.T) {
	long := strings.Repeat("00:", 4*maxText/3)
	r := &reader{in: bufio.NewReader(strings.NewReader(`[{"layers": {"x": "` + long + `", "tcp.payload": "` + long + `"}}]`))}
	layers, err := r.next()
	if err != nil {
		t.Fatal(err)
	}
	if n := len(layers.kid("x").text); n != maxText {
		t.Errorf("%d bytes of a long value were kept, want %d", n, maxText)
	}
	if n := len(layers.kid("tcp.payload").text); n != 0 {
		t.Errorf("%d bytes of bulk were kept", n)
	}
}

// The example of the definition of JA4.
func TestJA4(t *testing.T) {
	x := &stream{conn: conn{facts: map[string]string{"client_version": "TLS 1.2"}}}
	ciphers := decimal(strings.Fields("0x0a0a 0x1301 0x1302 0x1303 0xc02b 0xc02f 0xc02c 0xc030 0xcca9 0xcca8 0xc013 0xc014 0x009c 0x009d 0x002f 0x0035"))
	extensions := decimal(strings.Fields("0x2a2a 0x001b 0x0000 0x0033 0x0010 0x4469 0x0017 0x002d 0x000d 0x0005 0x0023 0x0012 0x002b 0xff01 0x000b 0x000a 0x0015"))
	signatures := strings.Fields("0x0403 0x0804 0x0401 0x0503 0x0805 0x0501 0x0806 0x0601")
	if got, want := x.ja4(extensions, []string{"0x0a0a", "0x0304", "0x0303"}, ciphers, signatures, []string{"h2"}), "t13d1516h2_8daaf6152771_e5627efa2ab1"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestEnds(t *testing.T) {
	for _, tt := range []struct{ protocol, want string }{
		{"h2", "h2"}, {"http/1.1", "h1"}, {"x", "xx"}, {"\xab", "ab"}, {"\xab\xcd", "ad"}, {"0\xab", "3b"},
	} {
		if got := ends(tt.protocol); got != tt.want {
			t.Errorf("%q: got %s, want %s", tt.protocol, got, tt.want)
		}
	}
}

func TestExplanation(t *testing.T) {
	d := &difference{facts: map[string]string{"retry": "true"}, theirFacts: map[string]string{"version": "0x7F12"}, oracle: "tshark", file: "a/b/x-y.pcapng", field: "alerts", ours: "", theirs: "client:fatal:unknown_ca"}
	for _, tt := range []struct {
		name string
		e    explanation
		want bool
	}{
		{"field", explanation{Field: "alerts"}, true},
		{"another field", explanation{Field: "sni"}, false},
		{"file", explanation{Field: "alerts", File: "x-*"}, true},
		{"another file", explanation{Field: "alerts", File: "y-*"}, false},
		{"values", explanation{Field: "alerts", Theirs: "client:*"}, true},
		{"nothing", explanation{Field: "alerts", Ours: "-"}, true},
		{"nothing that is something", explanation{Field: "alerts", Theirs: "-"}, false},
		{"one of two", explanation{Field: "sni|alerts"}, true},
		{"a slash", explanation{Field: "alerts", File: "x-*.pcapng", Theirs: "client*ca"}, true},
		{"other values", explanation{Field: "alerts", Ours: "client:*"}, false},
		{"another fact of ours", explanation{Field: "alerts", When: map[string]string{"retry": "true"}}, true},
		{"another fact of theirs", explanation{Field: "alerts", When: map[string]string{"theirs.version": "0x7F1[0-5]"}}, true},
		{"a fact that is not so", explanation{Field: "alerts", When: map[string]string{"theirs.retry": "true"}}, false},
		{"oracle", explanation{Field: "alerts", Oracle: "suricata"}, false},
	} {
		if got := tt.e.matches(d); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestOneMore(t *testing.T) {
	for _, tt := range []struct {
		ours, theirs string
		want         bool
	}{
		{"application_data=2 handshake=1", "application_data=1 handshake=1", true},
		{"handshake=1", "", true},
		{"application_data=3", "application_data=1", false},
		{"application_data=1", "application_data=2", false},
		{"application_data=2", "application_data=1 handshake=1", false},
		{"alert=1 application_data=2", "application_data=1", false},
	} {
		if got := oneMore(tt.ours, tt.theirs); got != tt.want {
			t.Errorf("%q, %q: got %v, want %v", tt.ours, tt.theirs, got, tt.want)
		}
	}
}
