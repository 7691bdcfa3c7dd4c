package throttledebug_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/throttledebug"
)

func TestThrottler_Life(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var recorder throttledebug.Recorder
		results := []error{nil, fmt.Errorf("load: %w", errFailed), nil}
		reload := newThrottler(t, throttle.Every(time.Second), func() error {
			time.Sleep(100 * ms)
			result := results[0]
			results = results[1:]
			return result
		}, throttle.WithName("reload"), throttle.WithCallCount(), throttle.WithObserver(recorder.Observe))
		show := []throttledebug.Option{throttledebug.Throttler(reload), throttledebug.Runs(&recorder)}
		begin := time.Now().UTC()
		pass := func(d time.Duration) throttledebug.Throttle {
			time.Sleep(d)
			synctest.Wait()
			return lookAt(t, show...)
		}

		want := throttledebug.Throttle{
			Kind: "throttler", Name: "reload", Policy: "at most once per 1s",
			Status: throttledebug.Status{State: throttledebug.Idle},
		}
		assert.Equal(t, want, lookAt(t, show...))

		reload.Call()
		want.Status = throttledebug.Status{State: throttledebug.Running, LastStart: begin}
		want.Runs, want.Calls = 1, 1
		assert.Equal(t, want, pass(50*ms))

		reload.Call()
		first := throttledebug.Run{
			Cause: "call", Attempt: 1, Asked: begin, Due: begin, Started: begin, Ended: begin.Add(100 * ms),
			Duration: 0.1, Calls: 1, Result: "success",
		}
		want.Status = throttledebug.Status{State: throttledebug.Waiting, LastStart: begin, Next: begin.Add(time.Second)}
		want.Calls, want.Duration, want.Recent = 2, 0.1, []throttledebug.Run{first}
		assert.Equal(t, want, pass(50*ms))

		second := begin.Add(time.Second)
		want.Status = throttledebug.Status{State: throttledebug.Idle, LastStart: second}
		want.Runs, want.Failures = 2, 1
		want.Recent = append(want.Recent, throttledebug.Run{
			Cause: "call", Attempt: 1, Asked: begin.Add(50 * ms), Due: second, Started: second, Ended: second.Add(100 * ms),
			Duration: 0.1, Calls: 1, Result: "failure", Error: "load: failed",
		})
		want.Failure = &throttledebug.Failure{
			Message: "load: failed", Type: "*fmt.wrapError", At: second.Add(100 * ms),
			Causes: []throttledebug.Cause{{Message: "failed", Type: "*errors.errorString"}},
		}
		assert.Equal(t, want, pass(time.Second))

		reload.Call()
		got := pass(time.Second)
		want.Failure.Recovered = true
		assert.Equal(t, want.Failure, got.Failure, "a later run that does not fail")
		assert.Len(t, got.Recent, 3)

		require.NoError(t, reload.Close())
		assert.Equal(t, throttledebug.Closed, pass(0).State)
	})
}

func TestHandler_Now(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(1234567 * time.Nanosecond)
		page := look(t, "")
		assert.Equal(t, time.Now().Round(ms).UTC(), page.Now)
		assert.NotNil(t, page.Throttles, "an empty list in JSON")
		assert.Contains(t, html(t), "There is nothing to show")
	})
}

// The time of the next run is what has passed from one reading of the clock to
// another, which differs by less than a ms.
func TestThrottler_TimesAreStable(t *testing.T) {
	reload := newThrottler(t, throttle.Every(time.Hour), func() {})
	require.NoError(t, reload.Do(t.Context()))
	reload.Call()
	first := lookAt(t, throttledebug.Throttler(reload))
	for range 100 {
		again := lookAt(t, throttledebug.Throttler(reload))
		assert.WithinDuration(t, first.Next, again.Next, ms)
		assert.Zero(t, again.Next.Nanosecond()%1e6)
		assert.Zero(t, again.LastStart.Nanosecond()%1e6)
	}
}

func TestThrottler_States(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		reload := newThrottler(t, throttle.Debounce(time.Second, 0), func() { <-release })
		state := func() throttledebug.State {
			synctest.Wait()
			return lookAt(t, throttledebug.Throttler(reload)).State
		}
		assert.Equal(t, throttledebug.Idle, state())
		reload.Call()
		assert.Equal(t, throttledebug.Waiting, state())
		reload.Pause()
		assert.Equal(t, throttledebug.Paused, state())
		assert.Zero(t, lookAt(t, throttledebug.Throttler(reload)).Next, "only Resume decides")
		reload.Resume()
		time.Sleep(time.Second)
		assert.Equal(t, throttledebug.Running, state())
		reload.Call()
		assert.Equal(t, throttledebug.Running, state(), "a call waits as well")
		require.NoError(t, reload.Close())
		assert.Equal(t, throttledebug.Running, state(), "its last run is active")
		close(release)
		assert.Equal(t, throttledebug.Closed, state())
	})
}

func TestHandler_Kinds(t *testing.T) {
	throttler := newThrottler(t, throttle.Every(time.Hour), func() {}, throttle.WithName("one"))
	group := newGroup[int](t, throttle.Every(time.Hour), throttle.WithName("many"))
	coalescer := throttle.Must(throttle.NewCoalescer(throttle.Debounce(time.Hour, 0), throttle.Latest[int](),
		func(context.Context, int) error { return nil }, throttle.WithName("values"), quietly()))
	t.Cleanup(func() { coalescer.Close() })
	require.NoError(t, coalescer.Call(1))
	keyed := newKeyed(t, throttle.Debounce(time.Hour, 0), func(context.Context, string, []int) error { return nil }, throttle.WithName("rows"))

	page := look(t, "", throttledebug.Coalescer(coalescer), throttledebug.Group(group), throttledebug.Keyed(keyed),
		throttledebug.Throttler(throttler), throttledebug.Throttler(throttler))
	var got []string
	for _, throttle := range page.Throttles {
		got = append(got, throttle.Kind+" "+throttle.Name+" "+string(throttle.State))
		assert.Equal(t, throttle.Kind == "group" || throttle.Kind == "keyed coalescer", throttle.Keys != nil)
	}
	assert.Equal(t, []string{
		"coalescer values waiting", "group many idle", "keyed coalescer rows idle", "throttler one idle", "throttler one idle",
	}, got)
}

func TestHandler_Nil(t *testing.T) {
	page := look(t, "", nil, throttledebug.Throttler(nil), throttledebug.Group[int](nil),
		throttledebug.Coalescer[int, int](nil), throttledebug.Keyed[int, int, int](nil))
	assert.Empty(t, page.Throttles)
	assert.Empty(t, lookAt(t, throttledebug.Throttler(newThrottler(t, throttle.Policy{}, func() {})), throttledebug.Runs(nil)).Recent)
}

func TestRuns_Names(t *testing.T) {
	var one, other throttledebug.Recorder
	show := []throttledebug.Option{throttledebug.Runs(&one), throttledebug.Runs(&other)}
	for i, name := range []string{"a", "b", ""} {
		observed := &one
		if i == 1 {
			observed = &other
		}
		throttler := newThrottler(t, throttle.Policy{}, func() {}, throttle.WithName(name), throttle.WithObserver(observed.Observe))
		for range i + 1 {
			require.NoError(t, throttler.Do(t.Context()))
		}
		require.NoError(t, throttler.Shutdown(t.Context()))
		show = append(show, throttledebug.Throttler(throttler))
	}
	for i, throttle := range look(t, "", show...).Throttles {
		assert.Len(t, throttle.Recent, i+1)
	}
}

// With several Recorders, the last one that knows a name is used for it.
func TestRuns_SeveralRecorders(t *testing.T) {
	var failing, fine throttledebug.Recorder
	failing.Observe(finished("", errFailed))
	fine.Observe(finished("", nil))
	part := throttledebug.Throttler(newThrottler(t, throttle.Policy{}, func() {}))
	twice := lookAt(t, part, throttledebug.Runs(&failing), throttledebug.Runs(&failing))
	assert.True(t, twice.Failure.Recovered)
	assert.NotNil(t, lookAt(t, part, throttledebug.Runs(&fine), throttledebug.Runs(&failing)).Failure)
	both := lookAt(t, part, throttledebug.Runs(&failing), throttledebug.Runs(&fine))
	assert.Nil(t, both.Failure)
	assert.Equal(t, "success", both.Recent[0].Result)
}

// A Recorder gets a run before the run counts as ended. The page shows such a run once.
func TestRuns_SlowObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var recorder throttledebug.Recorder
		reload := newThrottler(t, throttle.Policy{}, func() error {
			time.Sleep(time.Second)
			return errFailed
		}, throttle.WithObserver(recorder.Observe), throttle.WithObserver(func(throttle.Run) { time.Sleep(time.Hour) }))
		reload.Call()
		time.Sleep(time.Minute)
		got := lookAt(t, throttledebug.Throttler(reload), throttledebug.Runs(&recorder))
		assert.Equal(t, throttledebug.Running, got.State)
		assert.Empty(t, got.Recent)
		assert.False(t, got.Failure.Recovered)
		time.Sleep(time.Hour)
		synctest.Wait()
		got = lookAt(t, throttledebug.Throttler(reload), throttledebug.Runs(&recorder))
		assert.Len(t, got.Recent, 1)
		assert.False(t, got.Failure.Recovered)
	})
}

func TestThrottler_HTML(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var recorder throttledebug.Recorder
		reload := newThrottler(t, throttle.Policy{Interval: time.Second, Edges: throttle.Leading}, func() {
			time.Sleep(1234 * time.Microsecond)
			panic("at the disco")
		}, throttle.WithObserver(recorder.Observe), throttle.WithCallCount())
		show := []throttledebug.Option{throttledebug.Throttler(reload), throttledebug.Runs(&recorder)}
		assert.Contains(t, html(t, show...), "<i>no name</i>")
		assert.Regexp(t, `<div hidden><dt>calls</dt>`, html(t, show...))
		reload.Call()
		reload.Call()
		synctest.Wait()
		assert.Contains(t, html(t, show...), `<section id="part-0" class="running" data-kind="throttler">`)
		time.Sleep(time.Second)
		page := html(t, show...)
		for _, text := range []string{
			`<span class="state" data-field="state">idle</span>`,
			`<dd data-field="runs">1</dd>`,
			`<dd data-field="failures">1, panics: 1</dd>`,
			`<div><dt>calls dropped</dt><dd data-field="dropped">1</dd></div>`,
			`<div><dt>calls</dt><dd data-field="calls">2</dd></div>`,
			`<dd data-field="took">1.23ms</dd>`,
			`<p class="message" dir="auto">throttle: callback panicked: at the disco</p>`,
			`<p class="type">*throttle.PanicError, 2000-01-01 00:00:00.001 UTC</p>`,
			`<details><summary>stack</summary><pre>goroutine `,
			`<td>call</td><td>0s</td><td>1.23ms</td><td><div dir="auto">panic: throttle: callback panicked: at the disco</div></td>`,
		} {
			assert.Contains(t, page, text)
		}
		assert.NotContains(t, page, "next run due")
	})
}

func TestCoalescer_Values(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rows := throttle.Must(throttle.NewCoalescer(throttle.Policy{Quiet: time.Hour, MaxCalls: 2}, throttle.Batch[int](),
			func(context.Context, []int) error { return nil }, throttle.WithMaxPending(3)))
		defer rows.Close()
		rows.Pause()
		defer rows.Cancel()
		show := throttledebug.Coalescer(rows)
		page := html(t, show)
		assert.Contains(t, page, `<div><dt>values waiting</dt><dd data-field="values">0</dd></div>`)
		assert.Contains(t, page, `<div hidden><dt>calls refused</dt>`)

		for i := range 5 {
			err := rows.Call(i)
			assert.Equal(t, i >= 3, errors.Is(err, throttle.ErrFull), err)
		}
		got := lookAt(t, show)
		assert.Equal(t, 2, got.Batches)
		assert.Equal(t, 3, got.Values)
		assert.EqualValues(t, 2, got.Refused)
		page = html(t, show)
		assert.Contains(t, page, `<div><dt>values waiting</dt><dd data-field="values">3, batches: 2</dd></div>`)
		assert.Contains(t, page, `<div><dt>calls refused</dt><dd data-field="refused">2</dd></div>`)
	})
}

func TestThrottler_NoValues(t *testing.T) {
	reload := newThrottler(t, throttle.Debounce(time.Hour, 0), func() {})
	reload.Call()
	show := throttledebug.Throttler(reload)
	page := html(t, show)
	assert.Contains(t, page, `<div hidden><dt>values waiting</dt>`)
	assert.Contains(t, page, `<div hidden><dt>calls refused</dt>`)
	answer := get(t, throttledebug.Handler(show), "?format=json").Body.String()
	for _, field := range []string{`"refused"`, `"batches"`, `"values"`} {
		assert.NotContains(t, answer, field)
	}
}

func TestThrottler_NextRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reload := newThrottler(t, throttle.Every(time.Minute), func() { time.Sleep(time.Second) })
		reload.Call()
		reload.Call()
		due := time.Now().UTC().Add(time.Minute)
		synctest.Wait()
		stamp := fmt.Sprintf(` <time datetime=%q data-at="%d">%s UTC</time>`, due.Format("2006-01-02T15:04:05.000Z07:00"), due.UnixMilli(), due.Format("15:04:05.000"))
		assert.Contains(t, html(t, throttledebug.Throttler(reload)), "next run, at the earliest,"+stamp)
		time.Sleep(time.Second)
		synctest.Wait()
		assert.Contains(t, html(t, throttledebug.Throttler(reload)), "next run due"+stamp)
	})
}

func TestRuns_LatestFirst(t *testing.T) {
	var recorder throttledebug.Recorder
	for i := range 12 {
		run := throttle.Run{Cause: throttle.CauseCall, Attempt: i + 1, Started: time.Unix(int64(i), 0), Ended: time.Unix(int64(i), 0)}
		recorder.Observe(run)
	}
	page := html(t, throttledebug.Throttler(newThrottler(t, throttle.Policy{}, func() {})), throttledebug.Runs(&recorder))
	var attempts []string
	for _, found := range regexp.MustCompile(`, attempt (\d+)</td>`).FindAllStringSubmatch(page, -1) {
		attempts = append(attempts, found[1])
	}
	assert.Equal(t, []string{"12", "11", "10", "9", "8", "7", "6", "5", "4", "3"}, attempts)
}

func TestRuns_DurationsHaveThreeDigits(t *testing.T) {
	var recorder throttledebug.Recorder
	throttler := newThrottler(t, throttle.Policy{}, func() {})
	for took, text := range map[string]string{
		"123ns": "123ns", "1234ns": "1.2µs", "12345ns": "12.3µs", "123456ns": "120µs", "1234567ns": "1.23ms", "12345678ns": "12.3ms", "123456789ns": "123ms",
		"1.23456s": "1.23s", "12.3456s": "12.3s", "83.456s": "1m23s", "3h0m1s": "3h", "3h59m40s": "4h", "1h30m0.6s": "1h30m", "0s": "0s", "-1.23456s": "-1.23s",
	} {
		d, err := time.ParseDuration(took)
		require.NoError(t, err)
		now := time.Now()
		recorder.Observe(throttle.Run{Started: now, Ended: now.Add(d), Result: throttle.ResultSuccess})
		assert.Contains(t, html(t, throttledebug.Throttler(throttler), throttledebug.Runs(&recorder)), "<td>"+text+"</td>", took)
	}
}

// Text that others choose is never markup, and always UTF-8.
func TestHandler_Escapes(t *testing.T) {
	const hostile = `"'><script>alert(1)</script><img src=x onerror=alert(1)>` + "\xff\x00\u2028"
	var recorder throttledebug.Recorder
	group := throttle.Must(throttle.NewGroup(throttle.Every(time.Hour), func(context.Context, string) error {
		return fmt.Errorf("%s: %w", hostile, errFailed)
	}, throttle.WithName(hostile), throttle.WithObserver(recorder.Observe), quietly()))
	t.Cleanup(func() { group.Close() })
	require.Error(t, group.Do(t.Context(), hostile))
	require.NoError(t, group.Flush(t.Context(), hostile)) // returns after the run was observed
	show := []throttledebug.Option{throttledebug.Group(group), throttledebug.Runs(&recorder), throttledebug.Actions()}

	got := look(t, "&q0=%3Cscript", show...).Throttles[0]
	shown := strings.ToValidUTF8(hostile, "\uFFFD")
	assert.Equal(t, shown, got.Name)
	assert.Equal(t, shown, got.Keys.First[0].Key)
	require.Len(t, got.Recent, 1)
	assert.Equal(t, shown, got.Recent[0].Key)
	assert.Equal(t, shown+": failed", got.Failure.Message)

	page := get(t, throttledebug.Handler(show...), "?q0=%3Cscript").Body.String()
	assert.Equal(t, 1, strings.Count(page, "<script"))
	assert.NotContains(t, page, "<img")
	assert.Equal(t, page, strings.ToValidUTF8(page, "?"))
	assert.GreaterOrEqual(t, strings.Count(page, "&lt;script&gt;alert(1)"), 6)
	assert.Contains(t, page, `value="&lt;script"`)
}
