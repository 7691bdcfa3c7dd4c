// Package tracing tests how runs appear in an execution trace of runtime/trace.
package tracing_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	runtimetrace "runtime/trace"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/exp/trace"

	"github.com/throttle-go/throttle"
)

// A task is a task in a trace.
type task struct {
	kind    string
	parent  string   // kind of the parent task
	regions []string // regions that start and end in it
	logs    []string
	ended   bool
}

// record traces a call of during and returns its tasks, in order.
func record(t *testing.T, during func()) []task {
	t.Helper()
	var recorded bytes.Buffer
	require.NoError(t, runtimetrace.Start(&recorded))
	during()
	runtimetrace.Stop()

	reader, err := trace.NewReader(&recorded)
	require.NoError(t, err)
	var tasks []task
	indices := make(map[trace.TaskID]int)
	for {
		event, err := reader.ReadEvent()
		if errors.Is(err, io.EOF) {
			return tasks
		}
		require.NoError(t, err)
		switch event.Kind() { //nolint:exhaustive // other events do not concern tasks
		case trace.EventTaskBegin:
			began := task{kind: event.Task().Type}
			if parent, ok := indices[event.Task().Parent]; ok {
				began.parent = tasks[parent].kind
			}
			indices[event.Task().ID] = len(tasks)
			tasks = append(tasks, began)
		case trace.EventTaskEnd:
			tasks[indices[event.Task().ID]].ended = true
		case trace.EventRegionEnd:
			of := &tasks[indices[event.Region().Task]]
			of.regions = append(of.regions, event.Region().Type)
		case trace.EventLog:
			of := &tasks[indices[event.Log().Task]]
			of.logs = append(of.logs, event.Log().Category+": "+event.Log().Message)
		}
	}
}

// Each run is a task with a region of its goroutine, which includes the logs of the callback.
func TestTask(t *testing.T) {
	build := func(callback func(context.Context) error, opts ...throttle.Option) *throttle.Throttler {
		return throttle.Must(throttle.New(throttle.Policy{}, callback, opts...))
	}
	logs := func(ctx context.Context) error {
		runtimetrace.Log(ctx, "callback", "here")
		return nil
	}
	tests := map[string]struct {
		throttler *throttle.Throttler
		kind      string
		logs      []string
	}{
		"callback with a context": {build(logs, throttle.WithName("reload")), "throttle: reload", []string{"cause: call", "callback: here"}},
		"callback without": {
			throttle.Must(throttle.New(throttle.Policy{}, func() {}, throttle.WithName("reload"))),
			"throttle: reload", []string{"cause: call"},
		},
		"callback without a name":    {build(logs), "throttle", []string{"cause: call", "callback: here"}},
		"callback that panics":       {build(func(context.Context) error { panic("scripted") }), "throttle", []string{"cause: call"}},
		"callback that calls Goexit": {build(func(context.Context) error { runtime.Goexit(); return nil }), "throttle", []string{"cause: call"}},
		"traced callback": {
			build(logs, throttle.WithTracer(func(ctx context.Context, _ throttle.Run, _ []context.Context) (context.Context, func(throttle.Run)) {
				return ctx, func(throttle.Run) {}
			})),
			"throttle", []string{"cause: call", "callback: here"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_ = test.throttler.Do(t.Context())
			tasks := record(t, func() {
				_ = test.throttler.Do(t.Context())
				_ = test.throttler.Do(t.Context())
			})
			want := task{kind: test.kind, regions: []string{"run"}, logs: test.logs, ended: true}
			require.Equal(t, []task{want, want}, tasks)
			require.NoError(t, test.throttler.Shutdown(t.Context()))
		})
	}
}

// The task of a run is a child of the task in the throttler's parent context.
func TestTask_Parent(t *testing.T) {
	tasks := record(t, func() {
		ctx, outer := runtimetrace.NewTask(t.Context(), "outer")
		throttler := throttle.Must(throttle.New(throttle.Policy{}, func() {}, throttle.WithContext(ctx)))
		_ = throttler.Do(t.Context())
		outer.End()
	})
	require.Len(t, tasks, 2)
	require.Equal(t, "throttle", tasks[1].kind)
	require.Equal(t, "outer", tasks[1].parent)
}
