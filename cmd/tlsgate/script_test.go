package main

import (
	"context"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScript runs testdata/script: in each a policy, commands, and what they
// print. `code N ARGS...` is tlsgate with arguments, and wants exit code N;
// $CAPTURES and $POLICIES are what other tests read too. The commands run in this
// process, so files of the script are $WORK/NAME.
func TestScript(t *testing.T) {
	root, err := filepath.Abs("../../testdata")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("CAPTURES", filepath.Join(root, "captures"))
			e.Setenv("POLICIES", filepath.Join(root, "policies"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": func(ts *testscript.TestScript, _ bool, args []string) {
				if len(args) == 0 {
					ts.Fatalf("usage: code N ARGS...")
				}
				want, err := strconv.Atoi(args[0])
				ts.Check(err)
				if got := run(context.Background(), args[1:], ts.Stdout(), ts.Stderr()); got != want {
					ts.Fatalf("exit code %d, want %d", got, want)
				}
			},
		},
	})
}
