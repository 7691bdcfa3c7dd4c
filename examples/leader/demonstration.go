package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	change   = 20 * time.Millisecond // between two calls of a replica
	syncs    = 3                     // that a leader starts before its end
	patience = 2 * time.Minute       // for the whole demonstration
)

// A demonstration crashes one leader, and stops the next.
type demonstration struct {
	*record

	start   func(ctx context.Context, number int) (*member, error)
	members []*member // all, also those that have ended
}

// run returns the first error. Its members have ended then.
func (d *demonstration) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := d.play(ctx)
	for _, m := range d.members {
		err = errors.Join(err, m.stop())
	}
	return err
}

func (d *demonstration) play(ctx context.Context) error {
	if err := errors.Join(d.join(ctx), d.join(ctx)); err != nil {
		return err
	}
	// The crash comes in the middle of a sync.
	crashed, err := d.waitSyncs(ctx, nil)
	if err != nil {
		return err
	}
	if err := crashed.crash(); err != nil {
		return err
	}
	if _, err := d.waitSyncs(ctx, crashed); err != nil {
		return err
	}
	// A replica that was cut off would take part again if it could.
	if err := errors.Join(crashed.stop(), d.join(ctx)); err != nil {
		return err
	}
	joined := d.members[len(d.members)-1]
	if err := d.wait(ctx, "calls", func() bool { return d.count("call", joined.number) >= 2*syncs }); err != nil {
		return err
	}
	stopped, err := d.waitSyncs(ctx, crashed)
	if err != nil {
		return err
	}
	if err := stopped.stop(); err != nil {
		return err
	}
	_, err = d.waitSyncs(ctx, stopped)
	return err
}

// join starts another member.
func (d *demonstration) join(ctx context.Context) error {
	m, err := d.start(ctx, len(d.members))
	if err == nil {
		d.members = append(d.members, m)
	}
	return err
}

// waitSyncs waits until some more syncs have started. It does not count the member except. It
// returns the member of the last sync.
func (d *demonstration) waitSyncs(ctx context.Context, except *member) (last *member, err error) {
	count := func() (n int) {
		for _, e := range d.all() {
			if m := d.members[e.member]; e.kind == "run" && m != except {
				last = m
				n++
			}
		}
		return n
	}
	before := count()
	err = d.wait(ctx, "a sync", func() bool { return count() >= before+syncs })
	return last, err
}

// report prints what the demonstration has recorded, and fails if that is wrong.
func (d *demonstration) report(w io.Writer) error {
	events := d.all()
	draw(w, events, len(d.members))
	j, err := judgeAll(events)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "calls %6d   at all replicas, leader or not\n", j.calls)
	fmt.Fprintf(w, "syncs %6d   of the leader only, none overlaps another\n", j.syncs)
	for _, t := range j.takeovers {
		if t.before == -1 {
			continue
		}
		fmt.Fprintf(w, "replica %d    led %v after replica %d %s; %d calls had waited, its first sync covered %d\n",
			t.member, t.after.Round(time.Millisecond), t.before, ends[t.how], t.waited, t.covered)
	}
	return nil
}
