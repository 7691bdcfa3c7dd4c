// Command bench compares package throttle with its alternatives: other
// libraries, two techniques of large systems, and the bare operations that set
// the limit. It is a module of its own, so that the library does not require the
// peers.
//
//	go run .                                  # prints the table: about five minutes
//	go run . -run '^call/one core/'           # a part of it
//	go run . -json bench.json -plot bench.svg # saves the figures, and draws them
//	go run . -from bench.json -plot bench.svg # prints and draws what was saved
//
// -json and -plot need the whole table, so they refuse -run.
//
// # How it measures
//
// A ratio is ours divided by the peer's: below 1, ours takes less. Both sides work
// in turns, in one process, and swap their order every time, so that a disturbance
// that lasts longer than a turn slows down both. Each pair of turns gives a ratio.
// The table shows the median and the quartiles of these ratios, and the median of
// each side's absolute figures. The ratio of those medians is another number and
// may differ a little. A turn repeats its work until it fills a few milliseconds;
// how often that is, the program finds out for each side beforehand. Where the cost
// of a call depends on the number of calls, both sides make equally many.
//
// Both sides are a loop around the call, entered once through a function value.
// What the compiler inlines in your program, it inlines here too; a peer that is
// itself a function value is called through it. Callbacks and merge functions are
// function values on both sides. Both figures include the loop: where a side takes
// only a few nanoseconds, the true ratio is further from 1 than the printed one.
//
// "All cores" is one such loop per core at the same time, all on one instance;
// the figure is the time of one call in its loop.
//
// Allocations are counted over the whole process, during one more turn. Lateness
// is the time from just before the call to the first line of the callback.
//
// # What it does not measure
//
// Callbacks do nothing. The peers' other features and settings play no part.
// Nothing here shows how any of them behaves with cold caches, or beside a garbage
// collector that is busy with a large heap.
//
// The LessExecutor of go-zero is left out. Its package core/executors needs nine
// further modules and 32 packages outside the standard library, OpenTelemetry
// among them; when imported, it starts a goroutine and takes over the process's
// signals. It reads the clock and an atomic word, and has no deferred run.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/throttle-go/throttle/internal/flags"
)

func main() {
	flags.Exit("bench", run(os.Args[1:], os.Stdout))
}

// A config holds the flags.
type config struct {
	only    *regexp.Regexp // selects experiments by name
	budget  time.Duration
	plot    string
	save    string
	from    string
	survive string
}

func parse(args []string, stdout io.Writer) (config, error) {
	var c config
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	only := set.String("run", "", "measure only what has a name, subject/setting/peer, that matches this `regexp`")
	set.DurationVar(&c.budget, "time", 2*time.Second, "how long to compare two sides, about")
	set.StringVar(&c.plot, "plot", "", "draw the chart of six ratios into this SVG `file`; not with -run")
	set.StringVar(&c.save, "json", "", "save the figures in this `file`; not with -run")
	set.StringVar(&c.from, "from", "", "measure nothing, take the figures from this `file`")
	set.StringVar(&c.survive, survive, "", "for this program's own use: whether `peer` survives a panic")
	return c, flags.Parse(set, args, stdout, func() (err error) {
		if c.budget <= 0 {
			return fmt.Errorf("-time is %v, must be positive", c.budget)
		}
		if c.from != "" && (*only != "" || c.save != "") {
			return errors.New("-from goes with -plot only")
		}
		if (c.save != "" || c.plot != "") && *only != "" {
			return errors.New("-json and -plot need the whole table: they do not go with -run")
		}
		c.only, err = regexp.Compile(*only)
		return err
	})
}

// run is the whole program.
func run(args []string, stdout io.Writer) error {
	c, err := parse(args, stdout)
	if err != nil {
		return err
	}
	if c.survive != "" {
		return surviveOne(c.survive)
	}
	r, err := c.figures(args, stdout)
	if err != nil {
		return err
	}
	return c.keep(r)
}

// figures measures or loads a report, prints it, and returns it.
func (c config) figures(args []string, stdout io.Writer) (report, error) {
	if c.from != "" {
		r, err := load(c.from)
		if err != nil {
			return r, err
		}
		return r, errors.Join(printHeader(stdout, r), printSections(stdout, r.Sections))
	}
	return fullEffort(c.budget).measure(subjects(), c.only, command(args), stdout)
}

// keep saves and draws r.
func (c config) keep(r report) error {
	if c.save != "" {
		if err := r.save(c.save); err != nil {
			return err
		}
	}
	if c.plot == "" {
		return nil
	}
	drawing, err := plot(r)
	if err != nil {
		return err
	}
	return os.WriteFile(c.plot, []byte(drawing), 0o644)
}

// command returns the command line with args.
func command(args []string) string {
	words := []string{"go run ."}
	for _, arg := range args {
		if strings.ContainsAny(arg, " ^$*()|[]\\") {
			arg = "'" + arg + "'"
		}
		words = append(words, arg)
	}
	return strings.Join(words, " ")
}
