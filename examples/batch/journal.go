package main

import (
	"context"
	"errors"
	"time"

	"github.com/throttle-go/throttle"
)

// A row is what a writer hands over.
type row struct {
	Writer, Number int
	Text           string

	made time.Time
}

// A store keeps rows.
type store interface {
	// insert stores all rows or none. Its error wraps errRefused if a row is wrong.
	insert(ctx context.Context, rows []row) error

	// rows returns what is stored, in the order of the inserts.
	rows(ctx context.Context) ([]row, error)

	close(ctx context.Context) error
}

// errRefused says that a row is wrong, so that it makes no sense to insert it again.
var errRefused = errors.New("refused")

// A journal collects rows, and stores them in batches.
type journal struct {
	store   store
	dead    *deadLetters
	batches *throttle.Coalescer[row, []row]

	longestWait time.Duration // of a row until it was stored; runs, which never overlap, write it
}

func newJournal(s store, dead *deadLetters, opts ...throttle.Option) (*journal, error) {
	j := &journal{store: s, dead: dead}
	policy := throttle.Policy{
		Quiet:    30 * time.Millisecond, // a batch waits this long for another row,
		MaxWait:  60 * time.Millisecond, // and at most this long in all,
		MaxCalls: 50,                    // and not at all once it is full
		Retry: throttle.Backoff{
			Initial: 5 * time.Millisecond, Max: 50 * time.Millisecond, Jitter: 0.2,
			MaxAttempts: 4, // then the batch is lost, and lets those behind it pass
		},
	}
	opts = append([]throttle.Option{
		throttle.WithMaxPending(200), // then add waits
		throttle.WithErrorHandler(j.failed),
	}, opts...)
	var err error
	j.batches, err = throttle.NewCoalescer(policy, throttle.Batch[row](), j.write, opts...)
	return j, err
}

// add hands r over. It waits only while too many rows wait.
func (j *journal) add(ctx context.Context, r row) error { return j.batches.Send(ctx, r) }

// write stores one batch. If the store refuses it, write inserts its rows one by one, and
// only the wrong ones are left.
func (j *journal) write(ctx context.Context, batch []row) error {
	err := j.insert(ctx, batch)
	if !errors.Is(err, errRefused) {
		return err
	}
	var rest []row
	for i, r := range batch {
		switch failed := j.insert(ctx, batch[i:i+1]); {
		case failed == nil:
		case errors.Is(failed, errRefused):
			rest, err = append(rest, r), failed
		default: // stop here, so that later rows do not overtake this one
			return throttle.Unfinished(append(rest, batch[i:]...), failed)
		}
	}
	return throttle.Unfinished(rest, err)
}

func (j *journal) insert(ctx context.Context, rows []row) error {
	if err := j.store.insert(ctx, rows); err != nil {
		return err
	}
	for _, r := range rows {
		j.longestWait = max(j.longestWait, time.Since(r.made))
	}
	return nil
}

// failed is the error handler. It gets the errors that nobody waits for. A run that is
// repeated has lost nothing.
func (j *journal) failed(err error) {
	for _, lost := range lostIn(err) {
		j.dead.add(lost)
	}
}

// close stores what is left. What it cannot store before ctx ends becomes dead letters.
func (j *journal) close(ctx context.Context) error {
	// Shutdown tries each batch once. Until ctx ends, Flush tries more often.
	for ctx.Err() == nil {
		err := j.batches.Flush(ctx)
		if err == nil {
			break
		}
		j.failed(err) // Flush gets what is lost while it waits, and the handler does not
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	err := j.batches.Shutdown(ctx)

	// If ctx has ended, a run may still be active, and may yet store its batch: Shutdown
	// reports it with ErrUndecided. A second Shutdown waits for that run. If the run fails,
	// the handler gets the batch.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	undecided := j.batches.Shutdown(ctx)
	for _, lost := range lostIn(err) {
		if undecided != nil || !errors.Is(lost, throttle.ErrUndecided) {
			j.dead.add(lost)
		}
	}
	return undecided
}

// lostIn returns each LostError in err. errors.As would find only the first of them.
func lostIn(err error) []*throttle.LostError {
	switch e := err.(type) { //nolint:errorlint // it walks the tree itself
	case *throttle.LostError:
		return []*throttle.LostError{e}
	case interface{ Unwrap() []error }:
		var all []*throttle.LostError
		for _, inner := range e.Unwrap() {
			all = append(all, lostIn(inner)...)
		}
		return all
	default:
		return nil
	}
}
