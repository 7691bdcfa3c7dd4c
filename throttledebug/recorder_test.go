package throttledebug_test

import (
	"errors"
	"fmt"
	"math/big"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/throttledebug"
)

// finished returns a finished run of name with the error err.
func finished(name string, err error) throttle.Run {
	result := throttle.ResultSuccess
	if err != nil {
		result = throttle.ResultFailure
	}
	now := time.Now()
	return throttle.Run{Name: name, Cause: throttle.CauseCall, Attempt: 1, Due: now, Started: now, Ended: now, Result: result, Err: err}
}

// recorded returns what the page shows of name with recorder.
func recorded(t *testing.T, recorder *throttledebug.Recorder, name string) throttledebug.Throttle {
	t.Helper()
	return lookAt(t, throttledebug.Throttler(newThrottler(t, throttle.Policy{}, func() {}, throttle.WithName(name))), throttledebug.Runs(recorder))
}

// failureOf returns the Failure that the page shows for err.
func failureOf(t *testing.T, err error) *throttledebug.Failure {
	t.Helper()
	var recorder throttledebug.Recorder
	recorder.Observe(finished("", err))
	return recorded(t, &recorder, "").Failure
}

func TestRecorder(t *testing.T) {
	var recorder throttledebug.Recorder
	assert.Empty(t, recorded(t, &recorder, "a").Recent)
	named := newThrottler(t, throttle.Policy{}, func() {}, throttle.WithName("a"))
	handler := throttledebug.Handler(throttledebug.Throttler(named), throttledebug.Runs(&recorder))
	for attempt := 1; attempt <= 200; attempt++ {
		run := finished("a", nil)
		run.Attempt = attempt
		recorder.Observe(run)
		recent := decode(t, handler, "").Throttles[0].Recent
		require.Len(t, recent, min(attempt, 64))
		for i, run := range recent {
			require.Equal(t, attempt-len(recent)+1+i, run.Attempt)
		}
	}
}

func TestRecorder_Times(t *testing.T) {
	var recorder throttledebug.Recorder
	at := func(i int) time.Time { return time.Unix(1, int64(i)*1e6+499_999) }
	run := finished("", errFailed)
	run.Asked, run.Due, run.Started, run.Ended = at(1), at(2), at(3), at(4)
	recorder.Observe(run)
	got := recorded(t, &recorder, "")
	recent := got.Recent[0]
	for i, got := range []time.Time{recent.Asked, recent.Due, recent.Started, recent.Ended} {
		assert.Equal(t, time.Unix(1, int64(i+1)*1e6).UTC(), got.UTC())
	}
	assert.Equal(t, recent.Ended, got.Failure.At)
	assert.InDelta(t, 0.001, recent.Duration, 0)
}

func TestRecorder_Names(t *testing.T) {
	var recorder throttledebug.Recorder
	begin := time.Now()
	observe := func(second int, name string) {
		run := finished(name, nil)
		run.Started, run.Ended = begin.Add(time.Duration(second)*time.Second), begin.Add(time.Duration(second)*time.Second)
		recorder.Observe(run)
	}
	for i := range 128 {
		observe(i, strconv.Itoa(i))
	}
	observe(200, "0")
	observe(201, "new")
	observe(202, "0")
	assert.Len(t, recorded(t, &recorder, "0").Recent, 3)
	assert.Empty(t, recorded(t, &recorder, "1").Recent)
	assert.Len(t, recorded(t, &recorder, "2").Recent, 1)
	assert.Len(t, recorded(t, &recorder, "new").Recent, 1)
}

func TestRecorder_LastFailure(t *testing.T) {
	var recorder throttledebug.Recorder
	recorder.Observe(finished("a", errors.New("first")))
	recorder.Observe(finished("a", errors.New("second")))
	retry := finished("a", throttle.RetryIn(time.Second))
	retry.Result = throttle.ResultRetryIn
	recorder.Observe(retry)
	for range 100 {
		recorder.Observe(finished("a", nil))
	}
	failure := recorded(t, &recorder, "a").Failure
	require.NotNil(t, failure)
	assert.Equal(t, "second", failure.Message)
	assert.True(t, failure.Recovered)
}

// A Recorder may not have seen the last failure in Stats. The page then shows that failure.
func TestRecorder_MissedFailure(t *testing.T) {
	var recorder throttledebug.Recorder
	recorder.Observe(finished("", errors.New("before")))
	reload := newThrottler(t, throttle.Policy{}, func() error { return errFailed })
	require.Error(t, reload.Do(t.Context()))
	assert.Equal(t, &throttledebug.Failure{Message: "failed", Type: "*errors.errorString"},
		lookAt(t, throttledebug.Throttler(reload), throttledebug.Runs(&recorder)).Failure)
	assert.Equal(t, "failed", lookAt(t, throttledebug.Throttler(reload)).Failure.Message)
}

func TestThrottler_RetryInIsNotAFailure(t *testing.T) {
	failure := func(callback func() error) *throttledebug.Failure {
		reload := newThrottler(t, throttle.Policy{}, callback)
		require.Error(t, reload.Do(t.Context()))
		return lookAt(t, throttledebug.Throttler(reload)).Failure
	}
	again := fmt.Errorf("busy: %w", throttle.RetryIn(time.Hour))
	assert.Nil(t, failure(func() error { return again }))
	assert.NotNil(t, failure(func() error { return &worst{} }))
	assert.NotNil(t, failure(func() error { panic(again) }))
}

// A worst is an error whose As method panics the second time. The Throttler calls it first.
type worst struct{ asked bool }

func (*worst) Error() string { return "worst" }

func (w *worst) As(any) bool {
	if w.asked {
		panic("asked again")
	}
	w.asked = true
	return false
}

func TestFailure_Causes(t *testing.T) {
	inner := fmt.Errorf("read: %w", errFailed)
	failure := failureOf(t, fmt.Errorf("load: %w", errors.Join(inner, nil, &throttle.PanicError{Value: "boom", Stack: []byte("at \xff")})))
	assert.Equal(t, "load: read: failed\nthrottle: callback panicked: boom", failure.Message)
	assert.Equal(t, "at \uFFFD", failure.Stack)
	var causes []string
	for _, cause := range failure.Causes {
		causes = append(causes, cause.Type+" "+strings.ReplaceAll(cause.Message, "\n", "|"))
	}
	assert.Equal(t, []string{
		"*errors.joinError read: failed|throttle: callback panicked: boom",
		"*fmt.wrapError read: failed",
		"*errors.errorString failed",
		"*throttle.PanicError throttle: callback panicked: boom",
	}, causes)
}

// An odd is an error whose methods may panic or run in circles.
type odd struct{ wrapped []error }

func (o *odd) Error() string   { return o.wrapped[0].Error() }
func (o *odd) Unwrap() []error { return o.wrapped }

// A worse is an error that panics with a value that also panics when it is printed.
type worse struct{}

func (worse) Error() string { panic(worse{}) }

func TestFailure_MisbehavingErrors(t *testing.T) {
	assert.Equal(t, &throttledebug.Failure{Message: "<nil>", Type: "*throttledebug_test.odd"}, withoutTime(failureOf(t, (*odd)(nil))))
	assert.Contains(t, failureOf(t, &odd{}).Message, "PANIC=Error method: runtime error: index out of range")
	assert.Equal(t, "throttledebug_test.worse", failureOf(t, worse{}).Type)
	assert.Empty(t, failureOf(t, (*throttle.PanicError)(nil)).Stack)
	outer := &throttle.PanicError{Value: &throttle.PanicError{Stack: []byte("inner")}, Stack: []byte("outer")}
	assert.Equal(t, "outer", failureOf(t, outer).Stack)

	endless := &odd{wrapped: []error{errFailed}}
	for range 5 {
		endless.wrapped = append(endless.wrapped, endless)
	}
	assert.Len(t, failureOf(t, endless).Causes, 16)

	wide := &odd{wrapped: make([]error, 100)}
	for i := range wide.wrapped {
		wide.wrapped[i] = errFailed
	}
	assert.Len(t, failureOf(t, wide).Causes, 16)
}

func withoutTime(f *throttledebug.Failure) *throttledebug.Failure {
	f.At, f.Recovered = time.Time{}, false
	return f
}

func TestFailure_LongTexts(t *testing.T) {
	for lead := range 4 {
		long := strings.Repeat("x", lead) + strings.Repeat("€", 1000)
		message := failureOf(t, errors.New(long)).Message
		cut, ok := strings.CutSuffix(message, "…")
		require.True(t, ok)
		assert.True(t, strings.HasPrefix(long, cut))
		assert.True(t, utf8.ValidString(message))
		assert.InDelta(t, 1024, len(cut), 3)
	}
	exact := strings.Repeat("x", 1024)
	assert.Equal(t, exact, failureOf(t, errors.New(exact)).Message)
	assert.LessOrEqual(t, len(failureOf(t, errors.New(strings.Repeat("\x80", 5000))).Message), 1024+6)
	stack := failureOf(t, &throttle.PanicError{Stack: []byte(strings.Repeat("x", 1<<20))}).Stack
	assert.Len(t, stack, 16<<10+len("…"))
}

func TestRecorder_Keys(t *testing.T) {
	number, three := 3, twin(3)
	for _, test := range []struct {
		key  any
		text string
	}{
		{"a", "a"},
		{7, "7"},
		{struct{ A, B int }{1, 2}, "{1 2}"},
		{three, "twin"},
		{&three, "twin"},
		{&net.AddrError{Err: "bad", Addr: "x"}, "address x: bad"},
		{big.NewRat(1, 2), "1/2"},
		{big.NewFloat(1.5), "1.5"},
		{&number, fmt.Sprintf("%p", &number)}, // the number may be changing
		{struct{}{}, "{}"},
	} {
		var recorder throttledebug.Recorder
		run := finished("", errFailed)
		run.Key = test.key
		recorder.Observe(run)
		got := recorded(t, &recorder, "")
		assert.Equal(t, test.text, got.Recent[0].Key)
		assert.Equal(t, test.text, got.Failure.Key)
	}
}

func TestRecorder_Concurrent(t *testing.T) {
	var recorder throttledebug.Recorder
	show := []throttledebug.Option{throttledebug.Runs(&recorder)}
	group := newGroup[int](t, throttle.Policy{}, throttle.WithName("g"), throttle.WithObserver(recorder.Observe))
	show = append(show, throttledebug.Group(group))
	handler := throttledebug.Handler(show...)
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for i := range 200 {
				_ = group.Call(i % 10)
				recorder.Observe(finished(strconv.Itoa(g*200+i), errFailed))
			}
		})
		recorder.Observe(finished("g", errFailed)) // later runs recover from it
		all.Go(func() {
			for range 20 {
				get(t, handler, []string{"", "?format=json"}[g%2])
			}
		})
	}
	all.Wait()
	require.NoError(t, group.Shutdown(t.Context()))
	assert.Positive(t, group.Stats().Runs)
}
