package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Error is one thing wrong with a policy file.
type Error struct {
	File string
	Line int    // from 1; 0 where it is not known
	Key  string // as in "rule[2].match.sni": rules are counted from 1
	Msg  string
	Hint string // what to do about it; may be empty
	Err  error  // of the system, if it was that; may be nil
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	if e.Key != "" {
		b.WriteString(": " + e.Key)
	}
	b.WriteString(": " + e.Msg)
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// Errors are several, in the order of the file. Its text has a line for each,
// with the hint.
type Errors []*Error

func (list Errors) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d errors:", len(list))
	for _, e := range list {
		b.WriteString("\n  " + e.Error())
		if e.Hint != "" {
			b.WriteString(" (" + e.Hint + ")")
		}
	}
	return b.String()
}

// As finds a single *Error that stands for all: its hints are in the text.
func (list Errors) As(target any) bool {
	if one, ok := target.(**Error); ok {
		*one = &Error{File: list[0].File, Msg: list.Error()}
		return true
	}
	return false
}

// All returns the errors that err holds, in the order of the file.
func All(err error) []*Error {
	var list Errors
	var one *Error
	switch {
	case errors.As(err, &list):
		return list
	case errors.As(err, &one):
		return []*Error{one}
	}
	return nil
}

// err makes one error of all, or nil of none.
func (list Errors) err() error {
	slices.SortStableFunc(list, func(a, b *Error) int { return cmp.Compare(a.Line, b.Line) })
	switch len(list) {
	case 0:
		return nil
	case 1:
		return list[0]
	}
	return list
}
