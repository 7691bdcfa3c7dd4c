package picture

import (
	"math"
	"time"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/internal/timeline"
)

// Windows returns the times in which spacing, or the backoff of a failed run, held off the
// next run under p. runs are in order. Windows does not know earlier runs or policies: a window
// is missing if a run before these has taken a token of Policy.Burst.
func Windows(p throttle.Policy, runs []Run) []timeline.Span {
	b := bucket{policy: p, full: true}
	var all []timeline.Span
	for i, run := range runs {
		next := time.Duration(math.MaxInt64)
		if i+1 < len(runs) {
			next = runs[i+1].Start
		}
		opens := b.start(run.Start)
		for _, w := range []timeline.Span{{Start: run.Start, End: opens}, {Start: run.End, End: restOver(p, run)}} {
			w.End = min(w.End, next) // which may be a flush, or come from an earlier policy
			last := len(all) - 1
			switch {
			case w.End <= w.Start:
			case last >= 0 && all[last].Start == run.Start && all[last].End >= w.Start:
				all[last].End = max(all[last].End, w.End)
			default:
				all = append(all, w)
			}
		}
	}
	return all
}

// none is the end of a window that does not exist.
const none time.Duration = math.MinInt64

// after returns the instant d after at.
func after(at, d time.Duration) time.Duration {
	if d > math.MaxInt64-max(at, 0) {
		return math.MaxInt64
	}
	return at + d
}

// A bucket holds the tokens of Policy.Burst.
type bucket struct {
	policy  throttle.Policy
	full    bool
	tokens  int           // after the last start, unless it is full
	accrual time.Duration // the next token accrues from then on, unless it is full
}

// start takes a token for a run that starts at now. It returns when Interval permits the next
// run; none if that does not depend on the start.
func (b *bucket) start(now time.Duration) (opens time.Duration) {
	interval, burst := b.policy.Interval, max(b.policy.Burst, 1)
	if interval == 0 || b.policy.From == throttle.FromEnd {
		return none
	}
	gained := (now - b.accrual) / interval
	if b.full || gained >= time.Duration(burst-b.tokens) {
		b.tokens, b.accrual = burst, now
	} else {
		b.tokens += int(gained)
		b.accrual = now - (now-b.accrual)%interval
	}
	b.full = false
	if b.tokens == 0 { // a flush begins a new window
		b.accrual = now
		return after(now, interval)
	}
	b.tokens--
	if b.tokens > 0 {
		return none
	}
	return after(b.accrual, interval)
}

// restOver returns when the rest after run is over; none if there is no rest, or while run is
// active.
func restOver(p throttle.Policy, run Run) time.Duration {
	if run.Active {
		return none
	}
	var rest time.Duration
	if p.From == throttle.FromEnd {
		rest = p.Interval
	}
	if p.MaxLoad > 0 {
		load := float64(run.End-run.Start) * (1/p.MaxLoad - 1)
		rest = max(rest, time.Duration(min(load, math.MaxInt64/2)))
	}
	return max(after(run.End, rest), holdOver(p, run))
}

// holdOver returns when run, which has ended, no longer holds off calls because of its result;
// none if it does not. The Jitter of a run that is not repeated is not known.
func holdOver(p throttle.Policy, run Run) time.Duration {
	switch {
	case run.Again:
		return run.Retry
	case !run.Failed || p.Retry.Eager:
		return none
	case run.Retry > 0 || run.Attempt == 0:
		return run.Retry
	}
	delay := p.Retry.Initial
	for range run.Attempt - 1 {
		if delay > p.Retry.Max/2 {
			delay = max(delay, p.Retry.Max)
			break
		}
		delay *= 2
	}
	return after(run.End, delay)
}
