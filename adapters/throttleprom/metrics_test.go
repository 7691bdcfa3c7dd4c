package throttleprom_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/adapters/throttleprom"
)

var errFailed = errors.New("scripted failure")

// play runs a fixed script with one throttle of each kind, in fake time that starts in
// 2000. It leaves metrics as they are after 1.4 s.
func play(t *testing.T, metrics *throttleprom.Metrics) {
	t.Helper()
	observed := throttle.WithObserver(metrics.Observe)
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		reload, err := throttle.New(
			throttle.Policy{Interval: time.Second, Retry: throttle.Backoff{Initial: 4 * time.Second}},
			succeedThenFail(), observed, throttle.WithName("reload"), throttle.WithCallCount())
		require.NoError(t, err)
		refresh, err := throttle.NewGroup(throttle.Policy{Interval: time.Second, Edges: throttle.Leading}, panicForSecond,
			observed, throttle.WithName("refresh"), throttle.WithMaxConcurrent(1), throttle.WithErrorHandler(func(error) {}))
		require.NoError(t, err)
		write, err := throttle.NewCoalescer(throttle.Debounce(2*time.Second, 0), throttle.Latest[int](),
			func(context.Context, int) error { return nil }, observed, throttle.WithName("write"), throttle.WithMaxPending(2))
		require.NoError(t, err)
		for _, source := range []throttleprom.Source{reload, refresh, write} {
			metrics.Add(source)
		}

		// One key at a time: the run of secret-2 is 500 ms late.
		require.NoError(t, refresh.Call("secret-1"))
		require.NoError(t, refresh.Call("secret-2"))
		require.NoError(t, refresh.Call("secret-1")) // dropped
		require.NoError(t, write.Call(1))
		require.NoError(t, write.Call(2))
		require.ErrorIs(t, write.Call(3), throttle.ErrFull)
		require.NoError(t, write.Flush(ctx))
		require.NoError(t, write.Call(3)) // its run is due at 2 s
		require.NoError(t, reload.Do(ctx))
		time.Sleep(100 * time.Millisecond)
		reload.Call() // at 350 ms
		time.Sleep(100 * time.Millisecond)
		require.ErrorIs(t, reload.Do(ctx), errFailed) // from 1 s to 1.25 s; its retry is due at 5.25 s
		time.Sleep(150 * time.Millisecond)
		synctest.Wait()
	})
}

// succeedThenFail returns a callback that takes 250 ms. Its first run succeeds, the others fail.
func succeedThenFail() func() error {
	var result error
	return func() error {
		time.Sleep(250 * time.Millisecond)
		defer func() { result = errFailed }()
		return result
	}
}

// panicForSecond is a callback that takes 500 ms and panics for the key secret-2.
func panicForSecond(_ context.Context, key string) error {
	time.Sleep(500 * time.Millisecond)
	if key == "secret-2" {
		panic("scripted panic")
	}
	return nil
}

func TestMetrics_Scrape(t *testing.T) {
	metrics, target := newMetrics(t)
	play(t, metrics)
	require.Equal(t, []string{
		`throttle_batches{throttle="reload"} 0`,
		`throttle_batches{throttle="write"} 1`,
		`throttle_calls_dropped_total{throttle="refresh"} 1`,
		`throttle_calls_dropped_total{throttle="reload"} 0`,
		`throttle_calls_dropped_total{throttle="write"} 0`,
		`throttle_calls_refused_total{throttle="reload"} 0`, // it has no values
		`throttle_calls_refused_total{throttle="write"} 1`,
		`throttle_calls_total{throttle="reload"} 3`,
		`throttle_calls_total{throttle="write"} 3`, // refresh counts no calls
		`throttle_keys{throttle="refresh"} 1`,      // the window of secret-1 is over
		`throttle_next_run_timestamp_seconds{throttle="reload"} 9.4668480525e+08`,
		`throttle_next_run_timestamp_seconds{throttle="write"} 9.46684802e+08`,
		`throttle_pending{throttle="refresh"} 0`,
		`throttle_pending{throttle="reload"} 1`, // a retry
		`throttle_pending{throttle="write"} 1`,
		`throttle_run_duration_seconds_count{result="failure",throttle="reload"} 1`,
		`throttle_run_duration_seconds_count{result="panic",throttle="refresh"} 1`,
		`throttle_run_duration_seconds_count{result="success",throttle="refresh"} 1`,
		`throttle_run_duration_seconds_count{result="success",throttle="reload"} 1`,
		`throttle_run_duration_seconds_count{result="success",throttle="write"} 1`,
		`throttle_run_duration_seconds_sum{result="failure",throttle="reload"} 0.25`,
		`throttle_run_duration_seconds_sum{result="panic",throttle="refresh"} 0.5`,
		`throttle_run_duration_seconds_sum{result="success",throttle="refresh"} 0.5`,
		`throttle_run_duration_seconds_sum{result="success",throttle="reload"} 0.25`,
		`throttle_run_lateness_seconds_count{throttle="refresh"} 2`,
		`throttle_run_lateness_seconds_count{throttle="reload"} 2`,
		`throttle_run_lateness_seconds_count{throttle="write"} 1`,
		`throttle_run_lateness_seconds_sum{throttle="refresh"} 0.5`,
		`throttle_run_lateness_seconds_sum{throttle="reload"} 0`,
		`throttle_run_lateness_seconds_sum{throttle="write"} 0`,
		`throttle_run_wait_seconds_count{throttle="refresh"} 2`,
		`throttle_run_wait_seconds_count{throttle="reload"} 2`,
		`throttle_run_wait_seconds_count{throttle="write"} 1`,
		`throttle_run_wait_seconds_sum{throttle="refresh"} 0.5`,
		`throttle_run_wait_seconds_sum{throttle="reload"} 0.65`, // from 350 ms to 1 s
		`throttle_run_wait_seconds_sum{throttle="write"} 0`,
		`throttle_running{throttle="refresh"} 0`,
		`throttle_running{throttle="reload"} 0`,
		`throttle_running{throttle="write"} 0`,
		`throttle_runs_total{cause="call",result="failure",throttle="reload"} 1`,
		`throttle_runs_total{cause="call",result="panic",throttle="refresh"} 1`,
		`throttle_runs_total{cause="call",result="success",throttle="refresh"} 1`,
		`throttle_runs_total{cause="call",result="success",throttle="reload"} 1`,
		`throttle_runs_total{cause="flush",result="success",throttle="write"} 1`,
		`throttle_values{throttle="reload"} 0`,
		`throttle_values{throttle="write"} 1`,
	}, without(inMilliseconds(t, target.lines(t)), func(line string) bool {
		return isOfNoRun(line) || strings.Contains(line, `le="+Inf"`) // repeats the histogram's count
	}))
}

// inMilliseconds rounds the times in lines to milliseconds. The lines are read outside of
// the bubble. There, the wall clock may be set while the monotonic clock goes on, so a time
// computed from both differs a little from what it was in the bubble.
func inMilliseconds(t *testing.T, lines []string) []string {
	t.Helper()
	for i, line := range lines {
		series, value, _ := strings.Cut(line, " ")
		if strings.HasPrefix(series, "throttle_next_run_timestamp_seconds") {
			seconds, err := strconv.ParseFloat(value, 64)
			require.NoError(t, err)
			lines[i] = fmt.Sprint(series, " ", math.Round(seconds*1000)/1000)
		}
	}
	return lines
}

// isOfNoRun reports whether line counts runs of which there were none.
func isOfNoRun(line string) bool {
	ofRuns := strings.HasPrefix(line, "throttle_runs_total") || strings.HasPrefix(line, "throttle_run_duration_seconds")
	return ofRuns && strings.HasSuffix(line, " 0")
}

func TestMetrics_NativeHistograms(t *testing.T) {
	metrics, target := newMetrics(t)
	play(t, metrics)
	families := target.families(t)
	for name, wants := range map[string]map[string]native{
		"throttle_run_duration_seconds": {
			"success reload": {sum: 0.25, from: -16, counts: []int64{1}},
			"failure reload": {sum: 0.25, from: -16, counts: []int64{1}},
			"success write":  {zero: 1},
		},
		"throttle_run_lateness_seconds": {"refresh": {sum: 0.5, zero: 1, from: -8, counts: []int64{1}}},
		"throttle_run_wait_seconds":     {"reload": {sum: 0.65, zero: 1, from: -4, counts: []int64{1}}},
	} {
		for _, metric := range families[name].GetMetric() {
			var labels []string
			for _, label := range metric.GetLabel() {
				labels = append(labels, label.GetValue())
			}
			of := strings.Join(labels, " ")
			if want, ok := wants[of]; ok {
				got := metric.GetHistogram()
				require.Equal(t, want, nativeOf(got), "%s of %s", name, of)
				require.EqualValues(t, 3, got.GetSchema(), "8 buckets from one power of two to the next")
				require.Empty(t, got.GetBucket(), "classic buckets without WithClassicBuckets")
				delete(wants, of)
			}
		}
		require.Empty(t, wants, name)
	}
}

// A native is the content of a native histogram: counts in adjacent buckets. With schema 3,
// bucket i ranges from 2^((i-1)/8) to 2^(i/8).
type native struct {
	sum    float64
	zero   uint64
	from   int32
	counts []int64
}

func nativeOf(h *dto.Histogram) native {
	n := native{sum: h.GetSampleSum(), zero: h.GetZeroCount()}
	var count int64
	for i, delta := range h.GetPositiveDelta() {
		if i == 0 {
			n.from = h.GetPositiveSpan()[0].GetOffset()
		}
		count += delta
		n.counts = append(n.counts, count)
	}
	return n
}

// However widely the values are spread, a histogram has at most 160 buckets.
func TestMetrics_HistogramSize(t *testing.T) {
	for _, test := range []struct {
		name  string
		after time.Duration
		wider bool // buckets
	}{
		{"wider buckets", time.Hour - time.Second, true},
		{"new start after an hour", time.Hour, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			metrics, target := newMetrics(t)
			synctest.Test(t, func(*testing.T) {
				for took := time.Nanosecond; took < 1<<60; took += took/10 + 1 {
					metrics.Observe(throttle.Run{Name: "spread", Ended: time.Time{}.Add(took)})
				}
				time.Sleep(test.after)
				synctest.Wait()
				metrics.Observe(throttle.Run{Name: "spread"})
			})
			got := target.families(t)["throttle_run_duration_seconds"].GetMetric()[0].GetHistogram()
			require.Equal(t, test.wider, got.GetSchema() < 3)
			require.LessOrEqual(t, len(got.GetPositiveDelta()), 160)
		})
	}
}

func TestWithClassicBuckets(t *testing.T) {
	metrics, target := newMetrics(t, throttleprom.WithClassicBuckets(0.1, 0.25, 1))
	play(t, metrics)
	const name = "throttle_run_duration_seconds"
	const bucket = name + `_bucket{result="success",throttle="reload"`
	require.Equal(t, []string{
		bucket + `,le="+Inf"} 1`, bucket + `,le="0.1"} 0`, bucket + `,le="0.25"} 1`, bucket + `,le="1"} 1`,
	}, only(target.lines(t), bucket))
	for _, metric := range target.families(t)[name].GetMetric() {
		require.NotNil(t, metric.GetHistogram().Schema)
		require.Len(t, metric.GetHistogram().GetBucket(), 3)
	}
}

func TestWithClassicBuckets_Defaults(t *testing.T) {
	metrics, target := newMetrics(t, throttleprom.WithClassicBuckets())
	play(t, metrics)
	for _, metric := range target.families(t)["throttle_run_lateness_seconds"].GetMetric() {
		buckets := metric.GetHistogram().GetBucket()
		require.Len(t, buckets, 22)
		require.InDelta(t, 0.0001, buckets[0].GetUpperBound(), 0)
		require.InDelta(t, 1000, buckets[21].GetUpperBound(), 0)
	}
}

func TestMetrics_KeysAreHidden(t *testing.T) {
	metrics, target := newMetrics(t)
	play(t, metrics)
	_, body, err := target.get(text)
	require.NoError(t, err)
	require.Contains(t, body, `throttle="refresh"`)
	require.NotContains(t, body, "secret")
	require.NotContains(t, body, "key=")
}

func TestWithKeyLabel(t *testing.T) {
	class := func(key any) string { return fmt.Sprint("class of ", key) } // not called for runs without a key
	metrics, target := newMetrics(t, throttleprom.WithKeyLabel(class))
	play(t, metrics)
	lines := target.lines(t)
	require.Equal(t, []string{
		`throttle_run_duration_seconds_count{key="class of secret-1",result="success",throttle="refresh"} 1`,
		`throttle_run_duration_seconds_count{key="class of secret-2",result="panic",throttle="refresh"} 1`,
	}, only(lines, `throttle_run_duration_seconds_count{key="c`))
	require.Equal(t, []string{
		`throttle_run_wait_seconds_count{key="",throttle="reload"} 2`,
		`throttle_run_wait_seconds_count{key="",throttle="write"} 1`,
		`throttle_run_wait_seconds_count{key="class of secret-1",throttle="refresh"} 1`,
		`throttle_run_wait_seconds_count{key="class of secret-2",throttle="refresh"} 1`,
	}, only(lines, "throttle_run_wait_seconds_count"))
	require.Equal(t, []string{
		`throttle_runs_total{cause="call",key="class of secret-1",result="success",throttle="refresh"} 1`,
		`throttle_runs_total{cause="call",key="class of secret-2",result="panic",throttle="refresh"} 1`,
	}, without(only(lines, "throttle_runs_total"), func(line string) bool { return !strings.Contains(line, "refresh") }))
	require.Equal(t, []string{`throttle_keys{throttle="refresh"} 1`}, only(lines, "throttle_keys"))
}

func TestMetrics_NoWaitWithoutCall(t *testing.T) {
	metrics, target := newMetrics(t)
	synctest.Test(t, func(t *testing.T) {
		poll, err := throttle.New(throttle.Policy{MaxInterval: time.Second}, func() {},
			throttle.WithName("poll"), throttle.WithObserver(metrics.Observe))
		require.NoError(t, err)
		defer poll.Close()
		time.Sleep(time.Second)
		synctest.Wait()
		require.EqualValues(t, 1, poll.Stats().Runs)
	})
	lines := target.lines(t)
	require.Contains(t, lines, `throttle_runs_total{cause="interval",result="success",throttle="poll"} 1`)
	require.Contains(t, lines, `throttle_run_lateness_seconds_count{throttle="poll"} 1`)
	require.Contains(t, lines, `throttle_run_wait_seconds_count{throttle="poll"} 0`)
}

func TestMetrics_RealTime(t *testing.T) {
	metrics, target := newMetrics(t)
	var running string
	save, err := throttle.New(throttle.Every(time.Hour), func() (err error) {
		_, running, err = target.get(text)
		return err
	}, throttle.WithName("save"), throttle.WithObserver(metrics.Observe))
	require.NoError(t, err)
	metrics.Add(save)
	require.NoError(t, save.Do(t.Context()))
	require.Contains(t, running, `throttle_running{throttle="save"} 1`)
	save.Call()
	require.Contains(t, target.lines(t), `throttle_pending{throttle="save"} 1`)
	require.NoError(t, save.Shutdown(t.Context())) // also waits for the observers
	lines := target.lines(t)
	require.Contains(t, lines, `throttle_runs_total{cause="call",result="success",throttle="save"} 1`)
	require.Contains(t, lines, `throttle_runs_total{cause="flush",result="success",throttle="save"} 1`)
	require.Contains(t, lines, `throttle_run_duration_seconds_count{result="success",throttle="save"} 2`)
	require.Contains(t, lines, `throttle_pending{throttle="save"} 0`)
	require.Contains(t, lines, `throttle_running{throttle="save"} 0`)
	require.Empty(t, only(lines, "throttle_next_run_timestamp_seconds"))
}

func TestMetrics_Lint(t *testing.T) {
	for _, opts := range [][]throttleprom.Option{nil, {throttleprom.WithClassicBuckets()}} {
		metrics, target := newMetrics(t, opts...)
		play(t, metrics)
		addFleet(metrics)
		problems, err := testutil.GatherAndLint(target.registry)
		require.NoError(t, err)
		require.Empty(t, problems)
	}
}

func TestMetrics_InvalidUTF8(t *testing.T) {
	metrics, target := newMetrics(t, throttleprom.WithKeyLabel(func(key any) string { return fmt.Sprint(key) }))
	hostile, err := throttle.NewGroup(throttle.Every(time.Hour), func(context.Context, string) error { return nil },
		throttle.WithName("re\xffload\"\n"), throttle.WithObserver(metrics.Observe))
	require.NoError(t, err)
	defer hostile.Close()
	metrics.Add(hostile)
	require.NoError(t, hostile.Do(t.Context(), "acme\xfe"))
	require.NoError(t, hostile.Shutdown(t.Context()))
	metrics.Observe(throttle.Run{Name: "made up", Cause: "\xff", Result: "\xff"})
	lines := target.lines(t)
	require.Contains(t, lines, `throttle_keys{throttle="re�load\"\n"} 0`)
	require.Contains(t, lines, `throttle_runs_total{cause="call",key="acme�",result="success",throttle="re�load\"\n"} 1`)
	require.Contains(t, lines, `throttle_runs_total{cause="�",key="",result="�",throttle="made up"} 1`)
}

// The caller may change the bounds after the call.
func TestWithClassicBuckets_CopiesBounds(t *testing.T) {
	bounds := []float64{0.1, 1}
	option := throttleprom.WithClassicBuckets(bounds...)
	bounds[0] = 0.2
	metrics, target := newMetrics(t, option)
	bounds[0] = 0.3
	metrics.Observe(throttle.Run{Name: "new"})
	for name, family := range target.families(t) {
		if name != "throttle_runs_total" {
			require.InDelta(t, 0.1, family.GetMetric()[0].GetHistogram().GetBucket()[0].GetUpperBound(), 0, name)
		}
	}
}

func TestNew_Problems(t *testing.T) {
	metrics, err := throttleprom.New(
		nil,
		throttleprom.WithClassicBuckets(1, 1),
		throttleprom.WithClassicBuckets(2, 1),
		throttleprom.WithClassicBuckets(math.NaN()),
		throttleprom.WithClassicBuckets(1, math.Inf(1)),
		throttleprom.WithKeyLabel(nil),
	)
	require.Nil(t, metrics)
	require.EqualError(t, err, `throttle: Option <nil>: must not be nil
throttle: WithClassicBuckets [1 1]: must be finite, and increase
throttle: WithClassicBuckets [2 1]: must be finite, and increase
throttle: WithClassicBuckets [NaN]: must be finite, and increase
throttle: WithClassicBuckets [1 +Inf]: must be finite, and increase
throttle: WithKeyLabel <nil>: must not be nil`)
	var problem *throttle.PolicyError
	require.ErrorAs(t, err, &problem)
}
