//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/hibiken/asynq"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet"
)

// An event is what a process reports.
type event string

// The events.
const (
	isReady  event = "ready"  // the process can call and run
	hasRun   event = "run"    // a run of a key began
	hasEnded event = "end"    // the process ends; with its counts
	wasLast  event = "called" // the last call of a key, at the time when it began
)

// A report is what a process says of an event.
type report struct {
	Event            event
	Key              string
	At               time.Time
	Messages, Errors int64

	process int // which reports, for the parent
}

// debounce does the job of a process of a debounce: a burst after the first line of commands, and
// runs. It returns at the end of commands.
func (j job) debounce(c *redisClient, commands io.Reader, answers io.Writer) error {
	counted := &counter{Engine: c.engine()}
	var mu sync.Mutex // guards out
	out := json.NewEncoder(answers)
	say := func(r report) {
		mu.Lock()
		defer mu.Unlock()
		_ = out.Encode(r) // if that fails, the parent is gone, and this process ends soon
	}
	run := func(ctx context.Context, key string) error {
		say(report{Event: hasRun, Key: key, At: time.Now()})
		sleep(ctx, j.Busy)
		return nil
	}
	var call func(key string) error
	switch j.Kind {
	case enqueuer:
		client := asynq.NewClientFromRedisClient(c.client)
		call = func(key string) error {
			counted.claims.Add(1)
			return enqueue(client, key)
		}
	case aggregator:
		server, err := aggregate(c.client, run)
		if err != nil {
			return err
		}
		defer server.Shutdown()
	case claimer, throttler, debouncer:
		group, err := fleet.NewGroup(counted, throttle.Debounce(quiet, maxWait), run, fleet.WithErrorHandler(counted.note))
		if err != nil {
			return err
		}
		defer group.Close()
		call = group.Call
	}
	say(report{Event: isReady})
	var err error
	lines := bufio.NewScanner(commands)
	if lines.Scan() {
		err = j.burst(call, say)
		lines.Scan()
	}
	say(report{Event: hasEnded, Messages: counted.claims.Load(), Errors: counted.errors.Load()})
	return errors.Join(err, lines.Err())
}

// burst calls each key as often as the job says, in turn with the other processes.
func (j job) burst(call func(key string) error, say func(report)) error {
	var failed failure
	var all sync.WaitGroup
	start := time.Now().Add(j.Pace * time.Duration(j.Number) / time.Duration(j.Processes))
	for i := range j.Keys {
		all.Go(func() {
			last := report{Event: wasLast, Key: keyName(i)}
			for n := range j.Calls {
				time.Sleep(time.Until(start.Add(j.Stagger*time.Duration(i) + j.Pace*time.Duration(n))))
				last.At = time.Now()
				failed.note(call(last.Key))
			}
			say(last)
		})
	}
	all.Wait()
	return failed.error()
}
