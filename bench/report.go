package main

import (
	"encoding/json"
	"os"

	"github.com/throttle-go/throttle/bench/internal/measure"
)

// A report holds all figures of a run.
type report struct {
	Machine  measure.Machine
	Command  string
	Sections []section
}

// A section holds the figures of a subject.
type section struct {
	Name    string
	Title   string
	Notes   []string `json:",omitempty"`
	Results []result `json:",omitempty"`
	Matrix  *matrix  `json:",omitempty"`
}

func (s section) empty() bool { return len(s.Results) == 0 && s.Matrix == nil }

// A result is one line of the table.
type result struct {
	Setting string
	Metric  string `json:",omitempty"` // what was measured; empty for the time of a call
	Peer    string
	Unit    measure.Unit
	Ratio   *measure.Spread `json:",omitempty"` // ours/peer; nil if the peer has nothing to divide by
	Ours    float64         // median
	Theirs  float64         // the peer's median
	Allocs  []float64       `json:",omitempty"` // per call, ours and the peer's; nil if not counted
	Turns   int             // of each side
}

// what returns the setting of r with its metric.
func (r result) what() string {
	if r.Metric == "" {
		return r.Setting
	}
	return r.Setting + ", " + r.Metric
}

// A matrix says which promises ours and the peers keep, as checks found.
type matrix struct {
	Promises []string
	Peers    []verdicts
}

// The verdicts on a peer say for each promise whether the peer keeps it.
type verdicts struct {
	Peer string
	Kept []bool
}

func (r report) save(file string) error {
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

// load returns the report saved in file.
func load(file string) (report, error) {
	var r report
	text, err := os.ReadFile(file)
	if err != nil {
		return r, err
	}
	err = json.Unmarshal(text, &r)
	return r, err
}
