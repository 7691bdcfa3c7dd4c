package fleet_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet"
)

func nothing(context.Context) error { return nil }

// problems returns the fields of all PolicyErrors in err.
func problems(err error) (fields []string) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			fields = append(fields, problems(e)...)
		}
		return fields
	}
	var wrong *throttle.PolicyError
	if errors.As(err, &wrong) {
		fields = append(fields, wrong.Field)
	}
	return fields
}

// New refuses policies that do not work across a fleet.
func TestNew_Policy(t *testing.T) {
	for field, p := range map[string]throttle.Policy{
		"Burst":       {Interval: interval, Burst: 2},
		"MaxLoad":     {Interval: interval, MaxLoad: 0.5},
		"Quiet":       {Quiet: 1<<63 - 1},
		"MaxWait":     {Quiet: interval, MaxWait: 1<<63 - 1},
		"MaxInterval": {Interval: interval, MaxInterval: interval},
		"Edges":       {Interval: interval, Edges: throttle.Leading},
		"From":        {Interval: interval, From: throttle.FromEnd},
		"Retry.Eager": {Interval: interval, Retry: throttle.Backoff{Initial: 1, Eager: true}},
		"Interval":    {Interval: 1<<63 - 1},
		"Retry":       {Interval: interval, Retry: throttle.Backoff{Initial: 1 << 62}},
	} {
		_, err := fleet.New(fleet.NewMemory(), key, p, nothing)
		assert.Equal(t, []string{field}, problems(err), field)
	}
	_, err := fleet.New(fleet.NewMemory(), key,
		throttle.Policy{Interval: interval, Quiet: 1, MaxWait: 2, MaxCalls: 3}, nothing)
	assert.Equal(t, []string{"MaxCalls"}, problems(err))
	_, err = fleet.New(fleet.NewMemory(), key,
		throttle.Policy{Interval: interval, MaxInterval: interval, Jitter: 0.5}, nothing)
	assert.Equal(t, []string{"MaxInterval", "Jitter"}, problems(err))
	_, err = fleet.New(fleet.NewMemory(), key, throttle.Policy{Interval: -1}, nothing)
	assert.Equal(t, []string{"Interval"}, problems(err))
}

const year = 365 * 24 * time.Hour

// New reports everything that is wrong at once.
func TestNew_Problems(t *testing.T) {
	for _, k := range []string{"", strings.Repeat("k", 513), "\xff", "a\x00b"} {
		var none context.Context
		_, err := fleet.New(nil, k, throttle.Every(-1), nil, nil, fleet.WithContext(none),
			fleet.WithErrorHandler(nil), fleet.WithObserver(nil), fleet.WithTracer(nil),
			fleet.WithLease(0), fleet.WithGuard(0), fleet.WithSlack(0))
		assert.Equal(t, []string{
			"Option", "WithContext", "WithErrorHandler", "WithObserver", "WithTracer", "WithLease", "WithGuard", "WithSlack",
			"Interval", "engine", "callback", "key",
		}, problems(err), "%.10q", k)
	}
	_, err := fleet.New(fleet.NewMemory(), key, throttle.Every(interval), nothing,
		fleet.WithLease(interval), fleet.WithGuard(interval/2))
	assert.Equal(t, []string{"WithLease"}, problems(err))
	_, err = fleet.New(fleet.NewMemory(), key, throttle.Every(interval), nothing,
		fleet.WithLease(100*year+1), fleet.WithGuard(25*year+1), fleet.WithSlack(25*year+1))
	assert.Equal(t, []string{"WithLease", "WithGuard", "WithSlack"}, problems(err))
	require.ErrorContains(t, err, "WithLease 876000h0m0.000000001s: must be from 1ms to 100 years")
	require.ErrorContains(t, err, "WithGuard 219000h0m0.000000001s: must be from 1ms to 25 years")
	_, err = fleet.New(fleet.NewMemory(), key, throttle.Every(interval), nothing,
		fleet.WithLease(100*year), fleet.WithGuard(25*year), fleet.WithSlack(25*year))
	assert.NoError(t, err)
}

// The default guard is a tenth of the interval or of Quiet, within limits.
func TestWithGuard_Default(t *testing.T) {
	for _, c := range []struct{ every, guard time.Duration }{
		{0, 10 * time.Millisecond},
		{time.Millisecond, 10 * time.Millisecond},
		{500 * time.Millisecond, 50 * time.Millisecond},
		{time.Minute, time.Second},
	} {
		inFleet(t, func(r *rig) {
			m := r.member(throttle.Every(c.every), nil)
			require.NoError(r, m.Do(r.Context()))
			require.NoError(r, m.Do(r.Context()))
			times := r.times()
			assert.Equal(r, c.every+c.guard, times[1]-times[0])
		})
	}
}

func TestWithGuard_Default_quiet(t *testing.T) {
	for _, p := range []throttle.Policy{
		{Quiet: 500 * time.Millisecond},
		{Interval: 500 * time.Millisecond, Quiet: 100 * time.Millisecond},
	} {
		inFleet(t, func(r *rig) {
			m := r.member(p, nil)
			require.NoError(r, m.Do(r.Context()))
			assert.Equal(r, p.Interval+50*time.Millisecond, r.state().Span)
		})
	}
}

// Stores count microseconds. The spacing is rounded up.
func TestWithGuard_Rounding(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(1500*time.Nanosecond), nil, fleet.WithGuard(10*time.Millisecond))
		require.NoError(r, m.Do(r.Context()))
		assert.Equal(r, 10*time.Millisecond+2*time.Microsecond, r.state().Span)
	})
}

// The default name is the key.
func TestThrottler_Name(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), nil)
		assert.Equal(r, key, m.Name())
		var seen throttle.Run
		m = r.member(throttle.Every(interval), nil, fleet.WithName("rebuild"),
			fleet.WithObserver(func(run throttle.Run) { seen = run }))
		assert.Equal(r, "rebuild", m.Name())
		require.NoError(r, m.Do(r.Context()))
		assert.Equal(r, []any{"rebuild", 1, throttle.ResultSuccess}, []any{seen.Name, seen.Attempt, seen.Result})
		require.NoError(r, m.Close())
		assert.ErrorContains(r, m.Do(r.Context()), "rebuild")
	})
}

// The callback sees the values of the tracer's context and of the run.
func TestWithTracer(t *testing.T) {
	type mark struct{}
	inFleet(t, func(r *rig) {
		var ended bool
		m := r.member(throttle.Every(interval), func(ctx context.Context) error {
			_, ok := fleet.Token(ctx)
			assert.True(r, ok)
			assert.Equal(r, 1, ctx.Value(mark{}))
			return nil
		}, fleet.WithTracer(func(ctx context.Context, _ throttle.Run, _ []context.Context) (context.Context, func(throttle.Run)) {
			return context.WithValue(ctx, mark{}, 1), func(throttle.Run) { ended = true }
		}))
		require.NoError(r, m.Do(r.Context()))
		assert.True(r, ended)
	})
}

// A slow tracer makes the grant late.
func TestWithTracer_Slow(t *testing.T) {
	inFleet(t, func(r *rig) {
		slow := true
		var observed int
		m := r.member(throttle.Every(interval), nil, fleet.WithGuard(100*time.Millisecond),
			fleet.WithObserver(func(throttle.Run) { observed++ }),
			fleet.WithTracer(func(context.Context, throttle.Run, []context.Context) (context.Context, func(throttle.Run)) {
				if slow {
					slow = false
					time.Sleep(interval / 2)
				}
				return nil, nil
			}))
		require.NoError(r, m.Do(r.Context()))
		assert.Equal(r, []time.Duration{1100 * time.Millisecond}, r.times())
		reported := r.errors()
		require.Len(r, reported, 1)
		require.ErrorIs(r, reported[0], fleet.ErrLate)
		assert.Equal(r, 1, observed)
		stats := m.Stats()
		assert.Equal(r, []uint64{1, 0}, []uint64{stats.Runs, stats.Failures})
	})
}

func TestThrottler_Stats(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), func(context.Context) error {
			time.Sleep(interval / 10)
			return nil
		})
		assert.Equal(r, throttle.Stats{}, m.Stats())
		m.Call()
		r.sleep(time.Millisecond)
		stats := m.Stats()
		assert.Equal(r, []any{true, false, uint64(1)}, []any{stats.Running, stats.Pending, stats.Calls})
		r.sleep(interval / 2)
		m.Call()
		r.sleep(time.Millisecond)
		stats = m.Stats()
		assert.Equal(r, []any{false, true, uint64(2)}, []any{stats.Running, stats.Pending, stats.Calls})
		assert.Equal(r, r.begin.Add(1100*time.Millisecond), stats.Next)
	})
}

// Without a handler, errors are logged.
func TestWithErrorHandler_Default(t *testing.T) {
	var log bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	defer slog.SetDefault(before)
	inFleet(t, func(r *rig) {
		fail := func(context.Context) error { return errBroken }
		m, err := fleet.New(r.store, key, throttle.Every(interval),
			func(ctx context.Context) error { return fail(ctx) }, fleet.WithName("rebuild"))
		require.NoError(r, err)
		m.Call()
		r.sleep(2 * interval)
		assert.Contains(r, log.String(), "level=ERROR")
		assert.Contains(r, log.String(), "name=rebuild error=broken")

		log.Reset()
		fail = func(context.Context) error { panic(errBroken) }
		m.Call()
		r.sleep(2 * interval)
		assert.Contains(r, log.String(), "option_test.go", "the stack")

		log.Reset()
		fail = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		m.Call()
		r.sleep(2 * interval)
		require.NoError(r, m.Close())
		r.sleep(interval)
		assert.Empty(r, log.String(), "an error after Close canceled the context is not logged")
	})
}

// If the context of the only Do has ended, the handler gets the error.
func TestWithErrorHandler_AbandonedDo(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), func(context.Context) error {
			time.Sleep(interval)
			return errBroken
		})
		ctx, cancel := context.WithTimeout(r.Context(), interval/2)
		defer cancel()
		require.ErrorIs(r, m.Do(ctx), context.DeadlineExceeded)
		r.sleep(interval)
		assert.Equal(r, []error{errBroken}, r.errors())
	})
}

// The handler gets a panic with its stack.
func TestWithErrorHandler_Panic(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(interval), func(context.Context) error { panic(errBroken) })
		m.Call()
		r.sleep(interval)
		reported := r.errors()
		require.Len(r, reported, 1)
		var panicked *throttle.PanicError
		require.ErrorAs(r, reported[0], &panicked)
		assert.NotEmpty(r, panicked.Stack)
		require.ErrorIs(r, reported[0], errBroken)
		m.Call()
		r.sleep(10 * time.Second)
		assert.Len(r, r.runs(), 2, "the throttler still works")
	})
}

// A new policy applies from the next grant.
func TestThrottler_SetPolicy(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(10*time.Second), nil, fleet.WithGuard(100*time.Millisecond))
		m.Call()
		r.sleep(100 * time.Millisecond)
		require.NoError(r, m.SetPolicy(throttle.Every(interval)))
		assert.Equal(r, throttle.Every(interval), m.Policy())
		for range 130 {
			m.Call()
			r.sleep(100 * time.Millisecond)
		}
		times := r.times()
		assert.Equal(r, 10100*time.Millisecond, times[1], "spacing of the first grant")
		assert.Equal(r, 1100*time.Millisecond, times[2]-times[1])

		var wrong *throttle.PolicyError
		require.ErrorAs(r, m.SetPolicy(throttle.Policy{Interval: interval, Burst: 2}), &wrong)
		require.NoError(r, m.Close())
		require.ErrorIs(r, m.SetPolicy(throttle.Every(interval)), throttle.ErrClosed)
	})
}

// Throttlers of the same key on different engines are independent.
func TestNew_OtherEngine(t *testing.T) {
	inFleet(t, func(r *rig) {
		a := r.member(throttle.Every(interval), nil)
		r.store = fleet.NewMemory()
		b := r.member(throttle.Every(interval), nil)
		a.Call()
		b.Call()
		r.sleep(100 * time.Millisecond)
		assert.Len(r, r.runs(), 2)
	})
}

// The end of the parent context closes the throttler.
func TestWithContext(t *testing.T) {
	inFleet(t, func(r *rig) {
		ctx, cancel := context.WithCancelCause(r.Context())
		m := r.member(throttle.Every(interval), nil, fleet.WithContext(ctx))
		require.NoError(r, m.Do(r.Context()))
		done := startDo(m)
		r.sleep(10 * time.Millisecond)
		cancel(errBroken)
		err := <-done
		require.ErrorIs(r, err, throttle.ErrClosed)
		require.ErrorIs(r, err, errBroken)
		assert.True(r, m.Stats().Closed)
	})
}

// A tracer that ends its goroutine ends the run before it begins. The grant goes back, so that
// another run does the work at once.
func TestWithTracer_Goexit(t *testing.T) {
	inFleet(t, func(r *rig) {
		broken := true
		var ended []error
		m := r.member(throttle.Every(interval), nil,
			fleet.WithTracer(func(context.Context, throttle.Run, []context.Context) (context.Context, func(throttle.Run)) {
				return nil, func(run throttle.Run) { ended = append(ended, run.Err) }
			}),
			fleet.WithTracer(func(context.Context, throttle.Run, []context.Context) (context.Context, func(throttle.Run)) {
				if broken {
					broken = false
					runtime.Goexit()
				}
				return nil, nil
			}))
		require.NoError(r, m.Do(r.Context()))
		assert.Len(r, r.runs(), 1)
		reported := r.errors()
		require.Len(r, reported, 1)
		require.ErrorIs(r, reported[0], throttle.ErrGoexit)
		require.Len(r, ended, 2)
		require.ErrorIs(r, ended[0], throttle.ErrGoexit)
		require.NoError(r, ended[1])
		assert.Zero(r, m.Counts().Late)
	})
}

// No run begins once the parent context has ended, even if nobody has noticed the end yet.
func TestWithContext_EndedUnnoticed(t *testing.T) {
	inFleet(t, func(r *rig) {
		ctx, cancel := context.WithCancelCause(r.Context())
		m := r.member(throttle.Every(interval), nil, fleet.WithContext(ctx))
		m.link.on(nil, func(_ context.Context, op string) error {
			if op == "claim" {
				cancel(errBroken)
			}
			return nil
		})
		err := m.Do(r.Context())
		require.ErrorIs(r, err, throttle.ErrClosed)
		require.ErrorIs(r, err, errBroken)
		assert.Empty(r, r.runs())
		r.sleep(time.Second)
		assert.Empty(r, r.state().Owner, "the grant went back")
	})
}

func TestThrottler_Counts(t *testing.T) {
	inFleet(t, func(r *rig) {
		replicas := r.members(2, throttle.Every(interval), nil, fleet.RunLocal())
		for range 10 {
			for _, m := range replicas {
				m.Call()
			}
			r.sleep(interval)
		}
		replicas[0].link.cut()
		replicas[0].Call()
		r.sleep(interval)
		replicas[0].link.heal()
		r.sleep(20 * interval)
		var sum fleet.Counts
		var runs uint64
		for _, m := range replicas {
			c := m.Counts()
			assert.EqualValues(r, m.link.claims.Load(), c.Served+c.Granted+c.Deferred+c.Failed, "every claim is answered, or fails")
			sum.Served += c.Served
			sum.Granted += c.Granted
			sum.Deferred += c.Deferred
			sum.LocalRuns += c.LocalRuns
			sum.Failed += c.Failed
			sum.Late += c.Late + c.LostLeases
			runs += m.Stats().Runs
		}
		assert.Equal(r, runs, sum.Granted+sum.LocalRuns)
		assert.EqualValues(r, 1, sum.LocalRuns)
		assert.Positive(r, sum.Served)
		assert.Positive(r, sum.Deferred)
		assert.Positive(r, sum.Failed)
		assert.Zero(r, sum.Late)
		_ = r.errors()
	})
}
