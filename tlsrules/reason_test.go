package tlsrules

import (
	"slices"
	"testing"
)

func TestReasonNames(t *testing.T) {
	names := Reasons()
	for _, want := range []string{"rule", "default", "require.cipher", "require.renegotiates", "refused.earlier"} {
		if !slices.Contains(names, want) {
			t.Errorf("%q is missing", want)
		}
	}
	for _, wrong := range []string{"", "none", "require.none", "invalid"} {
		if slices.Contains(names, wrong) {
			t.Errorf("%q is none", wrong)
		}
	}
	if got, want := len(names), int(reasonRequire)-1+keyCount-1; got != want {
		t.Errorf("got %d, want %d", got, want)
	}
}
