// Command debug serves a live page of working throttlers: some fail, panic, retry, wait
// for quiet, drop calls, or are closed; one is a group of tenants, and one collects
// lines.
//
//	go run ./examples/debug
//
// prints the address of the page, and works for -duration or until interrupted. It fails
// if the page does not show the right number of runs at the end:
//
//	9 throttles at http://127.0.0.1:36755/debug/throttle
//
//	  closed  1 runs   0 failed  import
//	  closed 11 runs   4 failed  reload
//	  ...
//
// With -actions the page has buttons that flush or cancel a pending run. Anyone who can
// reach -addr can press them.
//
// Copy the options and the page in work.go.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/throttle-go/throttle/internal/flags"
	"github.com/throttle-go/throttle/throttledebug"
)

// path is the path of the page.
const path = "/debug/throttle"

// patience limits how long the end may take.
const patience = 20 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	flags.Exit("debug", err)
}

// A config holds the flags.
type config struct {
	addr     string
	duration time.Duration
	tenants  int
	actions  bool
}

func parse(args []string, stdout io.Writer) (config, error) {
	var c config
	set := flag.NewFlagSet("debug", flag.ContinueOnError)
	set.StringVar(&c.addr, "addr", "127.0.0.1:0", "address to listen on; port 0 is a free one")
	set.DurationVar(&c.duration, "duration", 0, "how long to work (default until interrupted)")
	set.IntVar(&c.tenants, "tenants", 20, "number of tenants to call the group for")
	set.BoolVar(&c.actions, "actions", false, "let the page cancel and flush runs")
	return c, flags.Parse(set, args, stdout, func() error {
		if c.tenants < 1 {
			return fmt.Errorf("-tenants is %d, must be at least 1", c.tenants)
		}
		if c.duration < 0 {
			return fmt.Errorf("-duration is %v, must not be negative", c.duration)
		}
		_, err := net.ResolveTCPAddr("tcp", c.addr)
		return err
	})
}

// run is the whole program. It ends without an error when ctx ends.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	c, err := parse(args, stdout)
	if err != nil {
		return err
	}
	if c.duration > 0 {
		limited, cancel := context.WithTimeout(ctx, c.duration)
		defer cancel()
		ctx = limited
	}
	w := newWork()
	defer w.close()
	s, err := serve(c.addr, w.page(c.actions))
	if err != nil {
		return err
	}
	defer s.server.Close()
	if _, err := fmt.Fprintf(stdout, "%d throttles at %s\n", len(w.counts), s.url); err != nil {
		return err
	}

	w.drive(ctx, c.tenants)

	// ctx has ended, but the rest needs time.
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if err := w.shutdown(ending); err != nil {
		return err
	}
	page, err := read(ending, s.url)
	if err != nil {
		return err
	}
	return errors.Join(report(stdout, page), w.check(page), s.shutdown(ending))
}

// A server serves the page.
type server struct {
	server *http.Server
	url    string
	failed chan error // receives the result of Serve
}

// serve serves page at addr, and redirects the root to it.
func serve(addr string, page http.Handler) (*server, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle(path, page)
	mux.Handle("/{$}", http.RedirectHandler(path, http.StatusFound))
	s := &server{
		// The timeout is for other requests: an open page lifts it.
		server: &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second},
		url:    "http://" + listener.Addr().String() + path,
		failed: make(chan error, 1),
	}
	go func() { s.failed <- s.server.Serve(listener) }()
	return s, nil
}

// shutdown ends the server; open pages do not delay it.
func (s *server) shutdown(ctx context.Context) error {
	err := s.server.Shutdown(ctx)
	if served := <-s.failed; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// read returns the page at url, as a program reads it.
func read(ctx context.Context, url string) (throttledebug.Page, error) {
	var page throttledebug.Page
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"?format=json", http.NoBody)
	if err != nil {
		return page, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return page, err
	}
	if response.StatusCode == http.StatusOK {
		err = json.NewDecoder(response.Body).Decode(&page)
	} else {
		err = fmt.Errorf("GET %s: %s", request.URL, response.Status)
	}
	return page, errors.Join(err, response.Body.Close())
}

// report prints the content of the page.
func report(stdout io.Writer, page throttledebug.Page) error {
	_, err := fmt.Fprintln(stdout)
	for _, t := range page.Throttles {
		_, failed := fmt.Fprintf(stdout, "%8s %5d runs %5d failed  %s\n", t.State, t.Runs, t.Failures, t.Name)
		err = errors.Join(err, failed)
	}
	return err
}
