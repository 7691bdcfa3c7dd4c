// Command loader is an HTTP server that loads items of many tenants from a slow database.
// Each request asks for one item. Requests for the same tenant share queries: while one is
// active, further requests wait and are in the next one. Each request brings a channel along,
// on which it gets its answer.
//
//	go run ./examples/loader
//
// starts the server on loopback, lets many clients ask for items for two seconds, and stops
// it. A tenth of the queries fail, and are repeated. The program fails if an answer is wrong
// or missing, if two queries for a tenant overlap, or if there are too many at a time. The
// timeline shows the tenant with most requests:
//
//	200 clients ask http://127.0.0.1:39179 for items of 20 tenants for 2s, one query in 10 fails
//
//	requests           7167   3481 per second, each with the right answer
//	queries            1094   one for 6.6 requests, up to 8 at a time, 102 failed
//	largest batch        30   requests in one query
//	longest wait   155.09ms   from a request to its answer
//
//	calls   ▁     ▁█▇  ▂      ▄ ▂  ▄▄▃▂ ▃   ▄ ▂▅ █ ▁ ▅ ▂ ▅  ▄▂ ▄▄       ▇▃  ▁▂  ▁▁
//	runs    █▒▒    █▒█▒        █▒▒▒▒▒█▒    █▒▒▒█▒  █▒▒▒▒ █▒ ✗▒  █▒▒▒▒█▒▒██▒▒ █▒▒▒ █▒
//	        ┬──────┬──────┬──────┬──────┬───────┬──────┬──────┬──────┬──────┬──────┬
//	        0ms    50ms   100ms  150ms  200ms   250ms  300ms  350ms  400ms  450ms
//	        a full block is 13 calls
//
// Copy from loader.go.
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
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/throttle-go/throttle/internal/flags"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	flags.Exit("loader", err)
}

// A config holds the flags.
type config struct {
	duration time.Duration
	clients  int
	tenants  int
	addr     string
}

func parse(args []string, stdout io.Writer) (config, error) {
	var c config
	set := flag.NewFlagSet("loader", flag.ContinueOnError)
	set.DurationVar(&c.duration, "duration", 2*time.Second, "how long the clients work")
	set.IntVar(&c.clients, "clients", 200, "number of clients that work at the same time")
	set.IntVar(&c.tenants, "tenants", 20, "number of tenants")
	set.StringVar(&c.addr, "addr", "127.0.0.1:0", "address to listen on; port 0 is a free one")
	return c, flags.Parse(set, args, stdout, func() error {
		if c.clients < 1 || c.tenants < 1 {
			return errors.New("-clients and -tenants must be at least 1")
		}
		if c.duration < 0 {
			return fmt.Errorf("-duration is %v, must not be negative", c.duration)
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
	d := newDatabase()
	s, err := newServer(d)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", c.addr)
	if err != nil {
		return errors.Join(err, s.stop(ctx))
	}
	url := "http://" + listener.Addr().String()
	_, err = fmt.Fprintf(stdout, "%d clients ask %s for items of %d tenants for %v, one query in %d fails\n\n",
		c.clients, url, c.tenants, c.duration, oneIn)
	if err != nil {
		return errors.Join(err, listener.Close(), s.stop(ctx))
	}

	var answered uint64
	begun := time.Now()
	var group errgroup.Group
	group.Go(func() error { return s.serve(listener) })
	group.Go(func() error {
		var err error
		answered, err = drive(ctx, url, c)
		return errors.Join(err, s.stop(ctx))
	})
	if err := group.Wait(); err != nil {
		return err
	}
	return s.report(stdout, d, answered, time.Since(begun).Seconds())
}
