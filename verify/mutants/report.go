package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// This file holds what gremlins reports.

// readReport returns the mutants that gremlins' report in the file path tells of, in
// the order of the source, whose files are in root.
func readReport(path, root string) ([]*mutant, error) {
	text, err := os.ReadFile(path) //nolint:gosec // what the caller names
	if err != nil {
		return nil, err
	}
	byFile, err := parseReport(text)
	if err != nil {
		return nil, err
	}
	var all []*mutant
	for _, file := range slices.Sorted(maps.Keys(byFile)) {
		source, err := os.ReadFile(filepath.Join(root, file)) //nolint:gosec // as above
		if err != nil {
			return nil, err
		}
		mutants := byFile[file]
		if err := prepare(mutants, file, source); err != nil {
			return nil, err
		}
		all = append(all, mutants...)
	}
	return all, nil
}

// parseReport returns the mutants of each file, in the order of the source.
func parseReport(text []byte) (map[string][]*mutant, error) {
	var report struct {
		Files []struct {
			Name    string `json:"file_name"`
			Mutants []struct {
				Type         string
				Status       status
				Line, Column int
			} `json:"mutations"`
		}
	}
	if err := json.Unmarshal(text, &report); err != nil {
		return nil, err
	}
	byFile := map[string][]*mutant{}
	for _, file := range report.Files {
		for _, m := range file.Mutants {
			switch m.Status {
			case killed, lived, timedOut, notCovered, notViable:
			default:
				return nil, fmt.Errorf("%s:%d:%d is %s: the report is not of a whole run", file.Name, m.Line, m.Column, m.Status)
			}
			byFile[file.Name] = append(byFile[file.Name], &mutant{
				file: file.Name, line: m.Line, column: m.Column, mutator: m.Type, status: m.Status,
			})
		}
		slices.SortFunc(byFile[file.Name], func(a, b *mutant) int {
			return cmp.Or(a.line-b.line, a.column-b.column, cmp.Compare(a.mutator, b.mutator))
		})
	}
	return byFile, nil
}
