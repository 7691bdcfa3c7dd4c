package throttledebug

import (
	"math"
	"time"

	"github.com/throttle-go/throttle"
)

// A window is a time in which spacing, or the backoff of a failed run, held off the next run.
type window struct{ from, to time.Time }

// windows returns the windows of the known runs, the earliest first, under the policy p. A run
// without an end is active. Earlier runs and policies are not known. So a window is missing if
// a run before these has taken a token of Policy.Burst.
func windows(p throttle.Policy, runs []Run) []window {
	bucket := bucket{policy: p}
	var all []window
	for i, run := range runs {
		var next time.Time // zero: there is none
		if i+1 < len(runs) {
			next = runs[i+1].Started
		}
		opens := bucket.start(run.Started)
		for _, w := range []window{{run.Started, opens}, {run.Ended, restOver(p, run)}} {
			if !next.IsZero() && w.to.After(next) {
				w.to = next // a flush, or an earlier policy
			}
			last := len(all) - 1
			switch {
			case !w.to.After(w.from):
			case last >= 0 && all[last].from.Equal(run.Started) && !all[last].to.Before(w.from):
				if w.to.After(all[last].to) {
					all[last].to = w.to
				}
			default:
				all = append(all, w)
			}
		}
	}
	return all
}

// A bucket holds the tokens of Policy.Burst.
type bucket struct {
	policy  throttle.Policy
	tokens  int       // after the last start
	accrual time.Time // the next token accrues from then on; zero: the bucket is full
}

// start takes a token for a run that starts at now. It returns when Interval permits the next
// run; the zero time if it does not depend on the start.
func (b *bucket) start(now time.Time) (opens time.Time) {
	interval, burst := b.policy.Interval, max(b.policy.Burst, 1)
	if interval == 0 || b.policy.From == throttle.FromEnd {
		return time.Time{}
	}
	gained := now.Sub(b.accrual) / interval
	if b.accrual.IsZero() || gained >= time.Duration(burst-b.tokens) {
		b.tokens, b.accrual = burst, now
	} else {
		b.tokens += int(gained)
		b.accrual = now.Add(-(now.Sub(b.accrual) % interval))
	}
	if b.tokens == 0 { // a flush begins a new window
		b.accrual = now
		return now.Add(interval)
	}
	b.tokens--
	if b.tokens > 0 {
		return time.Time{}
	}
	return b.accrual.Add(interval)
}

// restOver returns when the rest after run is over; the zero time if there is none, or while
// run is active.
func restOver(p throttle.Policy, run Run) time.Time {
	if run.Ended.IsZero() {
		return time.Time{}
	}
	var rest time.Duration
	if p.From == throttle.FromEnd {
		rest = p.Interval
	}
	if p.MaxLoad > 0 {
		load := float64(run.Ended.Sub(run.Started)) * (1/p.MaxLoad - 1)
		rest = max(rest, time.Duration(min(load, math.MaxInt64/2)))
	}
	over := run.Ended.Add(rest)
	if hold := holdOver(p, run); hold.After(over) {
		over = hold
	}
	return over
}

// holdOver returns when run, which has ended, no longer holds off calls because of its result;
// the zero time if it does not. The Jitter of a run that is not repeated is not known.
func holdOver(p throttle.Policy, run Run) time.Time {
	switch {
	case run.Result == string(throttle.ResultRetryIn):
		return run.retry
	case !run.failed() || p.Retry.Eager:
		return time.Time{}
	case !run.retry.IsZero() || run.Attempt == 0:
		return run.retry
	}
	delay := p.Retry.Initial
	for range run.Attempt - 1 {
		if delay > p.Retry.Max/2 {
			delay = max(delay, p.Retry.Max)
			break
		}
		delay *= 2
	}
	return run.Ended.Add(delay)
}
