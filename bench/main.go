// Command bench compares package throttle with what one would use instead: other
// libraries, two techniques of large systems, and the bare operations that set
// the limit. It is a module of its own, so that the peers are no requirement of
// the library.
//
//	go run .                                  # prints the table: about five minutes
//	go run . -run '^call/one core/'           # a part of it
//	go run . -json bench.json -plot bench.svg # saves the figures, and draws them
//	go run . -from bench.json -plot bench.svg # prints and draws what was saved
//
// A part of the table cannot be saved: it would later be drawn as if it were all
// of it.
//
// # How a figure comes about
//
// A ratio is ours divided by the peer's: below 1, ours takes less. Both sides do
// their work in turns, in one process, and change places every time, so that
// what slows the machine down for longer than a turn slows down both. Each pair
// of turns gives a ratio; what is told is the median of these ratios, with their
// quartiles, and beside it the median of each side's absolute figures. The ratio
// of the medians is another number, and may differ a little. A turn does its work
// as often as fills some milliseconds, found out beforehand for each side, unless
// what one call costs depends on how many there were.
//
// Both sides are a loop around the call, entered once through a function value:
// what the compiler inlines in a user's program, it inlines here, while a peer that
// is itself a function value is called through it here, too. Callbacks, and what
// merges values, are function values on both sides. The loop is part of both
// figures: where a side takes less than some nanoseconds, the true ratio lies further
// from 1 than the one told.
//
// "All cores" is one such loop per core at the same time, all on one instance;
// the time is that of one call in its loop.
//
// Allocations are those of the whole process during one more turn. Lateness is
// taken from the instant before the call to the first line of the callback.
//
// # What is not measured
//
// Callbacks do nothing. The peers' other features, and other settings of theirs,
// are not looked at. Nothing here says how any of it behaves with cold caches,
// or beside a garbage collector that is busy with a large heap.
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
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// A config is what the flags say.
type config struct {
	only    *regexp.Regexp // of the experiments' names
	budget  time.Duration
	plot    string
	save    string
	from    string
	survive string
}

func parse(args []string, stdout io.Writer) (config, error) {
	var c config
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stdout)
	only := flags.String("run", "", "measure only what has a name, subject/setting/peer, that matches this `regexp`")
	flags.DurationVar(&c.budget, "time", 2*time.Second, "how long to compare two sides, about")
	flags.StringVar(&c.plot, "plot", "", "draw the ratios into this SVG `file`")
	flags.StringVar(&c.save, "json", "", "save the figures in this `file`; not with -run")
	flags.StringVar(&c.from, "from", "", "measure nothing, take the figures from this `file`")
	flags.StringVar(&c.survive, survive, "", "for this program's own use: whether `peer` outlives a panic")
	if err := flags.Parse(args); err != nil {
		return c, err
	}
	if flags.NArg() > 0 {
		return c, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if c.budget <= 0 {
		return c, fmt.Errorf("-time is %v, must be positive", c.budget)
	}
	if c.from != "" && (*only != "" || c.save != "") {
		return c, errors.New("-from goes with -plot only")
	}
	if c.save != "" && *only != "" {
		return c, errors.New("-json saves the whole table: it does not go with -run")
	}
	var err error
	c.only, err = regexp.Compile(*only)
	return c, err
}

// run is the whole program.
func run(args []string, stdout io.Writer) error {
	c, err := parse(args, stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return err
	case c.survive != "":
		return outlive(c.survive)
	}
	r, err := c.figures(args, stdout)
	if err != nil {
		return err
	}
	return c.keep(r)
}

// figures prints a report, a subject at a time, and returns it.
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
	return os.WriteFile(c.plot, []byte(plot(r)), 0o644)
}

// command returns the command line that has args.
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
