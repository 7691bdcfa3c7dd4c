package interleaving

import (
	"fmt"
	"strings"
)

// A word is the fast path's word, with the layout of word.go in the root package: two bits of
// kind above a value.
type word uint8

const (
	wordLocked word = iota << 6
	wordCounted
	wordPending
	wordTimed
)

// These are untyped because they are not kinds.
const (
	wordKind  = 3 << 6
	wordValue = 1<<6 - 1
)

// timedWord returns the word that carries the time of the last call. A search lasts far fewer
// ticks than fit.
func timedWord(last instant) word {
	return wordTimed | word(last) //nolint:gosec // an instant that has come is not negative
}

// kindName returns the name that word.go gives the kind of w.
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
