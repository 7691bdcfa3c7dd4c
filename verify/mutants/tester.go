package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"time"
)

// This file holds the test of a mutant.

// A tester tests mutants.
type tester struct {
	root    string        // the absolute directory of the package
	timeout time.Duration // of the tests with a mutant
}

// newTester returns the tester for the package in root, whose tests must pass. With a
// mutant they may take five times as long as without: more is a hang, even if all
// workers are at it.
func newTester(ctx context.Context, root string) (*tester, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	t := &tester{root: root, timeout: 10 * time.Minute}
	begin := time.Now()
	if output, err := t.goTest(ctx); err != nil {
		return nil, fmt.Errorf("without a mutant: %w\n%s", err, output)
	}
	t.timeout = 5 * time.Since(begin)
	return t, nil
}

// failure is what a test, the runtime, or the look for goroutines that are left says
// of a fault.
var failure = regexp.MustCompile(`--- FAIL: \S+|panic: .*|fatal error: .*|goleak: .*`)

// testAll gives the chosen mutants the status that tests find, and prints it. Once ctx
// has ended it returns an error, and nothing that it has started runs.
func (t *tester) testAll(ctx context.Context, mutants []*mutant, workers int, chosen func(*mutant) bool) error {
	work, failed := make(chan *mutant), make(chan error, len(mutants))
	var done sync.WaitGroup
	for range workers {
		done.Go(func() {
			for m := range work {
				by, err := t.test(ctx, m)
				if err != nil {
					failed <- err
					continue
				}
				fmt.Fprintln(os.Stdout, m, by)
			}
		})
	}
	for _, m := range mutants {
		if ctx.Err() == nil && chosen(m) {
			work <- m
		}
	}
	close(work)
	done.Wait()
	close(failed)
	if err := <-failed; err != nil {
		return err
	}
	return ctx.Err()
}

// test sets the status of m, and returns what has killed it.
func (t *tester) test(ctx context.Context, m *mutant) (by string, err error) {
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	overlay, err := t.overlay(m, dir)
	if err != nil {
		return "", err
	}
	output, err := t.goTest(ctx, "-overlay", overlay)
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if m.status, err = verdict(output, err); err != nil || m.status != killed {
		return "", err
	}
	return "by " + string(failure.Find(output)), nil
}

// verdict returns what the end of go test means. An end that no test, and no mutant,
// has brought about, as that of a machine without memory, is an error.
func verdict(output []byte, err error) (status, error) {
	switch {
	case err == nil:
		return lived, nil
	case errors.Is(err, context.DeadlineExceeded):
		return timedOut, nil
	case bytes.Contains(output, []byte("[build failed]")):
		return notViable, nil
	case failure.Match(output):
		return killed, nil
	default:
		return "", fmt.Errorf("go test: %w\n%s", err, output)
	}
}

// overlay writes the changed source, and the file that makes go test take it in
// place of the original, to dir.
func (t *tester) overlay(m *mutant, dir string) (string, error) {
	changed, overlay := filepath.Join(dir, m.file), filepath.Join(dir, "overlay.json")
	replace, err := json.Marshal(map[string]any{
		"Replace": map[string]string{filepath.Join(t.root, m.file): changed},
	})
	if err != nil {
		return "", err
	}
	return overlay, errors.Join(os.WriteFile(changed, m.changed, 0o600), os.WriteFile(overlay, replace, 0o600))
}

// goTest runs the package's tests, and returns what they print. Its error is
// context.DeadlineExceeded if they take too long; then, or if ctx ends, they are killed
// with all that they have started.
func (t *tester) goTest(ctx context.Context, flags ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	// Vet would fail on some mutants by their look alone.
	args := append([]string{"test", "-short", "-failfast", "-count=1", "-vet=off", "-timeout=0"}, flags...)
	test := exec.CommandContext(ctx, "go", append(args, ".")...) //nolint:gosec // the flags are ours
	test.Dir = t.root
	killWithChildren(test)
	output, err := test.CombinedOutput()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return output, err
}
