// Package flags gives the programs of this repository the same command line: a mistake in it is one
// line on standard error and exit status 2, before the program does anything else.
package flags

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

// A usageError is a mistake in the command line.
type usageError struct{ error }

// Parse parses args by set, accepts no arguments after the flags, and then calls
// valid to check the values. If args ask for help, it prints the usage to stdout
// and returns [flag.ErrHelp].
func Parse(set *flag.FlagSet, args []string, stdout io.Writer, valid func() error) error {
	set.SetOutput(io.Discard) // or set would print the usage after each error
	err := set.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		set.SetOutput(stdout)
		set.Usage()
		return err
	}
	if err == nil && set.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", set.Arg(0))
	}
	if err == nil {
		err = valid()
	}
	if err != nil {
		return usageError{err}
	}
	return nil
}

// Exit ends the program with the given name and result of its run: with status 0 if
// it succeeded or printed the usage, 2 after a mistake in the command line, 1 after
// any other error.
func Exit(name string, err error) {
	status := 0
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		status = 1
		var usage usageError
		if errors.As(err, &usage) {
			status = 2
		}
	}
	os.Exit(status) //nolint:forbidigo // the last statement of a main
}
