// Command reload keeps a configuration up to date. It reloads the file when it has
// changed, on SIGHUP, and on POST /-/reload. All three share one throttler: however
// often they ask, there is at most one reload per interval, never two at once, and
// no change is missed.
//
//	go run ./examples/reload
//
// demonstrates it with a temporary file: it changes the file ten times in a burst,
// breaks it, sends itself SIGHUP, and mends it. After a failed reload the active
// configuration stays, and the reload is repeated with backoff. The program fails if
// the last configuration is not active at the end:
//
//	11:46:39.771275 reload: version 1 is active (cause: call, calls: 1)
//	11:46:39.772127 --- ten changes in a burst
//	11:46:39.782423 asked by changed file
//	11:46:39.792857 asked by changed file
//	...
//	11:46:39.971760 reload: version 11 is active (cause: call, calls: 11)
//	11:46:39.980910 --- a broken file
//	11:46:39.983169 asked by changed file
//	11:46:40.171917 reload failed, version 11 stays (cause: call, attempt: 1): invalid configuration: unexpected EOF
//	11:46:40.373115 reload failed, version 11 stays (cause: retry, attempt: 2): invalid configuration: unexpected EOF
//	11:46:40.373798 asked by POST /-/reload
//	11:46:40.573445 reload failed, version 11 stays (cause: call, attempt: 3): invalid configuration: unexpected EOF
//	11:46:40.573708 answer: 500 Internal Server Error invalid configuration: unexpected EOF
//	11:46:40.573851 asked by SIGHUP
//	11:46:40.573862 --- a mended file
//	11:46:40.574394 asked by POST /-/reload
//	11:46:40.582669 asked by changed file
//	11:46:40.774403 reload: version 12 is active (cause: call, calls: 3)
//	11:46:40.774547 answer: 204 No Content
//	11:46:40.774801 requests and reloads:
//
//	calls   ▁▂ ▁▁▁▁▁ ▁▁▁▁                       ▁           ▃
//	runs    █           █          ✗▒           ✗           ✗           █
//	windows ├──────────┤├──────────├───────────┤├──────────┤├──────────┤├──────────┤
//	        ┬──────────┬───────────┬───────────┬───────────┬───────────┬───────────┬
//	        0ms        200ms       400ms       600ms       800ms       1000ms 1200ms
//
// With -file it watches that file until it is interrupted:
//
//	echo '{"version": 1, "greeting": "hello"}' > config.json
//	go run ./examples/reload -file config.json
//
// Copy from reloader.go.
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
	poll     time.Duration // time between two looks at the file
}

// demonstrationSettings make the demonstration short.
var demonstrationSettings = settings{
	addr:     "127.0.0.1:0",
	interval: 200 * time.Millisecond,
	poll:     10 * time.Millisecond,
}

func parse(args []string, stdout io.Writer) (settings, error) {
	var s settings
	set := flag.NewFlagSet("reload", flag.ContinueOnError)
	set.StringVar(&s.file, "file", "", "configuration file to watch until interrupted (default: demonstrate)")
	set.StringVar(&s.addr, "addr", "127.0.0.1:0", "with -file, the address to listen on")
	set.DurationVar(&s.interval, "interval", time.Second, "with -file, least time between the starts of two reloads")
	set.DurationVar(&s.poll, "poll", time.Second, "with -file, how often to look whether it has changed")
	return s, flags.Parse(set, args, stdout, func() error {
		if s.file == "" && set.NFlag() > 0 {
			return errors.New("the other flags need -file")
		}
		if s.interval <= 0 || s.poll <= 0 {
			return errors.New("-interval and -poll must be more than 0")
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
	r, err := newReloader(s, logger, func(why string) { logger.Print("asked by ", why) })
	if err != nil {
		return err
	}
	return r.run(ctx, func(ctx context.Context, url string) error {
		logger.Printf("watching %s; curl -X POST %s/-/reload", s.file, url)
		<-ctx.Done()
		return nil
	})
}
