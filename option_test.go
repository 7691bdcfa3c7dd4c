package throttle_test

import (
	"bytes"
	"context"
	"runtime/pprof"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
)

func TestNew_callbacks(t *testing.T) {
	runs := 0
	build := map[string]func() (*throttle.Throttler, error){
		"func()": func() (*throttle.Throttler, error) { return throttle.New(throttle.Policy{}, func() { runs++ }) },
		"func() error": func() (*throttle.Throttler, error) {
			return throttle.New(throttle.Policy{}, func() error { runs++; return errFailed })
		},
		"func(context.Context) error": func() (*throttle.Throttler, error) {
			return throttle.New(throttle.Policy{}, func(ctx context.Context) error { runs++; return ctx.Err() })
		},
		"a named type": func() (*throttle.Throttler, error) {
			return throttle.New(throttle.Policy{}, context.CancelFunc(func() { runs++ }))
		},
		"a named type with a context": func() (*throttle.Throttler, error) {
			type reload func(context.Context) error
			return throttle.New(throttle.Policy{}, reload(func(ctx context.Context) error { runs++; return ctx.Err() }))
		},
	}
	for name, build := range build {
		t.Run(name, func(t *testing.T) {
			throttler, err := build()
			require.NoError(t, err)
			var want error
			if name == "func() error" {
				want = errFailed
			}
			runs = 0
			require.Equal(t, want, throttler.Do(t.Context()))
			require.Equal(t, want, throttler.Do(t.Context()))
			require.Equal(t, 2, runs)
			require.NoError(t, throttler.Shutdown(t.Context()))
		})
	}
}

func TestNew_errors(t *testing.T) {
	var noContext context.Context
	options := []throttle.Option{
		nil, throttle.WithName("reload"), throttle.WithContext(noContext), throttle.WithErrorHandler(nil), throttle.WithObserver(nil), throttle.WithTracer(nil),
	}
	refused := []string{"Interval", "Option", "Quiet", "WithContext", "WithErrorHandler", "WithObserver", "WithTracer", "callback"}
	policy := throttle.Policy{Interval: -1, Quiet: -1}

	_, err := throttle.New(policy, (func())(nil), options...)
	require.Equal(t, refused, refusals(t, err))
	require.Contains(t, err.Error(), "throttle: reload: Interval -1ns: must not be negative\n")
	require.Contains(t, err.Error(), "throttle: reload: callback <nil>: must not be nil")

	_, err = throttle.New(policy, context.CancelFunc(nil), options...)
	require.Equal(t, refused, refusals(t, err))
	throttler, err := throttle.New(policy, (func() error)(nil), options...)
	require.Equal(t, refused, refusals(t, err))
	require.Nil(t, throttler)
	_, err = throttle.New(policy, (func(context.Context) error)(nil), options...)
	require.Equal(t, refused, refusals(t, err))
	_, err = throttle.New(throttle.Policy{}, (func())(nil))
	require.Equal(t, []string{"callback"}, refusals(t, err))
}

func TestMust(t *testing.T) {
	require.Equal(t, 7, throttle.Must(7, nil))
	require.PanicsWithError(t, errFailed.Error(), func() { throttle.Must(7, errFailed) })
}

func TestNew_startsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		throttler := r.throttler(t, throttle.Every(time.Second))
		require.Equal(t, throttle.Stats{}, throttler.Stats())
		require.Equal(t, throttle.Every(time.Second), throttler.Policy())
		r.until(10_000)
		require.Empty(t, r.started())
	})
}

func TestWithContext_values(t *testing.T) {
	type key struct{}
	var got any
	throttler := throttle.Must(throttle.New(throttle.Policy{}, func(ctx context.Context) error {
		got = ctx.Value(key{})
		return nil
	}, throttle.WithContext(context.WithValue(t.Context(), key{}, "value"))))
	require.NoError(t, throttler.Do(t.Context()))
	require.Equal(t, "value", got)
	require.NoError(t, throttler.Close())
}

// TestWithName_labels also checks that the goroutine does not keep the labels of the
// goroutine that started it.
func TestWithName_labels(t *testing.T) {
	for name, options := range map[string][]throttle.Option{"": nil, "labelled throttler": {throttle.WithName("another"), throttle.WithName("labelled throttler")}} {
		t.Run(name, func(t *testing.T) {
			var profile bytes.Buffer
			throttler := throttle.Must(throttle.New(throttle.Policy{}, func() error {
				return pprof.Lookup("goroutine").WriteTo(&profile, 1)
			}, options...))
			called := make(chan struct{})
			go pprof.Do(t.Context(), pprof.Labels("caller", "label of the caller"), func(context.Context) {
				throttler.Call()
				close(called)
			})
			<-called
			require.NoError(t, throttler.Shutdown(t.Context()))
			var labelled bool
			for block := range bytes.SplitSeq(profile.Bytes(), []byte("\n\n")) {
				if bytes.Contains(block, []byte("(*Throttler).invoke")) { // not of an earlier run that is about to end
					labelled = labelled || bytes.Contains(block, []byte(`"throttle":"labelled throttler"`))
					require.NotContains(t, string(block), "label of the caller")
				}
			}
			require.Equal(t, name != "", labelled)
		})
	}
}
