package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tlsgate/internal/capture"
	"tlsgate/internal/lab"
	"tlsgate/internal/lab/labtest"
)

// verdict is what a refusal says that must be the same live and in a replay.
type verdict struct{ Type, Verdict, Rule, Reason, Detail, Version, Cipher string }

// verdicts returns, by client, the last of a connection's tls and drop events.
func verdicts(events []event) map[string]verdict {
	all := map[string]verdict{}
	for _, e := range events {
		if e.Type == "tls" || e.Type == "drop" {
			all[netip.AddrPortFrom(e.SrcIP, e.SrcPort).String()] = verdict{e.Type, e.Ours.Verdict, e.Ours.Rule, e.Ours.Reason, e.Ours.Detail, e.TLS.Version, e.Ours.Cipher}
		}
	}
	return all
}

// TestIntegrationReplay records what passes the gateway while clients meet each
// policy of the lab, and wants the same verdicts from a replay, and the same
// bytes from a second one.
func TestIntegrationReplay(t *testing.T) {
	for _, st := range stories {
		t.Run(st.title, func(t *testing.T) {
			l := labtest.New(t, lab.Options{})
			if _, err := l.Server.ServeTLS(":443", lab.ServerOptions{Key: lab.KeyRSA}); err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			file := filepath.Join(dir, "lab.pcapng")
			var recorder *capture.Recorder
			err := l.Gateway.Run(func() (err error) {
				recorder, err = capture.Live([]string{lab.GatewayClientLink, lab.GatewayServerLink}, file)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			f := startFirewall(t, l, st.policy)
			s := &stage{lab: l, dir: dir, out: io.Discard, err: io.Discard}
			for _, try := range st.tries {
				if try.program != "" {
					labtest.Program(t, try.program)
				}
				try.run(t.Context(), s)
			}
			time.Sleep(200 * time.Millisecond)
			f.stop()
			recorded, err := recorder.Stop()
			if err != nil || recorded.Lost > 0 {
				t.Fatalf("recorded %+v, %v", recorded, err)
			}

			first, second := replayed(t, f.policy, file), replayed(t, f.policy, file)
			if !bytes.Equal(first, second) {
				t.Error("two replays of the same file differ")
			}
			var events []event
			for line := range bytes.Lines(first) {
				var e event
				if err := json.Unmarshal(line, &e); err != nil {
					t.Fatal(err)
				}
				events = append(events, e)
			}
			live := verdicts(f.all())
			if diff := cmp.Diff(live, verdicts(events)); diff != "" || len(live) == 0 {
				t.Errorf("live %d connections; live - replay +:\n%s", len(live), diff)
			}
		})
	}
}

// replayed runs tlsgate replay --json.
func replayed(t *testing.T, policy, file string) []byte {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := run(context.Background(), []string{"replay", "-c", policy, "--json", file}, &stdout, &stderr); code != exitFine {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	return stdout.Bytes()
}

// TestIntegrationLab runs the lab as a user does; it ends by itself and leaves
// nothing behind.
func TestIntegrationLab(t *testing.T) {
	labtest.Program(t, "openssl")
	labtest.Program(t, "curl")
	t.Setenv(asProgram, "1")
	file := filepath.Join(t.TempDir(), "lab.pcapng")
	t.Setenv("TMPDIR", t.TempDir())
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"lab", "--capture", file}, &stdout, &stderr); code != exitFine {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	for _, want := range []string{
		"accept partner: TLS 1.2 TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
		"reset, require.cipher: server selected AES128-SHA",
		"reset, require.content_type",
		"handshake complete, 1048576 bytes came",
	} {
		if !bytes.Contains(stdout.Bytes(), []byte(want)) {
			t.Errorf("the lab does not say %q:\n%s", want, stdout.String())
		}
	}
	if info, err := os.Stat(file); err != nil || info.Size() == 0 {
		t.Errorf("capture: %v", err)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
