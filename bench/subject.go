package main

import (
	"fmt"
	"io"
	"regexp"
	"time"

	"github.com/throttle-go/throttle/bench/internal/measure"
)

// A subject is a section of the table: one kind of work, in several settings,
// beside several peers.
type subject struct {
	name        string // the first part of its experiments' names
	title       string
	notes       []string
	experiments []experiment
	check       func(effort) (*matrix, error) // nil: only experiments
}

// An experiment measures ours and one peer in one setting.
type experiment struct {
	setting string
	peer    string
	measure func(effort) ([]result, error)
}

// subjects returns everything to measure, in the order of the table.
func subjects() []subject {
	return []subject{
		coalescedCalls(),
		coalescedCallsByCores(),
		debouncedCalls(),
		startedRuns(),
		deferredRuns(),
		idleInstances(),
		keyedCalls(),
		manyKeys(),
		longestCalls(),
		carriedCalls(),
		simulatedCalls(),
		promises(),
		keyedPromises(),
		valuePromises(),
	}
}

// An effort says how thoroughly to measure.
type effort struct {
	budget    time.Duration // approximate time to compare two sides
	turn      time.Duration // least time of a side's turn
	turns     int           // least number of turns of each side
	instances int           // number of idle instances
	idle      time.Duration // over which to take their CPU time
	keys      int           // number of keys to call once
	interval  time.Duration // of the contestants in the checks
}

func fullEffort(budget time.Duration) effort {
	return effort{
		budget:    budget,
		turn:      5 * time.Millisecond,
		turns:     3,
		instances: 10_000,
		idle:      time.Second, // a trigger's ticker ticks once in it
		keys:      1_000_000,
		interval:  200 * time.Millisecond,
	}
}

// measure measures the experiments that match only, and prints every section as soon
// as it is complete.
func (e effort) measure(all []subject, only *regexp.Regexp, command string, stdout io.Writer) (report, error) {
	r := report{Machine: measure.DescribeMachine(time.Now()), Command: command}
	if err := printHeader(stdout, r); err != nil {
		return r, err
	}
	for _, s := range all {
		made, err := e.section(s, only)
		if err != nil {
			return r, err
		}
		if made.empty() {
			continue
		}
		r.Sections = append(r.Sections, made)
		if err := printSection(stdout, made); err != nil {
			return r, err
		}
	}
	return r, nil
}

// section measures the experiments of s that match only.
func (e effort) section(s subject, only *regexp.Regexp) (section, error) {
	made := section{Name: s.name, Title: s.title, Notes: s.notes}
	for _, x := range s.experiments {
		name := s.name + "/" + x.setting + "/" + x.peer
		if !only.MatchString(name) {
			continue
		}
		results, err := x.measure(e)
		if err != nil {
			return made, fmt.Errorf("%s: %w", name, err)
		}
		for i := range results {
			results[i].Setting, results[i].Peer = x.setting, x.peer
		}
		made.Results = append(made.Results, results...)
	}
	if s.check == nil || !only.MatchString(s.name) {
		return made, nil
	}
	var err error
	made.Matrix, err = s.check(e)
	return made, err
}
