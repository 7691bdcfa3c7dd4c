package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
)

const lineFormat = "%d %d %s\n" // of a row in the file

// A file is a store with one row per line.
type file struct {
	file   *os.File
	size   int64 // of all successful writes
	faults faults
}

func newFile(name string) (*file, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	return &file{file: f}, err
}

// insert writes after the last successful insert, over the remains of a failed one.
func (f *file) insert(_ context.Context, rows []row) error {
	var lines bytes.Buffer
	for _, r := range rows {
		if strings.ContainsAny(r.Text, "\n\x00") {
			return fmt.Errorf("%w: the text %q does not fit in a line", errRefused, r.Text)
		}
		fmt.Fprintf(&lines, lineFormat, r.Writer, r.Number, r.Text)
	}
	if err := f.write(lines.Bytes(), f.faults.next(rows)); err != nil {
		return errors.Join(err, f.file.Truncate(f.size))
	}
	f.size += int64(lines.Len())
	return nil
}

// write writes data, or only the first half of it if the disk is full.
func (f *file) write(data []byte, full bool) error {
	if full {
		_, err := f.file.WriteAt(data[:len(data)/2], f.size)
		return errors.Join(errors.New("disk full"), err)
	}
	_, err := f.file.WriteAt(data, f.size)
	return errors.Join(err, f.file.Sync())
}

func (f *file) rows(context.Context) (rows []row, err error) {
	data, err := os.ReadFile(f.file.Name())
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(data) {
		var r row
		if _, err := fmt.Sscanf(string(line), lineFormat, &r.Writer, &r.Number, &r.Text); err != nil {
			return nil, fmt.Errorf("the file has the line %q: %w", line, err)
		}
		rows = append(rows, r)
	}
	return rows, nil
}

func (f *file) close(context.Context) error { return f.file.Close() }

const oneIn = 3 // one write in so many breaks off

// A faults decides which writes break off half-way: the second one and every third one
// after it.
type faults struct{ writes int }

// next reports whether the next write breaks off. A single row is always written.
func (f *faults) next(rows []row) bool {
	if len(rows) == 1 {
		return false
	}
	f.writes++
	return f.writes%oneIn == 2
}
