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

// This file has several processes of this program do the same at the same time.

// asWorker names the environment variable that holds a process's job.
const asWorker = "FLEET_BENCH_JOB"

// A job is what a process does, in steps.
type job struct {
	Kind       jobKind
	URL        string        // of the store
	Number     int           // of the process, from 0
	Processes  int           // how many there are
	Goroutines int           // of each
	Keys       int           // in all
	Duration   time.Duration // of the last step
	Interval   time.Duration // of throttlers
	Busy       time.Duration // what a run of theirs takes
}

type jobKind string

// The kinds.
const (
	claimer   jobKind = "claimer"   // see claimerSteps
	throttler jobKind = "throttler" // see throttlerSteps
)

// A step is a part of a job. Each begins when all processes have ended the one before.
type step func(ctx context.Context) (tally, error)

// perform does a job, a step for each line of commands, with a line of answers each. It ends
// with commands.
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
	lines.Scan() // what this process has open is looked at
	return lines.Err()
}

// A crew is processes that do the same job.
type crew struct {
	processes []*process
}

type process struct {
	command  *exec.Cmd
	commands io.WriteCloser
	answers  *json.Decoder
}

// crew starts processes that do j on s, for end to be called on.
func (s *store) crew(ctx context.Context, j job) (*crew, error) {
	j.URL = s.address()
	c := &crew{}
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

// step has all processes do their next step, and returns what they have counted in it.
func (c *crew) step() (sum tally, err error) {
	for _, p := range c.processes {
		if _, err := fmt.Fprintln(p.commands); err != nil {
			return sum, err
		}
	}
	for _, p := range c.processes {
		var t tally
		if err := p.answers.Decode(&t); err != nil {
			return sum, fmt.Errorf("a process has failed: %w", err)
		}
		sum = sum.plus(1, t)
	}
	return sum, nil
}

// end ends the processes.
func (c *crew) end() error {
	var errs []error
	for _, p := range c.processes {
		errs = append(errs, p.commands.Close())
	}
	for _, p := range c.processes {
		errs = append(errs, p.command.Wait())
	}
	return errors.Join(errs...)
}
