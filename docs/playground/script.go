package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Script says what happens in a picture: the calls, and how runs end. As text it is
//
//	0 30 60 110 330
//	runs: 60 fail 110fail ok
//	until: 500
//
// Numbers are milliseconds, and only the first line is needed.
type Script struct {
	Calls []time.Duration // in order
	Runs  []Outcome       // of the first run, the second, …; later ones are usual
	Until time.Duration   // end of the picture; 0: as suits what happens
}

// An Outcome says how a run ends.
type Outcome struct {
	Usual bool          // it takes as long as usual, and not Took
	Took  time.Duration // how long it takes
	Fails bool
}

// The words of a script.
const (
	failWord = "fail"
	okWord   = "ok"
)

// Limits of a script. A URL must not make the page hang.
const (
	mostCalls = 1000
	mostRuns  = 1000
)

// ParseScript parses the text of a script.
func ParseScript(text string) (Script, error) {
	parts := map[string][]string{}
	for line := range strings.Lines(text) {
		key, words, hasKey := strings.Cut(line, ":")
		if !hasKey {
			key, words = callsKey, line
		}
		key = strings.TrimSpace(key)
		parts[key] = append(parts[key], words)
	}
	var s Script
	var problems []error
	read := func(key string, parse func(*Script, string) error) {
		if err := parse(&s, strings.Join(parts[key], " ")); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", key, err))
		}
		delete(parts, key)
	}
	read(callsKey, readCalls)
	read(runsKey, readRuns)
	read(untilKey, readUntil)
	for key := range parts {
		problems = append(problems, fmt.Errorf("a line begins with calls:, runs: or until:, or with a number, and not with %q", key))
		break
	}
	return s, errors.Join(problems...)
}

// String returns the text of s.
func (s Script) String() string {
	lines := []string{strings.Join(s.calls(), " ")}
	if len(s.Runs) > 0 {
		lines = append(lines, runsKey+": "+strings.Join(s.runs(), " "))
	}
	if s.Until > 0 {
		lines = append(lines, untilKey+": "+s.until())
	}
	return strings.Join(lines, "\n")
}

func (s Script) clone() Script {
	s.Calls, s.Runs = slices.Clone(s.Calls), slices.Clone(s.Runs)
	return s
}

func (s Script) calls() []string {
	words := make([]string, len(s.Calls))
	for i, call := range s.Calls {
		words[i] = formatMilliseconds(call)
	}
	return words
}

func (s Script) runs() []string {
	words := make([]string, len(s.Runs))
	for i, run := range s.Runs {
		words[i] = run.String()
	}
	return words
}

func (s Script) until() string {
	if s.Until == 0 {
		return ""
	}
	return formatMilliseconds(s.Until)
}

func (o Outcome) String() string {
	switch {
	case o.Usual && o.Fails:
		return failWord
	case o.Usual:
		return okWord
	case o.Fails:
		return formatMilliseconds(o.Took) + failWord
	default:
		return formatMilliseconds(o.Took)
	}
}

func readCalls(s *Script, text string) error {
	words := wordsOf(text)
	if len(words) > mostCalls {
		return fmt.Errorf("more than %d calls", mostCalls)
	}
	calls := make([]time.Duration, 0, len(words))
	for _, word := range words {
		call, err := parseTime(word)
		if err != nil {
			return err
		}
		calls = append(calls, call)
	}
	slices.Sort(calls)
	s.Calls = calls
	return nil
}

func readRuns(s *Script, text string) error {
	words := wordsOf(text)
	if len(words) > mostRuns {
		return fmt.Errorf("more than %d runs", mostRuns)
	}
	runs := make([]Outcome, 0, len(words))
	for _, word := range words {
		number, fails := strings.CutSuffix(word, failWord)
		if number == "" || word == okWord {
			runs = append(runs, Outcome{Usual: true, Fails: fails})
			continue
		}
		took, err := parseTime(number)
		if err != nil {
			return fmt.Errorf("%q is neither ok, fail, a number of milliseconds, nor one followed by fail", word)
		}
		runs = append(runs, Outcome{Took: took, Fails: fails})
	}
	s.Runs = runs
	return nil
}

func readUntil(s *Script, text string) error {
	text = strings.TrimSpace(text)
	if text == "" {
		s.Until = 0
		return nil
	}
	until, err := parseTime(text)
	if err != nil {
		return err
	}
	s.Until = until
	return nil
}

// parseTime parses a number of milliseconds that is not negative.
func parseTime(word string) (time.Duration, error) {
	d, err := parseMilliseconds(word)
	if err == nil && d < 0 {
		err = fmt.Errorf("%q is negative", word)
	}
	return d, err
}

// wordsOf returns the words of text, between spaces or commas.
func wordsOf(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" ,\t\r\n", r) })
}
