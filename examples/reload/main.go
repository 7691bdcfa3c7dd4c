// Command reload keeps a configuration up to date. It reloads the file when it has
// changed, on SIGHUP, and on POST /-/reload. All three share one throttler: however
// often they ask, there is at most one reload per interval, never two at once, and
// no change is missed. It sees each kind of change: a file that is written in place,
// replaced by a new one, or removed and made again, and a ConfigMap that Kubernetes has
// mounted.
//
//	cd examples/reload && go run .
//
// demonstrates it with a temporary file: it changes the file ten times in a burst,
// breaks it, sends itself SIGHUP, and mends it. After a failed reload the active
// configuration stays, and the reload is repeated with backoff. The program fails if
// the last configuration is not active at the end:
//
//	19:59:32.089614 reload: version 1 is active (cause: call, calls: 1)
//	19:59:32.090306 --- ten changes in a burst
//	19:59:32.090554 asked by changed file
//	19:59:32.114146 asked by changed file
//	...
//	19:59:32.292425 reload: version 11 is active (cause: call, calls: 16)
//	19:59:32.301699 --- a broken file
//	19:59:32.304443 asked by changed file
//	19:59:32.492975 reload failed, version 11 stays (cause: call, attempt: 1): invalid configuration: unexpected EOF
//	19:59:32.693457 reload failed, version 11 stays (cause: retry, attempt: 2): invalid configuration: unexpected EOF
//	19:59:32.693894 asked by POST /-/reload
//	19:59:32.894422 reload failed, version 11 stays (cause: call, attempt: 3): invalid configuration: unexpected EOF
//	19:59:32.894626 answer: 500 Internal Server Error invalid configuration: unexpected EOF
//	19:59:32.894679 asked by SIGHUP
//	19:59:32.894686 --- a mended file
//	19:59:32.895116 asked by changed file
//	19:59:32.895176 asked by changed file
//	19:59:32.895433 asked by POST /-/reload
//	19:59:33.095505 reload: version 12 is active (cause: call, calls: 4)
//	19:59:33.095627 answer: 204 No Content
//	19:59:33.095954 requests and reloads:
//
//	calls    ▁▂▁ ▁▂▂▂ ▂▁▂▁                      ▁           ▄
//	runs     █           █          ✗           ✗           ✗           █
//	windows  ├──────────┤├──────────├───────────├───────────├───────────├──────────┤
//	        ┬──────────┬───────────┬───────────┬──────────┬───────────┬───────────┬─
//	        0ms        200ms       400ms       600ms      800ms       1000ms  1200ms
//
// With -file it watches that file until it is interrupted:
//
//	echo '{"version": 1, "greeting": "hello"}' > config.json
//	go run . -file config.json
//
// Copy from reloader.go and watcher.go.
package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/throttle-go/throttle/internal/flags"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	flags.Exit("reload", err)
}

// settings holds the flags.
type settings struct {
	file     string
	addr     string
	interval time.Duration // least time between the starts of two reloads
	quiet    time.Duration // how long the file must not have changed before a reload
}

// demonstrationSettings make the demonstration short.
var demonstrationSettings = settings{
	addr:     "127.0.0.1:0",
	interval: 200 * time.Millisecond,
	quiet:    20 * time.Millisecond,
}

func parse(args []string, stdout io.Writer) (settings, error) {
	var s settings
	set := flag.NewFlagSet("reload", flag.ContinueOnError)
	set.StringVar(&s.file, "file", "", "configuration file to watch until interrupted (default: demonstrate)")
	set.StringVar(&s.addr, "addr", "127.0.0.1:0", "with -file, the address to listen on")
	set.DurationVar(&s.interval, "interval", time.Second, "with -file, least time between the starts of two reloads")
	set.DurationVar(&s.quiet, "quiet", 50*time.Millisecond, "with -file, how long it must not have changed before a reload")
	return s, flags.Parse(set, args, stdout, func() error {
		if s.file == "" && set.NFlag() > 0 {
			return errors.New("the other flags need -file")
		}
		if s.interval <= 0 || s.quiet <= 0 {
			return errors.New("-interval and -quiet must be more than 0")
		}
		_, err := net.ResolveTCPAddr("tcp", s.addr)
		return err
	})
}

// run is the whole program.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	s, err := parse(args, stdout)
	if err != nil {
		return err
	}
	logger := log.New(stdout, "", log.Ltime|log.Lmicroseconds)
	if s.file == "" {
		return demonstrate(ctx, logger)
	}
	files, err := newWatcher(s.file)
	if err != nil {
		return err
	}
	return errors.Join(watch(ctx, s, files, logger), files.close())
}

// watch keeps the configuration up to date until ctx ends.
func watch(ctx context.Context, s settings, files *watcher, logger *log.Logger) error {
	r, err := newReloader(s, files.load, logger, func(why string) { logger.Print("asked by ", why) })
	if err != nil {
		return err
	}
	return r.run(ctx, files, func(ctx context.Context, url string) error {
		logger.Printf("watching %s; curl -X POST %s/-/reload", s.file, url)
		<-ctx.Done()
		return nil
	})
}
