package main

import (
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/internal/flags"
)

// A config holds the flags.
type config struct {
	file     string
	field    int
	took     time.Duration
	fail     float64
	json     bool
	svg      string
	policies []throttle.Policy // the grid
}

func parse(args []string, stdout io.Writer) (config, error) {
	var c config
	var g grid
	set := flag.NewFlagSet("throttle-whatif", flag.ContinueOnError)
	set.StringVar(&c.file, "file", "-", "file with the times of calls, one a line; - is the standard input")
	set.IntVar(&c.field, "field", 0, "number of the field that holds the time, from 1; fields are separated by spaces (0: the whole line)")
	set.DurationVar(&c.took, "took", 10*time.Millisecond, "how long a run takes")
	set.Float64Var(&c.fail, "fail", 0, "share of the runs that fail, from 0 to 1")
	set.BoolVar(&c.json, "json", false, "print JSON instead of a table")
	set.StringVar(&c.svg, "svg", "", "file for a picture of the best policies (default: none)")
	g.define(set)
	return c, flags.Parse(set, args, stdout, func() (err error) {
		if err := c.validate(); err != nil {
			return err
		}
		if g.isEmpty() {
			g.useDefault()
		}
		c.policies, err = g.policies()
		return err
	})
}

func (c config) validate() error {
	switch {
	case c.field < 0:
		return fmt.Errorf("-field is %d, must not be negative", c.field)
	case c.took < 0:
		return fmt.Errorf("-took is %v, must not be negative", c.took)
	case !(c.fail >= 0 && c.fail <= 1): // also if it is not a number
		return fmt.Errorf("-fail is %v, must be from 0 to 1", c.fail)
	default:
		return nil
	}
}
