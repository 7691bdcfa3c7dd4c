package fleet

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet/internal/replica"
	"github.com/throttle-go/throttle/fleet/machine"
)

// maxKey is how many bytes a key may have.
const maxKey = 512

// check returns everything that is wrong with the arguments of New and NewGroup, except for keys.
func (c *config) check(engine Engine, noCallback bool, p throttle.Policy) []error {
	problems := c.checkPolicy(p)
	refuse := refuser(&problems)
	refuse(engine == nil, "engine", nil, mustNotBeNil)
	refuse(noCallback, "callback", nil, mustNotBeNil)
	return problems
}

// checkSingle returns what only NewGroup can use.
func (c *config) checkSingle() []error {
	var problems []error
	refuse := refuser(&problems)
	const onlyGroup = "needs a Group"
	refuse(c.maxConcurrent > 0, "WithMaxConcurrent", c.maxConcurrent, onlyGroup)
	refuse(c.maxKeys > 0, "WithMaxKeys", c.maxKeys, onlyGroup)
	return problems
}

// checkKey returns what is wrong with key, or nil.
func checkKey(key string) error {
	if key != "" && len(key) <= maxKey && utf8.ValidString(key) && !strings.ContainsRune(key, 0) {
		return nil
	}
	return &throttle.PolicyError{
		Field: "key", Value: fmt.Sprintf("%.40q", key), Reason: fmt.Sprintf("must be 1 to %d bytes of UTF-8 without NUL", maxKey),
	}
}

// checkPolicy returns everything that is wrong with p.
func (c *config) checkPolicy(p throttle.Policy) []error {
	var problems []error
	if err := p.Validate(); err != nil {
		problems = append(problems, err)
	}
	refuse := refuser(&problems)
	const tooLong = "must be at most fifty years"
	refuse(p.Burst > 1, "Burst", p.Burst, notShared)
	refuse(p.MaxLoad != 0, "MaxLoad", p.MaxLoad, notShared)
	refuse(p.MaxInterval != 0, "MaxInterval", p.MaxInterval, notShared)
	refuse(p.Jitter != 0, "Jitter", p.Jitter, notShared)
	refuse(p.MaxCalls != 0, "MaxCalls", p.MaxCalls, notShared)
	refuse(p.Edges == throttle.Leading || p.Edges == throttle.Trailing, "Edges", p.Edges, notShared)
	refuse(p.From == throttle.FromEnd, "From", p.From, notShared)
	refuse(p.Retry.Eager, "Retry.Eager", p.Retry.Eager, notShared)
	refuse(p.Interval > machine.MaxSpan/2, "Interval", p.Interval, tooLong)
	refuse(p.Quiet > machine.MaxSpan/2, "Quiet", p.Quiet, tooLong)
	refuse(p.MaxWait > machine.MaxSpan/2, "MaxWait", p.MaxWait, tooLong)
	refuse(max(p.Retry.Initial, p.Retry.Max) > machine.MaxSpan/2, "Retry", p.Retry, tooLong)
	guard := c.guardOf(p)
	refuse(c.lease <= 2*guard, "WithLease", c.lease, fmt.Sprintf("must be more than twice the guard of %v", guard))
	return problems
}

// refuser returns a function that adds a problem if wrong is true.
func refuser(problems *[]error) func(wrong bool, field string, value any, reason string) {
	return func(wrong bool, field string, value any, reason string) {
		if wrong {
			*problems = append(*problems, &throttle.PolicyError{Field: field, Value: value, Reason: reason})
		}
	}
}

// guardOf returns the guard of a throttler with policy p.
func (c *config) guardOf(p throttle.Policy) time.Duration {
	if c.guard > 0 {
		return c.guard
	}
	return min(max(p.Interval/10, p.Quiet/10, minGuard), maxGuard)
}

// rules returns the rules of a replica with policy p.
func (c *config) rules(p throttle.Policy) replica.Rules {
	guard, slack := c.guardOf(p), c.slack
	if slack == 0 {
		slack = p.Quiet / 4
	}
	return replica.Rules{
		Guard:   guard,
		Spacing: whole(p.Interval + guard),
		Quiet:   whole(p.Quiet),
		MaxWait: whole(p.MaxWait),
		Slack:   whole(slack),
		Lease:   c.lease.Truncate(time.Microsecond),
		Policy:  c.describe(p, guard),
	}
}

// whole rounds d up to a whole microsecond, because the store counts microseconds.
func whole(d time.Duration) time.Duration {
	return (d + time.Microsecond - 1).Truncate(time.Microsecond)
}

// describe returns a text that contains everything that the replicas of a key should agree
// on.
func (c *config) describe(p throttle.Policy, guard time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, "interval %v, guard %v, lease %v", p.Interval, guard, c.lease)
	if p.Quiet > 0 {
		fmt.Fprintf(&b, ", quiet %v", p.Quiet)
	}
	if p.MaxWait > 0 {
		fmt.Fprintf(&b, ", max wait %v", p.MaxWait)
	}
	if r := p.Retry; r.Initial > 0 {
		fmt.Fprintf(&b, ", retry %v", r.Initial)
		if r.Max > r.Initial {
			fmt.Fprintf(&b, " up to %v", r.Max)
		}
		if r.MaxAttempts > 0 {
			fmt.Fprintf(&b, ", %d attempts", r.MaxAttempts)
		}
		if r.Jitter > 0 {
			fmt.Fprintf(&b, ", jitter %v", r.Jitter)
		}
	}
	return b.String()
}
