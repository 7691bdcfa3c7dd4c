// Command mutants tells how well the tests of package throttle notice a fault. It
// completes what gremlins reports: that has no verdict on a mutant in the condition
// of a case, as Go's coverage has no block there.
//
//	gremlins unleash -o report.json # in the root of the module, see the Makefile
//	cd verify && go run ./mutants ../report.json
//
// It tests the mutants that gremlins calls not covered, and again those on which its
// time ran out. It compares all that the tests let live with explained.txt, and fails
// if one is not explained there, if something is explained that does not live, or if
// the efficacy, in which the explained ones count as alive, is below what is asked
// for.
//
// With -only it tests just the mutants that the regular expression matches, whatever
// gremlins says of them, and tells what kills each:
//
//	go run ./mutants -only '^LIVED|heap.go:52:|heapOf.Pop CONDITIONALS' ../report.json
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"slices"
	"syscall"
)

//go:embed explained.txt
var explanations string

func main() {
	root := flag.String("root", "..", "the directory of the package whose mutants these are")
	only := flag.String("only", "", "test only what this regular expression matches, in lines as they are printed")
	workers := flag.Int("workers", runtime.NumCPU(), "how many mutants to test at once")
	least := flag.Float64("efficacy", 95, "the least share of mutants, in percent, that tests have to kill")
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2) //nolint:forbidigo // a program's exit status
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, flag.Arg(0), *root, *only, *workers, *least)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1) //nolint:forbidigo // a program's exit status
	}
}

// run does what the flags say.
func run(ctx context.Context, report, root, only string, workers int, least float64) error {
	chosen, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	mutants, err := readReport(report, root)
	if err != nil {
		return err
	}
	tests, err := newTester(ctx, root)
	if err != nil {
		return err
	}
	if only != "" {
		return tests.testAll(ctx, mutants, workers, func(m *mutant) bool { return chosen.MatchString(m.String()) })
	}
	explained, err := parseExplained(explanations)
	if err != nil {
		return err
	}
	if err := tests.testAll(ctx, mutants, workers, undecided); err != nil {
		return err
	}
	return judge(os.Stdout, mutants, explained, least)
}

// undecided reports whether gremlins has no verdict on m. What it calls timed out may
// just have been slow on a busy machine, as it gives tests little time.
func undecided(m *mutant) bool { return m.status == notCovered || m.status == timedOut }

// judge prints the score, and returns what is wrong with it.
func judge(to io.Writer, mutants []*mutant, explained map[string]string, least float64) error {
	unexplained, idle := compare(mutants, explained)
	total := printScore(to, mutants, explained)
	var wrong []error
	for _, m := range unexplained {
		wrong = append(wrong, fmt.Errorf("unexplained: %v", m))
	}
	for _, key := range idle {
		wrong = append(wrong, fmt.Errorf("explained, but not alive: %s", key))
	}
	if got := total.efficacy(); got < least {
		wrong = append(wrong, fmt.Errorf("an efficacy of %.2f %%, below %g %%", got, least))
	}
	return errors.Join(wrong...)
}

// compare returns the mutants that live without an explanation, and the keys of
// explanations for which no mutant lives, sorted.
func compare(mutants []*mutant, explained map[string]string) (unexplained []*mutant, idle []string) {
	used := map[string]bool{}
	for _, m := range mutants {
		if m.status != lived {
			continue
		}
		used[m.key] = true
		if explained[m.key] == "" {
			unexplained = append(unexplained, m)
		}
	}
	for key := range explained {
		if !used[key] {
			idle = append(idle, key)
		}
	}
	slices.Sort(idle)
	return unexplained, idle
}
