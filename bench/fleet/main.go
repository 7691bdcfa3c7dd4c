//go:build linux

// Command fleet measures the cost of a throttle that a fleet shares, on Redis and PostgreSQL
// servers that it starts itself, in about three minutes:
//
//	cd bench && go run ./fleet
//	go run ./fleet -store redis -duration 5s
//	go run ./fleet -debounce
//
// It prints, for each store:
//
//   - a claim beside a bare operation that reads and writes as much, in turns: the cost of
//     the throttle beyond the store's round trip and disk,
//   - the number of messages that throttlers send,
//   - the claims per second that the store answers to several processes, the CPU time of
//     one, and the size of a key,
//   - the messages of a fleet of processes whose keys are called all the time,
//   - the messages of thousands of keys in one process, called at the same time, and how long
//     they take,
//   - and, computed from the others, the demand of a larger fleet on the store.
//
// With -debounce it measures only policies with Quiet, on a Redis server, in about five minutes:
// the messages of a burst of calls, how long after the last call the run comes, and what becomes
// of the calls if a process is killed. Beside it are the aggregation of github.com/hibiken/asynq
// and, if node and npm are installed, the deduplication of BullMQ.
//
// The fleet and the server share one machine. The claims per second hold for this
// arrangement only; plan with the store's CPU time per claim.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/throttle-go/throttle/internal/flags"
	"github.com/throttle-go/throttle/internal/testkit/servers"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	var err error
	if job := os.Getenv(asWorker); job != "" {
		err = perform(ctx, job, os.Stdin, os.Stdout)
	} else {
		err = run(ctx, os.Args[1:], os.Stdout)
	}
	stop()
	flags.Exit("fleet", err)
}

// An effort says how thoroughly to measure.
type effort struct {
	duration   time.Duration // approximate time of a measurement
	processes  int
	goroutines int           // of each process that claims as fast as it can
	keys       int           // to claim
	calls      int           // to coalesce
	listeners  int           // to the ends of runs
	interval   time.Duration // of throttlers
	hot        int           // percentage of a store's hot keys to use
}

func fullEffort(duration time.Duration) effort {
	return effort{
		duration:   duration,
		processes:  8,
		goroutines: 4,
		keys:       10_000,
		calls:      100_000,
		listeners:  100,
		interval:   time.Second,
		hot:        100,
	}
}

// run is the whole program.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	set := flag.NewFlagSet("fleet", flag.ContinueOnError)
	duration := set.Duration("duration", 2*time.Second, "approximate `time` of a measurement, at most 20s")
	only := set.String("store", "both", "redis, postgres, or `both`")
	debounce := set.Bool("debounce", false,
		"measure only policies with Quiet, beside asynq and BullMQ, and kill processes; on redis, without other flags, about five minutes")
	var chosen []kind
	err := flags.Parse(set, args, stdout, func() error {
		if *duration <= 0 || *duration > 20*time.Second { // in this time no key is granted twice
			return fmt.Errorf("-duration is %v, must be more than 0 and at most 20s", *duration)
		}
		if *debounce && set.NFlag() > 1 {
			return errors.New("-debounce goes without other flags")
		}
		for _, k := range kinds() {
			if *only == k.flag || *only == "both" {
				chosen = append(chosen, k)
			}
		}
		if len(chosen) == 0 {
			return fmt.Errorf("-store is %q, not redis, postgres or both", *only)
		}
		return nil
	})
	if err != nil {
		return err
	}
	command := strings.Join(append([]string{"go run ./fleet"}, args...), " ")
	if *debounce {
		return measureDebounce(ctx, command, stdout)
	}
	return fullEffort(*duration).measure(ctx, chosen, command, stdout)
}

// A finding holds the figures of one store.
type finding struct {
	store   string
	claims  []comparison
	counted messages
	load    load
	runs    runCost
	fleet   hotFleet
	crowds  []crowdCost
}

// measure measures all kinds that are installed, and prints the findings.
func (e effort) measure(ctx context.Context, kinds []kind, command string, stdout io.Writer) error {
	printHeader(stdout, command)
	var found []finding
	for _, k := range kinds {
		f, err := e.measureKind(ctx, k, stdout)
		switch {
		case errors.Is(err, servers.ErrNotInstalled):
			fmt.Fprintf(stdout, "%s is left out: %v\n", k.name, err)
		case err != nil:
			return fmt.Errorf("%s: %w", k.name, err)
		default:
			found = append(found, f)
		}
	}
	if len(found) == 0 {
		return servers.ErrNotInstalled
	}
	printFindings(stdout, found, e)
	return nil
}

// measureKind measures one kind, on a server of its own.
func (e effort) measureKind(ctx context.Context, k kind, stdout io.Writer) (f finding, err error) {
	s, err := k.start(ctx)
	if err != nil {
		return f, err
	}
	defer s.remove()
	begun := time.Now()
	version, err := s.version(ctx)
	if err != nil {
		return f, err
	}
	f.store = k.name
	for _, part := range []func() error{
		func() (err error) { f.claims, err = compareClaims(ctx, s, e); return err },
		func() (err error) { f.load, err = measureLoad(ctx, s, e); return err },
		func() (err error) { f.runs, err = measureRuns(ctx, s, e); return err },
		func() (err error) { f.counted, err = countMessages(ctx, s, e); return err },
		func() (err error) { f.fleet, err = measureFleet(ctx, s, e); return err },
		func() (err error) { f.crowds, err = measureCrowds(ctx, s, e); return err },
	} {
		if err := part(); err != nil {
			return f, err
		}
	}
	fmt.Fprintf(stdout, "%s: %s, measured in %v\n", k.name, version, time.Since(begun).Round(time.Second))
	return f, nil
}

func (s *store) version(ctx context.Context) (string, error) {
	c, err := s.client(ctx, 1)
	if err != nil {
		return "", err
	}
	defer c.close()
	return c.version(ctx)
}
