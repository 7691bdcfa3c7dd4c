package fleet_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet"
)

// This file holds tests of what New is given.

func nothing(context.Context) error { return nil }

// problems returns the fields that err finds wrong.
func problems(err error) (fields []string) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			fields = append(fields, problems(e)...)
		}
		return fields
	}
	if wrong, ok := errors.AsType[*throttle.PolicyError](err); ok {
		fields = append(fields, wrong.Field)
	}
	return fields
}

func TestNewRefusesWhatDoesNotWorkAcrossAFleet(t *testing.T) {
	for field, p := range map[string]throttle.Policy{
		"Burst":       {Interval: interval, Burst: 2},
		"Quiet":       {Quiet: interval},
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
	assert.Equal(t, []string{"Quiet", "MaxWait", "MaxCalls"}, problems(err))
	_, err = fleet.New(fleet.NewMemory(), key, throttle.Policy{Interval: -1}, nothing)
	assert.Equal(t, []string{"Interval"}, problems(err))
}

func TestNewReportsAllThatIsWrong(t *testing.T) {
	for _, k := range []string{"", strings.Repeat("k", 513), "\xff", "a\x00b"} {
		var none context.Context
		_, err := fleet.New(nil, k, throttle.Every(-1), nil, nil, fleet.WithContext(none),
			fleet.WithErrorHandler(nil), fleet.WithObserver(nil), fleet.WithTracer(nil),
			fleet.WithLease(0), fleet.WithGuard(0))
		assert.Equal(t, []string{
			"Option", "WithContext", "WithErrorHandler", "WithObserver", "WithTracer", "WithLease", "WithGuard",
			"Interval", "engine", "callback", "key",
		}, problems(err), "%.10q", k)
	}
	_, err := fleet.New(fleet.NewMemory(), key, throttle.Every(interval), nothing,
		fleet.WithLease(interval), fleet.WithGuard(interval/2))
	assert.Equal(t, []string{"WithLease"}, problems(err))
}

func TestTheGuardIsATenthOfTheInterval(t *testing.T) {
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

// Stores count microseconds.
func TestTheSpacingIsNotRoundedDown(t *testing.T) {
	inFleet(t, func(r *rig) {
		m := r.member(throttle.Every(1500*time.Nanosecond), nil, fleet.WithGuard(10*time.Millisecond))
		require.NoError(r, m.Do(r.Context()))
		assert.Equal(r, 10*time.Millisecond+2*time.Microsecond, r.store.State(key).Span)
	})
}

func TestTheNameIsTheKeyByDefault(t *testing.T) {
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

func TestTracersNestInTheRunsContext(t *testing.T) {
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

func TestATracerThatTakesLongMakesTheGrantLate(t *testing.T) {
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
		told := r.errors()
		require.Len(r, told, 1)
		require.ErrorIs(r, told[0], fleet.ErrLate)
		assert.Equal(r, 1, observed)
		stats := m.Stats()
		assert.Equal(r, []uint64{1, 0}, []uint64{stats.Runs, stats.Failures})
	})
}

func TestStatsTellWhatIsPending(t *testing.T) {
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

// It stands in for the default log.
func TestErrorsWithoutAHandlerAreLogged(t *testing.T) {
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
		assert.Contains(r, log.String(), "new_test.go", "the stack")

		log.Reset()
		fail = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		m.Call()
		r.sleep(2 * interval)
		require.NoError(r, m.Close())
		r.sleep(interval)
		assert.Empty(r, log.String(), "the callback did as it was told")
	})
}
