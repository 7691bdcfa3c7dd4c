package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// lastEdits silences all processes, lets one edit every tenant's documents, and kills it as
// soon as the store knows of these edits. Then it waits until the others have begun to
// re-index them.
func (c *config) lastEdits(ctx context.Context, r *record, fleet []*process) error {
	for _, p := range fleet {
		if err := p.send("quiet"); err != nil {
			return err
		}
	}
	// A process need not tell of an edit that is made within the slack, a quarter of the interval,
	// after one that it told of: a told edit puts off the run for that much longer.
	pause(ctx, c.interval/2)
	begin := time.Now()
	if err := fleet[0].send("edit"); err != nil {
		return err
	}
	await(ctx, func() bool {
		_, missed := r.afterLastEdits(c.tenants)
		for i := range c.tenants {
			tenant := tenantKey(i)
			edited, told := r.last("edit", tenant), r.last("told", tenant)
			if edited.Before(begin) || told.Before(edited) && slices.Contains(missed, tenant) {
				return false
			}
		}
		return true
	})
	if err := fleet[0].kill(r); err != nil {
		return err
	}
	await(ctx, func() bool {
		_, missed := r.afterLastEdits(c.tenants)
		return len(missed) == 0
	})
	return ctx.Err()
}

// afterLastEdits returns the longest time from a tenant's last edit to the next run for that
// tenant, and the tenants that had none.
func (r *record) afterLastEdits(tenants int) (longest time.Duration, missed []string) {
	lastEdit := map[string]time.Time{}
	for _, e := range r.all("edit") {
		lastEdit[e.detail] = e.at
	}
	runs := r.all("run")
	for i := range tenants {
		tenant := tenantKey(i)
		edited := lastEdit[tenant]
		next := slices.IndexFunc(runs, func(run event) bool { return run.detail == tenant && run.at.After(edited) })
		if next < 0 {
			missed = append(missed, tenant)
			continue
		}
		longest = max(longest, runs[next].at.Sub(edited))
	}
	return longest, missed
}

// judgeEdits prints a summary of the record, and returns an error if a tenant's last edit was
// not followed by a run. It accepts runs soon after an edit: MaxWait may have passed, or the
// store may have granted the run just before it received the edit.
func (r *record) judgeEdits(w io.Writer, quiet time.Duration, tenants int) error {
	edits, runs, kills := r.all("edit"), r.all("run"), r.all("kill")
	stopped := 0 // runs after the edits had stopped
	for _, run := range runs {
		if !slices.ContainsFunc(edits, func(e event) bool {
			return e.detail == run.detail && e.at.Before(run.at) && run.at.Sub(e.at) < quiet
		}) {
			stopped++
		}
	}
	var killed strings.Builder
	for _, kill := range kills {
		fmt.Fprintf(&killed, " %d", kill.process)
	}
	longest, missed := r.afterLastEdits(tenants)
	fmt.Fprintf(w, "edits      %5d   of %d tenants\n", len(edits), tenants)
	fmt.Fprintf(w, "re-indexed %5d   %d after %v without edits, %d during edits\n", len(runs), stopped, quiet, len(runs)-stopped)
	fmt.Fprintf(w, "messages   %5d   to tell of edits, and to begin and end runs\n", len(r.all("message")))
	fmt.Fprintf(w, "broken off %5d   half-way, and repeated by another process\n", len(runs)-len(r.all("end")))
	fmt.Fprintf(w, "killed     %5d   processes%s\n", len(kills), killed.String())
	if len(missed) > 0 {
		return fmt.Errorf("no re-index after the last edit of %s", strings.Join(missed, ", "))
	}
	fmt.Fprintf(w, "last edits         re-indexed at most %v after they were made, though their process was killed\n",
		longest.Round(time.Millisecond))
	return nil
}
