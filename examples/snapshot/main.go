// Command snapshot is an HTTP server that keeps counters in memory and writes them to
// a file after changes, but at most once per interval, however many requests arrive.
// No change is lost: a change during a snapshot, or too soon after one, is in the next
// snapshot, and the server writes the last one when it stops.
//
//	go run ./examples/snapshot
//
// starts the server on loopback, lets eight clients change counters for three seconds,
// stops it, and checks its promises. It fails if the file differs from the counters at
// the end, or if two snapshots were too close:
//
//	8 clients change counters at http://127.0.0.1:36755 for 3s, at most one snapshot per 250ms
//
//	requests           97676   32546 per second, each asked for a snapshot
//	snapshots             13   one for 7513 requests, 0 failed
//	least distance  250.01ms   between the starts of two, except for flushed ones
//	longest wait    254.99ms   from a change until it was on disk
//	file                  ok   it holds all 97676 changes
//
//	calls   ▃▄▄▄▅▅▅▃▅▅▆▅▇▇▇▅▄▆▆▆▆▇▆▇▅▇▇▆▆▇▅▆▇▅▇▆▆▆▆▅▅▆▇▇▇▅▆█▇▅▆▇█▇█▆▆▇▅▅▆▅▅▄▆▆▅▆▅▆▅▅
//	runs    █                 █                 █                 █
//	windows ├─────────────────├─────────────────├─────────────────├─────────────────
//	        ┬─────────────┬─────────────┬──────────────┬─────────────┬─────────────┬
//	        0ms           200ms         400ms          600ms         800ms    1000ms
//	        a full block is 712 calls
//
// With -serve it only serves, and prints how to drive it with curl. With -file
// the next start finds the counters again.
//
// Copy from server.go and snapshot.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/throttle-go/throttle/internal/flags"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	flags.Exit("snapshot", err)
}

// A config holds the flags.
type config struct {
	duration time.Duration
	interval time.Duration
	clients  int
	addr     string
	file     string
	serve    bool
}

func parse(args []string, stdout io.Writer) (config, error) {
	var c config
	set := flag.NewFlagSet("snapshot", flag.ContinueOnError)
	set.DurationVar(&c.duration, "duration", 3*time.Second, "how long the clients work")
	set.DurationVar(&c.interval, "interval", 250*time.Millisecond, "least time between the starts of two snapshots")
	set.IntVar(&c.clients, "clients", 8, "number of clients that work at the same time")
	set.StringVar(&c.addr, "addr", "127.0.0.1:0", "address to listen on; port 0 is a free one")
	set.StringVar(&c.file, "file", "", "file of the snapshots (default: a temporary one)")
	set.BoolVar(&c.serve, "serve", false, "only serve, until interrupted")
	return c, flags.Parse(set, args, stdout, func() error {
		if c.clients < 1 {
			return fmt.Errorf("-clients is %d, must be at least 1", c.clients)
		}
		if c.duration < 0 || c.interval < 0 {
			return errors.New("-duration and -interval must not be negative")
		}
		_, err := net.ResolveTCPAddr("tcp", c.addr)
		return err
	})
}

// run is the whole program.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	c, err := parse(args, stdout)
	if err != nil {
		return err
	}
	if c.file != "" {
		return c.run(ctx, stdout)
	}
	dir, err := os.MkdirTemp("", "snapshot")
	if err != nil {
		return err
	}
	c.file = filepath.Join(dir, "counters.json")
	return errors.Join(c.run(ctx, stdout), os.RemoveAll(dir))
}

// run runs a server until the demonstration or ctx ends, then stops it and reports.
func (c config) run(ctx context.Context, stdout io.Writer) error {
	s, err := newServer(c)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", c.addr)
	if err != nil {
		return errors.Join(err, s.stop(ctx))
	}
	url := "http://" + listener.Addr().String()
	use := s.demonstrate
	if c.serve {
		use = waitForEnd
	}

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.serve(listener) })
	group.Go(func() error {
		used := use(ctx, c, url, stdout)
		return errors.Join(used, s.stop(ctx))
	})
	if err := group.Wait(); err != nil {
		return err
	}
	return s.report(stdout)
}

// demonstrate lets clients change the counters of s, and checks that every answered
// request was a change.
func (s *server) demonstrate(ctx context.Context, c config, url string, stdout io.Writer) error {
	_, err := fmt.Fprintf(stdout, "%d clients change counters at %s for %v, at most one snapshot per %v\n\n",
		c.clients, url, c.duration, c.interval)
	if err != nil {
		return err
	}
	answered, err := drive(ctx, url, c.clients, c.duration)
	if err != nil {
		return err
	}
	if changes := s.changes(); answered != changes {
		return fmt.Errorf("%d requests were answered, but there were %d changes", answered, changes)
	}
	return nil
}

// waitForEnd prints how to use the server, and returns when ctx ends.
func waitForEnd(ctx context.Context, c config, url string, stdout io.Writer) error {
	_, err := fmt.Fprintf(stdout, `serving at %[1]s until interrupted, at most one snapshot per %[2]v in %[3]s

  curl -X POST %[1]s/counters/apples    # change the state, ask for a snapshot
  curl %[1]s/counters                   # the state
  curl -i -X POST %[1]s/flush           # write pending changes now
  curl %[1]s/snapshot-status            # the throttler's statistics

`, url, c.interval, c.file)
	if err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}
