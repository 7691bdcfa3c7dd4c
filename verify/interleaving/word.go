package interleaving

import (
	"fmt"
	"strings"
)

// This file holds the fast path's word, laid out as in lock.go: two bits of kind
// above a value.

type word uint8

const (
	wordLocked word = iota << 6
	wordCounted
	wordPending
	wordTimed
)

// Untyped, as they are no kinds.
const (
	wordKind  = 3 << 6
	wordValue = 1<<6 - 1
)

// timedWord returns the word that carries the time of the last call. A search
// lasts far fewer ticks than the value can count.
func timedWord(last instant) word {
	return wordTimed | word(last) //nolint:gosec // an instant that has come is not negative
}

// kindName returns the name that lock.go gives the kind of w.
func (w word) kindName() string {
	switch w & wordKind {
	case wordLocked:
		return "wordLocked"
	case wordCounted:
		return "wordCounted"
	case wordPending:
		return "wordPending"
	case wordTimed:
		return "wordTimed"
	}
	return "" // two bits say no more
}

func (w word) String() string {
	name := strings.ToLower(strings.TrimPrefix(w.kindName(), "word"))
	if w&wordValue == 0 {
		return name
	}
	return fmt.Sprintf("%s %d", name, w&wordValue)
}
