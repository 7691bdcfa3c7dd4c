// Command progress shows the progress of some workers. They report every item they
// finish, thousands a second. The line on the terminal is drawn at most once in
// 100 ms, and the last state is always shown.
//
//	go run ./examples/progress
//
// fails if the last line does not show the last state, or if two drawings were too
// close. Its line:
//
//	[##############################----------]  76%  4571 of 6000 items, 341.9 MB
//
// Copy the type progress.
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
	"strings"
	"sync"
	"time"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/internal/flags"
	"github.com/throttle-go/throttle/internal/timeline"
)

const (
	workers  = 8
	interval = 100 * time.Millisecond // between two drawings
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	flags.Exit("progress", err)
}

// A state is what a drawing shows.
type state struct {
	items, total int
	bytes        int64
}

func (s state) String() string {
	const columns = 40
	filled := columns * s.items / s.total
	bar := strings.Repeat("#", filled) + strings.Repeat("-", columns-filled)
	return fmt.Sprintf("[%s] %3d%%  %d of %d items, %.1f MB",
		bar, 100*s.items/s.total, s.items, s.total, float64(s.bytes)/1e6)
}

// A progress shows the state of the work.
type progress struct {
	drawings *throttle.Coalescer[state, state]

	mu sync.Mutex // guards the fields below

	// +checklocks:mu
	current state
	// +checklocks:mu
	reports []time.Time // when each was made
}

// newProgress returns a progress that calls draw to show itself.
func newProgress(total int, draw func(state) error, opts ...throttle.Option) (*progress, error) {
	drawings, err := throttle.NewCoalescer(throttle.Every(interval), throttle.Latest[state](),
		func(_ context.Context, s state) error { return draw(s) }, opts...)
	return &progress{drawings: drawings, current: state{total: total}}, err
}

// report reports a finished item.
func (p *progress) report(bytes int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.current.items++
	p.current.bytes += bytes
	p.reports = append(p.reports, time.Now())
	// Keep mu locked: otherwise another worker could hand over its later state
	// first, and Latest would keep the older one. Call does not wait for a run.
	return p.drawings.Call(p.current)
}

// state returns the current state, and when each report was made.
func (p *progress) state() (current state, reports []time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current, p.reports
}

// run is the whole program.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	set := flag.NewFlagSet("progress", flag.ContinueOnError)
	items := set.Int("items", 1000, "number of items of each worker")
	err := flags.Parse(set, args, stdout, func() error {
		if *items < 1 {
			return fmt.Errorf("-items is %d, must be at least 1", *items)
		}
		return nil
	})
	if err != nil {
		return err
	}

	// Runs, which never overlap, write these; they are read after Shutdown.
	var shown state
	var runs []throttle.Run
	draw := func(s state) error {
		shown = s
		_, err := fmt.Fprintf(stdout, "\r%v", s)
		return err
	}
	p, err := newProgress(workers**items, draw,
		throttle.WithObserver(func(r throttle.Run) { runs = append(runs, r) }),
		throttle.WithErrorHandler(func(error) {})) // all errors are in runs
	if err != nil {
		return err
	}
	err = p.work(ctx, *items)
	// The last state is drawn now, however close to the one before.
	err = errors.Join(err, p.drawings.Shutdown(context.WithoutCancel(ctx)))
	if err != nil {
		return err
	}
	last, reports := p.state()
	if shown != last {
		return fmt.Errorf("the last line shows %v instead of %v", shown, last)
	}
	least, err := check(runs)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "\n\n%d reports, %d drawings, at least %v from one to the next\n\n%s",
		len(reports), len(runs), least.Round(10*time.Microsecond), timeline.Text(events(reports, runs), 80))
	return err
}

// work lets the workers work.
func (p *progress) work(ctx context.Context, items int) error {
	var all sync.WaitGroup
	results := make(chan error, workers)
	for range workers {
		all.Go(func() { results <- p.workOne(ctx, items) })
	}
	all.Wait()
	close(results)
	var err error
	for result := range results {
		err = errors.Join(err, result)
	}
	return err
}

func (p *progress) workOne(ctx context.Context, items int) error {
	for range items {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		time.Sleep(rand.N(2 * time.Millisecond))
		if err := p.report(rand.Int64N(150_000)); err != nil {
			return err
		}
	}
	return nil
}

// check returns the least time between the starts of two drawings, except for the one
// that Shutdown made. It returns an error if that is too little, or if a drawing failed.
func check(runs []throttle.Run) (least time.Duration, err error) {
	for i, next := range runs {
		if next.Err != nil {
			return 0, next.Err
		}
		if i == 0 || next.Cause == throttle.CauseFlush {
			continue
		}
		distance := next.Started.Sub(runs[i-1].Started)
		if distance < interval {
			return 0, fmt.Errorf("two drawings started %v apart, less than %v", distance, interval)
		}
		if least == 0 || distance < least {
			least = distance
		}
	}
	return least, nil
}

// events returns the events for the timeline.
func events(reports []time.Time, runs []throttle.Run) (e timeline.Events) {
	for _, at := range reports {
		e.Calls = append(e.Calls, at.Sub(reports[0]))
	}
	for _, r := range runs {
		start, end := r.Started.Sub(reports[0]), r.Ended.Sub(reports[0])
		e.Runs = append(e.Runs, timeline.Run{Span: timeline.Span{Start: start, End: end}})
		e.Windows = append(e.Windows, timeline.Span{Start: start, End: start + interval})
		e.End = end
	}
	return e
}
