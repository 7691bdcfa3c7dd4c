// Command batch writes records to a file in batches. Writers hand over one record at
// a time and do not wait. A batch is written when it is full, when no record has come
// for a while, or when its first record has waited long enough. A third of the writes
// fail half-way, as on a full disk. They are repeated with backoff, and the records
// keep their order.
//
//	go run ./examples/batch
//
// fails if the file does not end up with every record exactly once, in order for each
// writer:
//
//	4 writers hand over 300 records each, one write in 3 fails
//
//	records           1200   all in the file once, in order per writer
//	writes              34   11 of them failed, 61 records in one at most
//	longest wait    68.5ms   of a record, until it was on disk
//
//	calls   ▇▆▆▇▆▆▆▆▅▆▅▆▆▇▆▅▆▅▅▅▆▇▆▆▅██▇█▅▆█▆▅▆▆▅▇█▅▆▅█▅▄▆▇▅▅▅▅▅▆▆▆▇▆▇▆█▅▆▆▆▇▅▇▅▄▃▂▃
//	runs      █  ✗█  █  █  ✗  █  █ ✗█  █ █  ✗█ █  █ ✗█ █   █  ✗  █  █  ✗  █ █  ✗█  █
//	        ┬──────────┬───────────┬──────────┬───────────┬───────────┬──────────┬──
//	        0ms        200ms       400ms      600ms       800ms       1000ms  1200ms
//	        a full block is 25 calls
//
// What to copy is in journal.go.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"time"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/internal/flags"
	"github.com/throttle-go/throttle/internal/timeline"
)

const writers = 4

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	flags.Exit("batch", err)
}

// run is the whole program.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	set := flag.NewFlagSet("batch", flag.ContinueOnError)
	records := set.Int("records", 300, "number of records that each writer hands over")
	err := flags.Parse(set, args, stdout, func() error {
		if *records < 1 {
			return fmt.Errorf("-records is %d, must be at least 1", *records)
		}
		return nil
	})
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "batch")
	if err != nil {
		return err
	}
	err = demonstrate(ctx, filepath.Join(dir, "records.txt"), *records, stdout)
	return errors.Join(err, os.RemoveAll(dir))
}

// demonstrate lets the writers work, and checks the file.
func demonstrate(ctx context.Context, file string, records int, stdout io.Writer) error {
	disk, err := newDisk(file)
	if err != nil {
		return err
	}
	seen := &recorder{begun: time.Now()}
	j, err := newJournal(disk, throttle.WithObserver(seen.run), throttle.WithErrorHandler(seen.failed))
	if err != nil {
		return errors.Join(err, disk.close())
	}
	_, err = fmt.Fprintf(stdout, "%d writers hand over %d records each, one write in %d fails\n\n", writers, records, oneIn)
	if err != nil {
		return errors.Join(err, j.close(ctx))
	}
	var all sync.WaitGroup
	results := make(chan error, writers)
	for id := range writers {
		all.Go(func() { results <- write(ctx, j, seen, id, records) })
	}
	all.Wait()
	close(results)
	for result := range results {
		err = errors.Join(err, result)
	}
	if err := errors.Join(err, j.close(ctx)); err != nil {
		return err
	}
	if err := verify(file, records); err != nil {
		return err
	}
	return seen.report(stdout, disk)
}

// write is one writer.
func write(ctx context.Context, j *journal, seen *recorder, id, records int) error {
	for number := range records {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		seen.call()
		if err := j.add(record{id, number, time.Now()}); err != nil {
			return err
		}
		time.Sleep(time.Duration(rand.IntN(8)) * time.Millisecond)
	}
	return nil
}

// verify reads the file and returns what is wrong with it.
func verify(file string, records int) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var next [writers]int // number of each writer's next record
	for line := range bytes.Lines(data) {
		var id, number int
		if _, err := fmt.Sscanf(string(line), lineFormat, &id, &number); err != nil || id < 0 || id >= writers {
			return fmt.Errorf("the file has the line %q", line)
		}
		if number != next[id] {
			return fmt.Errorf("record %d of writer %d is in the place of record %d", number, id, next[id])
		}
		next[id]++
	}
	for id, n := range next {
		if n != records {
			return fmt.Errorf("the file has %d records of writer %d, not %d", n, id, records)
		}
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
	lost error
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
	span := timeline.Span{Start: run.Started.Sub(r.begun), End: run.Ended.Sub(r.begun)}
	r.events.Runs = append(r.events.Runs, timeline.Run{Span: span, Failed: run.Err != nil})
}

// failed is an error handler. It keeps lost records; a run that will be repeated has
// lost nothing.
func (r *recorder) failed(err error) {
	var lost *throttle.LostError
	if errors.As(err, &lost) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.lost = errors.Join(r.lost, lost)
	}
}

// report prints what happened, and returns an error if records were lost. The journal
// must be closed.
func (r *recorder) report(stdout io.Writer, disk *disk) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, err := fmt.Fprintf(stdout, `records       %8d   all in the file once, in order per writer
writes        %8d   %d of them failed, %d records in one at most
longest wait  %8v   of a record, until it was on disk

%s`, disk.records, disk.writes, disk.failures, disk.largest, disk.longestWait.Round(10*time.Microsecond),
		timeline.Text(r.events, 80))
	return errors.Join(r.lost, err)
}
