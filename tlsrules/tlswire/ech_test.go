package tlswire

import (
	"crypto/ecdh"
	crand "crypto/rand"
	"crypto/tls"
	"slices"
	"testing"

	"golang.org/x/crypto/cryptobyte"
)

// echConfigs is an ECHConfigList (RFC 9849, Section 4) with one config of one
// suite.
func echConfigs(t *testing.T, id uint8, kdf, aead uint16, publicName string) []byte {
	t.Helper()
	key, err := ecdh.X25519().GenerateKey(crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var b cryptobyte.Builder
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		b.AddUint16(extensionEncryptedClientHello)
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
			b.AddUint8(id)
			b.AddUint16(0x0020) // DHKEM(X25519, HKDF-SHA256)
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(key.PublicKey().Bytes()) })
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddUint16(kdf); b.AddUint16(aead) })
			b.AddUint8(32)
			b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(publicName)) })
			b.AddUint16(0)
		})
	})
	return b.BytesOrPanic()
}

// The outer hello of crypto/tls shows the public name and the config's numbers,
// and not the name that is meant.
func TestECHOfGo(t *testing.T) {
	for _, tt := range []struct {
		id        uint8
		kdf, aead uint16
	}{{0, 1, 1}, {200, 1, 2}, {7, 1, 3}} {
		msg := helloFrom(t, &tls.Config{ServerName: "secret.example", EncryptedClientHelloConfigList: echConfigs(t, tt.id, tt.kdf, tt.aead, "public.example")})
		var h ClientHello
		if f := ParseClientHello(msg, &h); !f.OK() {
			t.Fatal(f)
		}
		got := h.ECH
		payload := got.Length
		got.Length = 0
		if want := (ECH{Present: true, ConfigID: tt.id, KDF: tt.kdf, AEAD: tt.aead, EncLength: 32}); got != want || payload < 100 {
			t.Errorf("got %+v with %d bytes, want %+v", got, payload, want)
		}
		if string(h.ServerName) != "public.example" || !slices.Contains(h.Extensions, extensionEncryptedClientHello) {
			t.Errorf("got name %q", h.ServerName)
		}
	}
}
