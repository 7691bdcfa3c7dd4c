//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// asWorker names the environment variable that holds a process's job.
const asWorker = "FLEET_BENCH_JOB"

// A job is the work of a process, in steps.
type job struct {
	Kind       jobKind
	URL        string        // of the store
	Number     int           // of the process, from 0
	Processes  int           // number of processes
	Goroutines int           // of each process
	Keys       int           // in all
	Duration   time.Duration // of the last step
	Interval   time.Duration // of throttlers
	Busy       time.Duration // of a run
	Calls      int           // of each key, in a burst
	Pace       time.Duration // between two calls of a key
	Stagger    time.Duration // between the first calls of two keys
}

type jobKind string

// The kinds.
const (
	claimer   jobKind = "claimer"   // see claimerSteps
	throttler jobKind = "throttler" // see throttlerSteps

	// See debounce.
	debouncer  jobKind = "debouncer"
	enqueuer   jobKind = "enqueuer"   // of asynq
	aggregator jobKind = "aggregator" // of asynq
)

// A step is a part of a job. It begins when all processes have ended the previous one.
type step func(ctx context.Context) (totals, error)

// perform does a job: one step for each line of commands, answered by a line each. It
// returns at the end of commands. A process that debounces reports events instead.
func perform(ctx context.Context, text string, commands io.Reader, answers io.Writer) error {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return err
	}
	c, err := open(ctx, j.URL, j.Goroutines)
	if err != nil {
		return err
	}
	defer c.close()
	var steps []step
	switch j.Kind {
	case claimer:
		steps = j.claimerSteps(c)
	case throttler:
		steps = j.throttlerSteps(c)
	case debouncer, enqueuer, aggregator:
		r, ok := c.(*redisClient)
		if !ok {
			return fmt.Errorf("a %s needs Redis", j.Kind)
		}
		return j.debounce(r, commands, answers)
	}
	lines := bufio.NewScanner(commands)
	for _, do := range steps {
		if !lines.Scan() {
			return lines.Err()
		}
		t, err := do(ctx)
		if err != nil {
			return err
		}
		if err := json.NewEncoder(answers).Encode(t); err != nil {
			return err
		}
	}
	lines.Scan() // keep the connections open until the end: the parent measures them
	return lines.Err()
}

// workers are processes that do the same job.
type workers struct {
	processes []*process
}

type process struct {
	command  *exec.Cmd
	commands io.WriteCloser
	answers  *json.Decoder
}

// startWorkers starts processes that do j on s. The caller must call end.
func (s *store) startWorkers(ctx context.Context, j job) (*workers, error) {
	j.URL = s.address()
	c := &workers{}
	for j.Number = range j.Processes {
		p, err := startProcess(ctx, j)
		if err != nil {
			return nil, errors.Join(err, c.end())
		}
		c.processes = append(c.processes, p)
	}
	return c, nil
}

func startProcess(ctx context.Context, j job) (*process, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	p := &process{command: exec.CommandContext(ctx, program)}
	p.command.Env = append(os.Environ(), asWorker+"="+string(text))
	p.command.Stderr = os.Stderr
	if p.commands, err = p.command.StdinPipe(); err != nil {
		return nil, err
	}
	answers, err := p.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.answers = json.NewDecoder(answers)
	return p, p.command.Start()
}

// step lets all processes do their next step, and returns the sum of their counts.
func (c *workers) step() (sum totals, err error) {
	for _, p := range c.processes {
		if _, err := fmt.Fprintln(p.commands); err != nil {
			return sum, err
		}
	}
	for _, p := range c.processes {
		var t totals
		if err := p.answers.Decode(&t); err != nil {
			return sum, fmt.Errorf("a process has failed: %w", err)
		}
		sum = sum.plus(1, t)
	}
	return sum, nil
}

// end ends the processes.
func (c *workers) end() error {
	var errs []error
	for _, p := range c.processes {
		errs = append(errs, p.commands.Close())
	}
	for _, p := range c.processes {
		errs = append(errs, p.command.Wait())
	}
	return errors.Join(errs...)
}
