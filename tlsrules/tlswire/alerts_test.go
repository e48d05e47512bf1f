package tlswire

import (
	"slices"
	"testing"
)

func TestAlerts(t *testing.T) {
	type seen struct {
		from Side
		m    AlertMessage
	}
	warning := func(from Side, d uint8) seen {
		return seen{from, AlertMessage{Level: AlertLevelWarning, Description: d}}
	}
	fatal := func(d uint8) seen { return seen{Server, AlertMessage{Level: AlertLevelFatal, Description: d}} }
	hidden, inferred := seen{Client, AlertMessage{Encrypted: true}}, seen{Server, AlertMessage{Encrypted: true, Inferred: true}}
	w := func(n uint8) seen { return warning(Side(n%2), n) }
	tests := []struct {
		name      string
		add, want []seen
	}{
		{"none", nil, nil},
		{"close_notify_of_both", []seen{w(0), warning(Server, 0)}, []seen{w(0), warning(Server, 0)}},
		{"encrypted", []seen{hidden, inferred}, []seen{hidden, inferred}},
		{"description_255", []seen{fatal(255)}, []seen{fatal(255)}},
		{"four", []seen{w(1), w(2), w(3), w(4)}, []seen{w(1), w(2), w(3), w(4)}},
		{"flood_of_warnings", []seen{w(1), w(2), w(3), w(4), w(5), w(6)}, []seen{w(1), w(2), w(3), w(6)}},
		{"fatal_after_a_flood", []seen{w(1), w(2), w(3), w(4), w(5), fatal(40)}, []seen{w(1), w(2), w(3), fatal(40)}},
		{"flood_after_a_fatal", []seen{w(1), w(2), w(3), fatal(40), w(5), w(6)}, []seen{w(1), w(2), fatal(40), w(6)}},
		{"fatal_first", []seen{fatal(40), w(1), w(2), w(3), w(4)}, []seen{fatal(40), w(1), w(2), w(4)}},
		{"nothing_but_fatal", []seen{fatal(1), fatal(2), fatal(3), fatal(4), fatal(5), w(6)}, []seen{fatal(1), fatal(2), fatal(3), fatal(4)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var a Alerts
			for _, s := range tt.add {
				a.Add(s.from, s.m)
			}
			var got []seen
			for from, m := range a.All() {
				got = append(got, seen{from, m})
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			for range a.All() {
				break // an iterator may be left
			}
		})
	}
}
