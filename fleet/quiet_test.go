package fleet_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet"
)

const (
	quiet = time.Second
	slack = quiet / 4 // the default
	spare = quiet / 10
)

// A run comes at least Quiet and at most Quiet plus the slack after the last call anywhere, and a
// burst costs each process a message per slack, and a poll per Quiet.
func TestThrottler_quiet(t *testing.T) {
	for _, gap := range []time.Duration{time.Millisecond, 30 * time.Millisecond, quiet / 2, quiet * 9 / 10} {
		t.Run(gap.String(), func(t *testing.T) {
			inFleet(t, func(r *rig) {
				replicas := r.members(8, throttle.Debounce(quiet, 0), nil)
				r.sleep(quiet)
				const calls = 1000
				for i := range calls {
					if i > 0 {
						time.Sleep(gap)
					}
					replicas[i%len(replicas)].Call()
				}
				last := r.now()
				r.sleep(3 * quiet)
				times := r.times()
				require.Len(r, times, 1)
				assert.GreaterOrEqual(r, times[0], last+quiet)
				assert.LessOrEqual(r, times[0], last+quiet+slack+spare)
				claims := int64(0)
				for _, m := range replicas {
					claims += m.link.claims.Load()
				}
				told := min(calls, 8*int64(last/slack+1))
				polls := 8 * int64(last/quiet+3)
				assert.LessOrEqual(r, claims, told+polls)
				assert.Zero(r, r.state().Requested-r.state().Acknowledged)
				assert.Empty(r, r.errors())
			})
		})
	}
}

// Calls that never stop are covered no later than MaxWait after the first one that no run has
// covered, and a message.
func TestThrottler_quiet_maxWait(t *testing.T) {
	for name, p := range map[string]throttle.Policy{
		"alone":    throttle.Debounce(quiet, 3*quiet),
		"interval": {Interval: 2 * quiet, Quiet: quiet, MaxWait: 3 * quiet},
		"equal":    throttle.Debounce(quiet, quiet),
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(r *rig) {
				replicas := r.members(3, p, nil)
				r.sleep(quiet)
				first := r.now()
				for i := range 200 {
					replicas[i%3].Call()
					time.Sleep(quiet / 10)
				}
				r.sleep(3 * quiet)
				times := r.times()
				require.GreaterOrEqual(r, len(times), int(20*quiet/(p.MaxWait+quiet/2)))
				for i, at := range times {
					assert.LessOrEqual(r, at-first, p.MaxWait+quiet/10+spare, "run %d", i)
					if i < len(times)-1 {
						assert.GreaterOrEqual(r, at-first, p.MaxWait-spare, "run %d: the calls have not stopped", i)
					}
					first = at
				}
			})
		})
	}
}

// The calls of a process that dies are covered. Those that it had not told the store of hold no
// run back.
func TestThrottler_quiet_crash(t *testing.T) {
	inFleet(t, func(r *rig) {
		replicas := r.members(2, throttle.Debounce(quiet, 0), nil)
		r.sleep(quiet)
		told := r.now()
		replicas[0].Call()
		r.sleep(slack / 2)
		replicas[0].Call()
		replicas[0].link.cut()
		_ = replicas[0].Close()
		r.sleep(3 * quiet)
		starts := r.runs()
		require.Len(r, starts, 1)
		assert.Equal(r, 1, starts[0].member)
		assert.GreaterOrEqual(r, starts[0].at, told+quiet)
		assert.LessOrEqual(r, starts[0].at, told+quiet+slack+time.Second+spare, "a look at the index")
	})
}

// A slack trades messages for time.
func TestWithSlack(t *testing.T) {
	claims := func(opts ...fleet.Option) (n int64, late time.Duration) {
		inFleet(t, func(r *rig) {
			m := r.member(throttle.Debounce(quiet, 0), nil, opts...)
			r.sleep(quiet)
			for range 100 {
				m.Call()
				time.Sleep(quiet / 10)
			}
			last := r.now() - quiet/10
			r.sleep(5 * quiet)
			require.Len(r, r.times(), 1)
			n, late = m.link.claims.Load(), r.times()[0]-last
		})
		return n, late
	}
	few, late := claims(fleet.WithSlack(2 * quiet))
	more, soon := claims(fleet.WithSlack(quiet / 10))
	usual, _ := claims()
	assert.Less(t, few, usual)
	assert.Less(t, usual, more)
	assert.LessOrEqual(t, late, 3*quiet+spare)
	assert.LessOrEqual(t, soon, quiet+quiet/10+spare)
}

// While the store cannot be reached, a run without a grant waits for the calls to stop, too.
func TestRunLocal_quiet(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Debounce(quiet, 3*quiet), nil, fleet.RunLocal())
		r.sleep(quiet)
		m.link.cut()
		const gap = quiet * 2 / 5
		first := r.now()
		for range 20 {
			m.Call()
			time.Sleep(gap)
		}
		last := r.now() - gap
		r.sleep(5 * quiet)
		times := r.times()
		require.NotEmpty(r, times)
		for _, at := range times[:len(times)-1] {
			assert.LessOrEqual(r, at-first, 3*quiet+gap+spare)
			first = at
		}
		assert.GreaterOrEqual(r, times[len(times)-1], last+quiet)
		assert.LessOrEqual(r, times[len(times)-1], last+quiet+spare)
		m.link.heal()
		r.sleep(5 * quiet)
		assert.False(r, m.Stats().Pending)
		_ = r.errors()
	})
}

// A failed run is repeated after its delay, and calls made since hold that run back.
func TestThrottler_quiet_retry(t *testing.T) {
	inFleet(t, func(r *rig) {
		p := throttle.Debounce(quiet, 0)
		p.Retry = throttle.Backoff{Initial: quiet / 2}
		fails := 2
		m := r.member(p, func(context.Context) error {
			fails--
			if fails >= 0 {
				return errBroken
			}
			return nil
		})
		r.sleep(quiet)
		m.Call()
		r.sleep(quiet + slack + spare)
		require.Len(r, r.times(), 1)
		r.sleep(quiet/2 + spare)
		require.Len(r, r.times(), 2)
		m.Call()
		last := r.now()
		r.sleep(4 * quiet)
		require.Len(r, r.times(), 3)
		assert.GreaterOrEqual(r, r.times()[2], last+quiet)
		_ = r.errors()
	})
}

// Do waits for the run that its call postpones.
func TestThrottler_Do_quiet(t *testing.T) {
	inFleet(t, func(r *rig) {
		replicas := r.members(2, throttle.Debounce(quiet, 0), nil)
		r.sleep(quiet)
		replicas[0].Call()
		r.sleep(quiet / 2)
		called := r.now()
		require.NoError(r, replicas[1].Do(r.Context()))
		assert.GreaterOrEqual(r, r.now(), called+quiet)
		assert.Len(r, r.times(), 1)
	})
}

// A Group debounces each of its keys.
func TestGroup_quiet(t *testing.T) {
	inFleet(t, func(r *rig) {
		all, runs := r.groups(3, throttle.Debounce(quiet, 10*quiet), nil, fleet.WithMaxConcurrent(2))
		last := map[string]time.Duration{}
		for i := range 300 {
			key := keys(20)[i%20]
			require.NoError(r, all[i%3].Call(key))
			last[key] = r.now()
			time.Sleep(quiet / 100)
		}
		all[0].kill()
		r.sleep(5 * quiet)
		for key, called := range last {
			starts := runs.of(key)
			require.Len(r, starts, 1, key)
			assert.GreaterOrEqual(r, starts[0].at, called+quiet)
		}
		assert.Zero(r, all[1].Len()+all[2].Len())
	})
}
