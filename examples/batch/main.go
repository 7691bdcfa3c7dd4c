// Command batch stores rows in batches, on a file or on PostgreSQL, and proves that none is
// missing. Writers hand over one row at a time, and wait only while too many rows wait. A
// batch is stored when it is full, when no row has come for a while, or when its first row
// has waited long enough.
//
//	cd examples/batch && go run .                                # on a file
//	go run . -postgres postgres://user@localhost/database        # on PostgreSQL
//
// A third of the writes break off half-way, as on a full disk or a broken connection. They
// are repeated with backoff, and the rows keep their order. A few rows are poisoned: the
// store refuses each batch that has one. The other rows of such a batch are stored; after
// four attempts the poisoned ones end in a file of dead letters. At the end the program
// counts. It fails unless each row is either stored once, in order for each writer, or is
// one dead letter:
//
//	4 writers store 300 rows each on a file, one write in 3 breaks off
//
//	rows              1200   none is missing, and none is there twice
//	stored            1188   in order for each writer
//	dead letters        12   12 of them poisoned
//	batches             52   runs, 33 of them failed, 50 rows in one at most
//	longest wait  637.43ms   of a row, until it was stored
//
//	calls   █▇▅█▇█▇▇█▇▆▅ ▁▁▁▁ ▁▁▆▆▇▆▆█▄▅▅▁▃▅▆▅            ▁ ▄▇▅▇▇▇▅▅█▇▁▄▂▁
//	runs     █✗██✗▒✗✗✗▒▒ ✗✗ ✗ ✗█✗ █✗▒▒▒▒▒✗✗ ✗▒▒▒▒▒▒▒ ✗✗  ✗✗ ✗✗█✗█✗▒▒▒✗✗ ✗▒▒▒▒▒▒✗ ✗ ✗
//	        ┬─────────────────┬─────────────────┬─────────────────┬─────────────────
//	        0ms               500ms             1000ms            1500ms
//	        a full block is 45 calls
//
// With -patience 0 the shutdown stores nothing any more: all rows that wait at the end
// become dead letters, and still none is missing.
//
// What to copy is in journal.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/internal/flags"
)

const (
	writers    = 4
	poisonedIn = 100 // one row of a writer in so many is poisoned
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	flags.Exit("batch", err)
}

// A config holds the flags.
type config struct {
	rows     int
	patience time.Duration
	postgres string
}

// run is the whole program.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	var c config
	set := flag.NewFlagSet("batch", flag.ContinueOnError)
	set.IntVar(&c.rows, "rows", 300, "number of rows that each writer hands over")
	set.DurationVar(&c.patience, "patience", 10*time.Second, "how long the shutdown may take")
	set.StringVar(&c.postgres, "postgres", "", "`URL` of a PostgreSQL database (default: store in a file)")
	if err := flags.Parse(set, args, stdout, c.check); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "batch")
	if err != nil {
		return err
	}
	return errors.Join(c.run(ctx, dir, stdout), os.RemoveAll(dir))
}

// check returns what is wrong with the values of the flags.
func (c *config) check() error {
	if c.rows < 1 {
		return fmt.Errorf("-rows is %d, must be at least 1", c.rows)
	}
	if c.patience < 0 {
		return fmt.Errorf("-patience is %v, must not be negative", c.patience)
	}
	if c.postgres == "" {
		return nil
	}
	_, err := pgxpool.ParseConfig(c.postgres)
	return err
}

// run opens the store, with its files in dir, and demonstrates the journal.
func (c *config) run(ctx context.Context, dir string, stdout io.Writer) error {
	var s store
	var err error
	name := "a file"
	if c.postgres == "" {
		s, err = newFile(filepath.Join(dir, "rows.txt"))
	} else {
		name = "PostgreSQL"
		s, err = newTable(ctx, c.postgres)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%d writers store %d rows each on %s, one write in %d breaks off\n\n",
		writers, c.rows, name, oneIn)
	if err == nil {
		err = c.demonstrate(ctx, s, filepath.Join(dir, "dead.json"), stdout)
	}
	return errors.Join(err, s.close(context.WithoutCancel(ctx)))
}

// demonstrate lets the writers work, closes the journal, and counts the rows.
func (c *config) demonstrate(ctx context.Context, s store, deadFile string, stdout io.Writer) error {
	dead, err := newDeadLetters(deadFile)
	if err != nil {
		return err
	}
	seen := &recorder{begun: time.Now()}
	j, err := newJournal(s, dead, throttle.WithObserver(seen.run))
	if err != nil {
		return errors.Join(err, dead.close())
	}
	var handed [writers]int // number of rows of each writer
	var group errgroup.Group
	for writer := range writers {
		group.Go(func() error { return write(ctx, j, seen, writer, c.rows, &handed[writer]) })
	}
	err = group.Wait()

	// An interrupt ends the writers. What they have handed over counts all the same.
	ctx = context.WithoutCancel(ctx)
	closing, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	err = errors.Join(err, j.close(closing), dead.close())
	found, wrong := verify(ctx, s, deadFile, handed)
	if err := errors.Join(err, wrong); err != nil {
		return err
	}
	return seen.report(stdout, j, found)
}

// write is one writer. It sets handed to the number of rows that it has handed over.
func write(ctx context.Context, j *journal, seen *recorder, writer, rows int, handed *int) error {
	for number := range rows {
		r := newRow(writer, number)
		r.made = time.Now()
		seen.call()
		if err := j.add(ctx, r); err != nil {
			return err
		}
		*handed = number + 1
		time.Sleep(rand.N(4 * time.Millisecond))
	}
	return nil
}

// newRow returns a row without the time when it was made.
func newRow(writer, number int) row {
	r := row{Writer: writer, Number: number, Text: fmt.Sprintf("text%d", number)}
	if number%poisonedIn == poisonedIn/2 {
		r.Text += "\x00" // neither a line nor a PostgreSQL text may have such a character
	}
	return r
}
