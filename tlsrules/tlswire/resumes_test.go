package tlswire

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"slices"
	"testing"
)

// identities builds a pre_shared_key extension.
func identities(binders int, ids ...[]byte) ext {
	var list []byte
	for _, id := range ids {
		list = binary.BigEndian.AppendUint16(list, uint16(len(id)))
		list = append(append(list, id...), 0, 0, 0, 1)
	}
	proofs := bytes.Repeat([]byte("\x02zz"), binders)
	data := binary.BigEndian.AppendUint16(nil, uint16(len(list)))
	data = append(data, list...)
	data = binary.BigEndian.AppendUint16(data, uint16(len(proofs)))
	return ext{extensionPreSharedKey, append(data, proofs...)}
}

func TestResumes(t *testing.T) {
	withID := func(n int, exts ...ext) []byte {
		msg := clientHello([]uint16{0x1301, 0x2f}, exts...)
		body := slices.Clone(msg[messageHeaderLen : messageHeaderLen+34])
		body = append(append(body, byte(n)), make([]byte, n)...)
		return message(TypeClientHello, append(body, msg[messageHeaderLen+35+32:]...))
	}
	ticket := ext{extensionSessionTicket, []byte("a ticket")}
	psk := identities(1, []byte("an identity"))
	tls13, tls12 := extensions(extensionSupportedVersions)[0], ext{extensionSupportedVersions, []byte{4, 0xfa, 0xfa, 3, 3}}
	tests := []struct {
		name string
		msg  []byte
		want Resumes
		text string
	}{
		{"nothing", withID(0), 0, "none"},
		{"empty_ticket_asks_for_one", withID(0, ext{extensionSessionTicket, nil}), 0, "none"},
		{"session_id", withID(32), ResumesSessionID, "session_id"},
		{"short_session_id", withID(1), ResumesSessionID, "session_id"},
		{"session_id_and_empty_ticket", withID(32, ext{extensionSessionTicket, nil}), ResumesSessionID, "session_id"},
		{"versions_up_to_12", withID(32, tls12), ResumesSessionID, "session_id"},
		{"compatibility_mode", withID(32, tls13), 0, "none"},
		{"short_session_id_beside_tls13", withID(16, tls13), ResumesSessionID, "session_id"},
		{"ticket", withID(0, ticket), ResumesTicket, "ticket"},
		{"ticket_with_made_up_session_id", withID(32, ticket), ResumesTicket, "ticket"},
		{"psk_in_compatibility_mode", withID(32, tls13, psk), ResumesPSK, "psk"},
		{"ticket_and_psk", withID(32, tls13, ticket, psk), ResumesTicket | ResumesPSK, "ticket,psk"},
		{"session_id_and_psk", withID(20, tls13, psk), ResumesSessionID | ResumesPSK, "session_id,psk"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var h ClientHello
			if f := ParseClientHello(tt.msg, &h); !f.OK() {
				t.Fatal(f)
			}
			if got := h.Resumes(); got != tt.want || got.String() != tt.text {
				t.Errorf("got %v, want %v", got, tt.text)
			}
			key, ok := h.Ticket()
			if want := tt.want&ResumesTicket != 0; ok != want || want && key != SessionKeyOf(ticket.data) || !want && key != (SessionKey{}) {
				t.Errorf("ticket: got %x, %v", key, ok)
			}
		})
	}
}

func TestIdentities(t *testing.T) {
	var ids [][]byte
	for i := range 7 {
		ids = append(ids, bytes.Repeat([]byte{byte(i)}, 100+i))
	}
	for n := 1; n <= len(ids); n++ {
		var h ClientHello
		if f := ParseClientHello(clientHello(nil, identities(n+1, ids[:n]...)), &h); !f.OK() {
			t.Fatal(f)
		}
		got := h.Identities()
		if count, binders := h.IdentityCount(); count != n || binders != n+1 || len(got) != min(n, 4) || !h.PSK {
			t.Errorf("%d identities: got %d, %d binders, %d kept", n, count, binders, len(got))
		}
		for i, id := range got {
			if want := (Identity{SessionKeyOf(ids[i]), uint16(100 + i)}); id != want {
				t.Errorf("identity %d of %d: got %v, want %v", i, n, id, want)
			}
		}
	}
	var h ClientHello // the next hello has none of them
	ParseClientHello(clientHello(nil, identities(1, ids[0])), &h)
	ParseClientHello(clientHello(nil), &h)
	if n, m := h.IdentityCount(); h.Identities() != nil || n+m != 0 || h.Resumes() != ResumesSessionID {
		t.Errorf("kept of the hello before: %v, %d, %d", h.Identities(), n, m)
	}
}

// What crypto/tls gives for a ticket is what it brings when it comes again.
func TestTicketsOfGo(t *testing.T) {
	certs := certificates()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		client, server := clientOf(certs), serverOf(certs)
		client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		client.MaxVersion = version
		talk(client, server)
		state, ok := client.ClientSessionCache.Get("a.example")
		if !ok {
			t.Fatalf("%#04x: no session", version)
		}
		ticket, _, err := state.ResumptionState()
		if err != nil {
			t.Fatal(err)
		}
		flights, _ := talk(client, server)
		c, _ := checkSplits(t, flights)
		h := &c.ClientHello
		want := SessionKeyOf(ticket)
		switch key, ok := h.Ticket(); {
		case version == tls.VersionTLS12 && (!ok || key != want || h.Resumes() != ResumesTicket):
			t.Errorf("TLS 1.2: got %x, %v, %v", key, ok, h.Resumes())
		case version == tls.VersionTLS13 && (len(h.Identities()) != 1 || h.Identities()[0].Key != want || h.Resumes() != ResumesPSK || !c.ServerHello.PSK):
			t.Errorf("TLS 1.3: got %v, %v", h.Identities(), h.Resumes())
		}
	}
}
