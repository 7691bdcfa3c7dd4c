package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/throttle-go/throttle"
)

const (
	interval = 150 * time.Millisecond // least time between two syncs
	work     = 50 * time.Millisecond  // duration of a sync
)

// serve is one replica of the service. Each line of commands is a call, and the end of
// commands ends the replica. It prints its events as lines, each with the time: "call"
// after a call, "lead" before it syncs as the leader, "run" at the start of a sync, "end"
// with the number of calls that the sync has covered, and "pause" after the last sync.
func serve(ctx context.Context, e election, commands io.Reader, events io.Writer) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	out := printer{w: events}
	doSync := func(ctx context.Context) error {
		out.print("run")
		select {
		case <-time.After(work):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	r, err := newReplica(e, interval, doSync, func(leads bool) {
		if leads {
			out.print("lead")
		} else {
			out.print("pause")
		}
	}, throttle.WithCallCount(), throttle.WithObserver(func(run throttle.Run) { out.print("end %d", run.Calls) }))
	if err != nil {
		return err
	}
	go func() { // ends with commands
		defer stop()
		for lines := bufio.NewScanner(commands); lines.Scan(); {
			r.syncs.Call()
			out.print("call") // later: the judge relies on a call that it sees
		}
	}()
	return r.run(ctx)
}

// A printer prints events.
type printer struct {
	mu sync.Mutex // guards the field below
	w  io.Writer
}

func (p *printer) print(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = fmt.Fprintf(p.w, "%d "+format+"\n", append([]any{time.Now().UnixNano()}, args...)...)
}
