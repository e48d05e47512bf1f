package tlswire

import "testing"

// Every fault has a name of its own and belongs to a layer.
func TestFaults(t *testing.T) {
	seen := make(map[string]bool)
	for f := FaultNone; f <= FaultTooManyRecords; f++ {
		if s := f.String(); s == "" || s == "unknown" || seen[s] {
			t.Errorf("fault %d is called %q", f, s)
		} else {
			seen[s] = true
		}
	}
	for f, want := range map[FaultField]FaultKind{
		FaultNone: NoFault, FaultRecordType: RecordFault, FaultAlert: RecordFault,
		FaultMessageOrder: HandshakeFault, FaultFlagExtension: HandshakeFault,
		FaultMessageTooLong: LimitFault, FaultTooManyRecords: LimitFault,
	} {
		if got := f.Kind(); got != want {
			t.Errorf("%v: got kind %d, want %d", f, got, want)
		}
	}
	if got := (FaultTooManyRecords + 1).String(); got != "unknown" {
		t.Errorf("got %q", got)
	}
}
