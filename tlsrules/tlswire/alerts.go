package tlswire

import "iter"

// maxAlerts bounds how many alerts are kept of a connection. Honest ends send
// two, one each; warnings can come in any number.
const maxAlerts = 4

// Alerts are alerts of a connection in the order in which they came. When there
// are more than it keeps, the latest takes the place of the one before it;
// fatal ones in clear stay. The zero Alerts is empty.
type Alerts struct {
	kept [maxAlerts]keptAlert
}

// A keptAlert is an alert and its sender in two bytes; 0 is none.
type keptAlert uint16

const (
	keptAny       keptAlert = 1 << 15
	keptServer    keptAlert = 1 << 14
	keptEncrypted keptAlert = 1 << 13
	keptInferred  keptAlert = 1 << 12
	keptLevel               = 8 // bits from the right; the description is below
)

func keep(from Side, m AlertMessage) keptAlert {
	k := keptAny | keptAlert(m.Level&3)<<keptLevel | keptAlert(m.Description)
	if from == Server {
		k |= keptServer
	}
	if m.Encrypted {
		k |= keptEncrypted
	}
	if m.Inferred {
		k |= keptInferred
	}
	return k
}

func (k keptAlert) alert() (Side, AlertMessage) {
	from := Client
	if k&keptServer != 0 {
		from = Server
	}
	return from, AlertMessage{
		Level: AlertLevel(k>>keptLevel) & 3, Description: uint8(k),
		Encrypted: k&keptEncrypted != 0, Inferred: k&keptInferred != 0,
	}
}

// Add takes an alert that a side has sent.
func (a *Alerts) Add(from Side, m AlertMessage) {
	at := maxAlerts - 1
	for at >= 0 && a.kept[at]>>keptLevel&3 == keptAlert(AlertLevelFatal) {
		at--
	}
	if at < 0 {
		return
	}
	for i, k := range a.kept {
		if k == 0 {
			a.kept[i] = keep(from, m)
			return
		}
	}
	copy(a.kept[at:], a.kept[at+1:])
	a.kept[maxAlerts-1] = keep(from, m)
}

// All iterates over the alerts and their senders.
func (a *Alerts) All() iter.Seq2[Side, AlertMessage] {
	return func(yield func(Side, AlertMessage) bool) {
		for _, k := range a.kept {
			if k == 0 || !yield(k.alert()) {
				return
			}
		}
	}
}
