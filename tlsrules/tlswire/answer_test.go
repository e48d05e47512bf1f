package tlswire

import "testing"

// TestInClear: an alert fits between records, and only where its receiver has no
// keys yet.
func TestInClear(t *testing.T) {
	hello12 := records(VersionTLS12, serverHello(VersionTLS12, 0xc02f), 1000)
	long := records(VersionTLS12, message(TypeCertificate, certificateList(make([]byte, 50))), 30)
	ccs := record(RecordTypeChangeCipherSpec, VersionTLS12, []byte{1})
	for _, tt := range []struct {
		name   string
		server []byte
		want   bool
	}{
		{"nothing said", nil, true},
		{"a byte of a record", hello12[:1], false},
		{"a record header", hello12[:5], false},
		{"all but a byte", hello12[:len(hello12)-1], false},
		{"a ServerHello", hello12, true},
		{"half a message", cat(hello12, long[:35]), false},
		{"a message of several records", cat(hello12, long), true},
		{"a HelloRetryRequest", records(VersionTLS12, helloRetry(), 1000), true},
		{"and its ChangeCipherSpec", cat(records(VersionTLS12, helloRetry(), 1000), ccs), true},
		{"a ServerHello of TLS 1.3", hello13, false},
		{"a ChangeCipherSpec", cat(hello12, ccs), false},
		{"not TLS", []byte("HTTP/1.1 400 Bad Request\r\n"), false},
		{"broken", cat(hello12, []byte{99, 3, 3, 0, 1}), false},
	} {
		for _, cut := range []cut{whole, oneByte} {
			var c Conn
			tell(t, &c, []flight{{Client, hello}, {Server, tt.server}}, cut)
			if got := c.InClear(Server); got != tt.want {
				t.Errorf("%s: got %v", tt.name, got)
			}
		}
	}
}

func TestAnswerVersion(t *testing.T) {
	version := func(v uint16) []byte {
		h := clientHello([]uint16{0x2f})
		h[4], h[5] = byte(v>>8), byte(v)
		return records(VersionTLS10, h, 1000)
	}
	for _, tt := range []struct {
		name           string
		client, server []byte
		want           uint16
	}{
		{"nothing said", nil, nil, VersionTLS10},
		{"a record header", []byte{22, 3, 0, 0, 90, 1}, nil, VersionSSL30},
		{"half a hello", version(VersionTLS12)[:40], nil, VersionTLS10},
		{"SSL 3.0", version(VersionSSL30), nil, VersionSSL30},
		{"TLS 1.0", version(VersionTLS10), nil, VersionTLS10},
		{"TLS 1.1", version(VersionTLS11), nil, VersionTLS11},
		{"TLS 1.2 and 1.3", hello, nil, VersionTLS12},
		{"of the future", version(0x0305), nil, VersionTLS12},
		{"the server chose TLS 1.0", hello, records(VersionTLS10, serverHello(VersionTLS10, 0x2f), 1000), VersionTLS10},
		{"the server chose TLS 1.3", hello, hello13, VersionTLS12},
	} {
		var c Conn
		tell(t, &c, []flight{{Client, tt.client}, {Server, tt.server}}, whole)
		if got := c.AnswerVersion(Client); got != tt.want {
			t.Errorf("%s: got %#x, want %#x", tt.name, got, tt.want)
		}
	}
}

// TestAlertRecord: what we send is read as an alert.
func TestAlertRecord(t *testing.T) {
	var c Conn
	alert := AlertRecord(VersionTLS10, 49)
	tell(t, &c, []flight{{Client, hello}, {Server, alert[:]}}, whole)
	if want := (AlertMessage{Level: AlertLevelFatal, Description: 49}); c.LastAlert != want || c.Header[Server].Version != VersionTLS10 {
		t.Errorf("got %+v", c.LastAlert)
	}
}
