// Command controller runs a Kubernetes controller whose work queue holds each object until it
// has been quiet. It needs no cluster: controller-runtime's fakes stand in for one.
//
//	cd examples/controller && go run .
//
// A rollout changes fifty ConfigMaps, each many times in a short while, and the controller
// reconciles them, first with its own queue and then with the one that holds. The program
// fails if a reconciliation missed the last change of an object, or if an object was held for
// longer than the policy allows:
//
//	50 objects change for 2s; quiet 100ms, at most 500ms
//
//	queue             changes  reconciled  longest wait
//	controller's own      643         642         8.5ms
//	held                  659         106       282.1ms
//
// Copy from controller.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/throttle-go/throttle/internal/flags"
)

const (
	quiet  = 100 * time.Millisecond
	atMost = 500 * time.Millisecond
)

func main() {
	ctrl.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	flags.Exit("controller", err)
}

// run is the whole program.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	set := flag.NewFlagSet("controller", flag.ContinueOnError)
	duration := set.Duration("duration", 2*time.Second, "how long objects change, for each queue")
	err := flags.Parse(set, args, stdout, func() error {
		if *duration < 0 {
			return fmt.Errorf("-duration is %v, must not be negative", *duration)
		}
		return nil
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%d objects change for %v; quiet %v, at most %v\n\n", objects, *duration, quiet, atMost)
	fmt.Fprintf(stdout, "%-16s  %7s  %10s  %12s\n", "queue", "changes", "reconciled", "longest wait")
	own, err := rollOut(ctx, *duration, nil)
	if err != nil {
		return err
	}
	own.print(stdout, "controller's own")
	queue, err := newQueue(quiet, atMost)
	if err != nil {
		return err
	}
	held, err := rollOut(ctx, *duration, queue)
	if err != nil {
		return err
	}
	held.print(stdout, "held")
	return errors.Join(own.check(patience), held.check(atMost+patience))
}

// patience is how late a reconciliation may be on a busy machine.
const patience = 10 * time.Second
