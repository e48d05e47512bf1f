// Package labtest gives tests a lab: in a user namespace where there is no root,
// and where there is no way, a skip that says what is missing. With CI=true in
// the environment such a skip is a failure.
package labtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"tlsgate/internal/lab"
)

// Main is for TestMain: os.Exit(labtest.Main(m)).
func Main(m *testing.M) int {
	code, ran, err := lab.Elevate()
	if ran {
		return code
	}
	if err != nil { // the tests that need a lab will say so again
		fmt.Fprintln(os.Stderr, err)
	}
	return m.Run()
}

// New returns a lab that is closed when the test ends.
func New(t testing.TB, o lab.Options) *lab.Lab {
	t.Helper()
	l, err := lab.New(t.Context(), o)
	var lacking *lab.Error
	switch {
	case errors.As(err, &lacking) && lacking.Hint() != "":
		Missing(t, fmt.Errorf("%w (%s)", err, lacking.Hint()))
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// Program makes sure that a program is there.
func Program(t testing.TB, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		Missing(t, fmt.Errorf("missing program: %s", name))
	}
}

// Missing skips the test because of what this machine lacks.
func Missing(t testing.TB, what error) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
}
