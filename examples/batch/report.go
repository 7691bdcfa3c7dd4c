package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/internal/timeline"
)

// A totals says where the rows were found.
type totals struct {
	stored  int
	letters []deadLetter
}

// verify counts the rows. It returns an error unless each row that was handed over is in
// the store once, in order for each writer, or is one dead letter. handed is the number of
// rows of each writer.
func verify(ctx context.Context, s store, deadFile string, handed [writers]int) (totals, error) {
	stored, err := s.rows(ctx)
	if err != nil {
		return totals{}, err
	}
	letters, err := readDeadLetters(deadFile)
	if err != nil {
		return totals{}, err
	}
	return totals{len(stored), letters}, count(stored, letters, handed)
}

func count(stored []row, letters []deadLetter, handed [writers]int) error {
	var next [writers]int // the least number that the next stored row of each writer may have
	times := make(map[row]int)
	for _, r := range stored {
		times[r]++
		if r.Writer < 0 || r.Writer >= writers || r.Number < next[r.Writer] {
			return fmt.Errorf("%v is stored in the wrong place", r)
		}
		next[r.Writer] = r.Number + 1
	}
	for _, letter := range letters {
		times[letter.row]++
	}
	all := 0
	for writer, n := range handed {
		for number := range n {
			if r := newRow(writer, number); times[r] != 1 {
				return fmt.Errorf("%v was found %d times", r, times[r])
			}
		}
		all += n
	}
	if len(times) != all {
		return fmt.Errorf("%d rows were handed over, but %d were found", all, len(times))
	}
	return nil
}

// A recorder watches a journal.
type recorder struct {
	begun time.Time

	mu sync.Mutex // guards the fields below

	// +checklocks:mu
	events timeline.Events
	// +checklocks:mu
	runs, failed int
	// +checklocks:mu
	largest uint64 // batch
}

// call is called before each call.
func (r *recorder) call() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events.Calls = append(r.events.Calls, time.Since(r.begun))
}

// run is an observer.
func (r *recorder) run(run throttle.Run) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.runs++
	if run.Err != nil {
		r.failed++
	}
	r.largest = max(r.largest, run.Calls)
	span := timeline.Span{Start: run.Started.Sub(r.begun), End: run.Ended.Sub(r.begun)}
	r.events.Runs = append(r.events.Runs, timeline.Run{Span: span, Failed: run.Err != nil})
}

// report prints what happened. The journal must be closed.
func (r *recorder) report(stdout io.Writer, j *journal, f totals) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	poisoned := 0
	for _, letter := range f.letters {
		if letter.Number%poisonedIn == poisonedIn/2 {
			poisoned++
		}
	}
	_, err := fmt.Fprintf(stdout, `rows          %8d   none is missing, and none is there twice
stored        %8d   in order for each writer
dead letters  %8d   %d of them poisoned
batches       %8d   runs, %d of them failed, %d rows in one at most
longest wait  %8v   of a row, until it was stored

%s`, f.stored+len(f.letters), f.stored, len(f.letters), poisoned, r.runs, r.failed, r.largest,
		j.longestWait.Round(10*time.Microsecond), timeline.Text(r.events, 80))
	return err
}
