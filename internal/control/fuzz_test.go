package control

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// FuzzRequests: whatever a client asks for, it is answered with a status that means
// something and with JSON, and nothing panics in a worker.
func FuzzRequests(f *testing.F) {
	for _, seed := range []struct{ method, target, body string }{
		{"GET", "/v1/conns?source=198.18.0.0/15&min_age=5m&limit=3", ""},
		{"GET", "/v1/conns?sni=*.lab.example&cipher=0xC02F&version=1.2&port=443", ""},
		{"GET", "/v1/pins?rule=one", ""},
		{"GET", "/v1/gates", ""},
		{"GET", "/v1/health", ""},
		{"POST", "/v1/kill", `{"flow_id":1}`},
		{"POST", "/v1/kill", `{"a":"198.18.1.2:1","b":"[2001:db8::1]:443"}`},
		{"POST", "/v1/pins", `{"rule":"each","group":{"source":"198.18.1.2","port":"8444"},"client_random":"` + strings.Repeat("ab", 32) + `"}`},
		{"POST", "/v1/pins", `{"rule":"named","group":{"sni":"a.example"},"session_id":"00ff"}`},
		{"DELETE", "/v1/pins?rule=each&group=source%3D198.18.1.2%2Cport%3D8444", ""},
		{"DELETE", "/v1/pins?flow_id=7", ""},
		{"POST", "/v1/gates", `{"rule":"quarantine","close":true}`},
		{"POST", "/v1/gates", `{"flow_id":9}`},
		{"POST", "/v1/reload", ""},
	} {
		f.Add(seed.method, seed.target, seed.body)
	}
	d := start(f, 1)
	handler := d.server.handler()
	f.Fuzz(func(t *testing.T, method, target, body string) {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond) // of who reads events
		defer cancel()
		q, err := http.NewRequestWithContext(ctx, method, "http://tlsgate/"+strings.TrimPrefix(target, "/"), strings.NewReader(body))
		if err != nil {
			return
		}
		w := httptest.NewRecorder()
		func() {
			defer func() {
				if v := recover(); v != nil && v != http.ErrAbortHandler {
					panic(v)
				}
			}()
			handler.ServeHTTP(w, q)
		}()
		if bug := d.d.Workers[0].Engine.Bug(); bug != "" {
			t.Fatal(bug)
		}
		kind := w.Header().Get("Content-Type")
		switch {
		case w.Code >= http.StatusInternalServerError && w.Code != http.StatusServiceUnavailable:
			t.Errorf("%s %s %q: %d %s", method, target, body, w.Code, w.Body)
		case kind == "application/json" && !json.Valid(w.Body.Bytes()):
			t.Errorf("%s %s %q: %s", method, target, body, w.Body)
		case w.Code == http.StatusBadRequest && kind != "application/json":
			t.Errorf("%s %s %q: %d, %s", method, target, body, w.Code, kind)
		}
	})
}
