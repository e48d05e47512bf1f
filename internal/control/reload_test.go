package control

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"
)

// TestReload gives the answer of the daemon, or why there is none; who goes away does
// not stop what has begun.
func TestReload(t *testing.T) {
	f := start(t, 1)
	r, err := f.client.Reload(t.Context())
	if err != nil || !r.Changed || r.Policy != f.d.Policy() || r.Rules != RulesFit || r.Text != "done" {
		t.Errorf("%+v, %v", r, err)
	}
	var failure *Failure
	f.onReload = func() error {
		return &Failure{Status: http.StatusUnprocessableEntity, Text: "policy.toml:3: rule[1].match.sni: no", Help: "write"}
	}
	if _, err := f.client.Reload(t.Context()); !errors.As(err, &failure) || failure.Status != 422 || failure.Text != "policy.toml:3: rule[1].match.sni: no" || failure.Help != "write" {
		t.Errorf("broken: %v", err)
	}
	f.onReload = func() error { return errors.New("iptables") }
	if _, err := f.client.Reload(t.Context()); !errors.As(err, &failure) || failure.Status != 503 || failure.Text != "iptables" {
		t.Errorf("iptables: %v", err)
	}

	began, ended := make(chan struct{}), make(chan error, 1)
	f.d.Reload = func(ctx context.Context) (*Reloaded, error) {
		close(began)
		select {
		case <-ctx.Done():
		case <-time.After(300 * time.Millisecond):
		}
		ended <- ctx.Err()
		return nil, errors.New("nobody reads this")
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-began; cancel() }()
	if _, err := f.client.Reload(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	if err := <-ended; err != nil {
		t.Errorf("broken off for who went away: %v", err)
	}
}
