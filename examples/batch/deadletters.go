package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"sync"

	"github.com/throttle-go/throttle"
)

// A deadLetters is a file of the rows that were not stored, one JSON object per line.
type deadLetters struct {
	mu sync.Mutex // guards the fields below: the handler may run while close does

	// +checklocks:mu
	file *os.File
	// +checklocks:mu
	err error // of all adds
}

// A deadLetter is a row and why it was not stored.
type deadLetter struct {
	row

	Reason string
}

func newDeadLetters(name string) (*deadLetters, error) {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return &deadLetters{file: file}, err
}

// add appends the rows of a lost batch. They are on disk when it returns.
func (d *deadLetters) add(lost *throttle.LostError) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = errors.Join(d.err, d.addLocked(lost))
}

// +checklocks:d.mu
func (d *deadLetters) addLocked(lost *throttle.LostError) error {
	var lines bytes.Buffer
	encoder := json.NewEncoder(&lines)
	for _, r := range lost.Value.([]row) { //nolint:errcheck,forcetypeassert // the journal's batches are of this type
		if err := encoder.Encode(deadLetter{r, lost.Err.Error()}); err != nil {
			return err
		}
	}
	if _, err := d.file.Write(lines.Bytes()); err != nil {
		return err
	}
	return d.file.Sync()
}

// close closes the file, and returns what went wrong with it.
func (d *deadLetters) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return errors.Join(d.err, d.file.Close())
}

// readDeadLetters returns the content of a file of dead letters.
func readDeadLetters(name string) (letters []deadLetter, err error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	for decoder := json.NewDecoder(bytes.NewReader(data)); ; {
		var letter deadLetter
		if err := decoder.Decode(&letter); errors.Is(err, io.EOF) {
			return letters, nil
		} else if err != nil {
			return nil, err
		}
		letters = append(letters, letter)
	}
}
