package main

import (
	"context"
	"fmt"
	"time"

	"github.com/graph-gophers/dataloader/v7"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/throttle-go/throttle"
)

// The comparisons of this file take batches from the first call to the last answer. Both
// sides get the same limits.

// window is how long a batch that is not full waits. In these comparisons all are full.
const window = 5 * time.Second

func fullAtOnce(size int) throttle.Policy {
	return throttle.Policy{Quiet: window, MaxWait: window, MaxCalls: size}
}

// compareExport compares a Coalescer with OpenTelemetry's batch processor of spans. Each
// turn hands over spans, which wait while the queue is full, until all are exported.
func compareExport(e effort) ([]result, error) {
	const batch, queue, turn = 512, 2048, 1 << 14 // the processor's own sizes
	ctx := context.Background()
	span := tracetest.SpanStub{SpanContext: trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}, TraceFlags: trace.FlagsSampled,
	})}.Snapshot()

	var ours, theirs spanCount
	c, err := throttle.NewCoalescer(fullAtOnce(batch), throttle.Batch[sdktrace.ReadOnlySpan](), ours.ExportSpans,
		throttle.WithMaxPending(queue))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	processor := sdktrace.NewBatchSpanProcessor(&theirs, sdktrace.WithBlocking(), sdktrace.WithBatchTimeout(window),
		sdktrace.WithMaxQueueSize(queue), sdktrace.WithMaxExportBatchSize(batch))
	defer func() { _ = processor.Shutdown(ctx) }()

	var failed error
	export := func(handOver func(), flush func(context.Context) error, count *spanCount) task {
		return timed(func(n int) {
			before := count.exported
			for range n {
				handOver()
			}
			if err := flush(ctx); err != nil {
				failed = err
			}
			if made := count.exported - before; made != n {
				failed = fmt.Errorf("%d of %d spans were exported", made, n)
			}
		})
	}
	results := pair{
		ours:  export(func() { _ = c.Send(ctx, span) }, c.Flush, &ours),
		peer:  export(func() { processor.OnEnd(span) }, processor.ForceFlush, &theirs),
		cores: 1,
		batch: turn,
	}.compare(e)
	return results, failed
}

// A spanCount is an exporter that counts the spans.
type spanCount struct{ exported int }

func (s *spanCount) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	s.exported += len(spans)
	return nil
}

func (*spanCount) Shutdown(context.Context) error { return nil }

// compareLoad compares a Coalescer, whose values carry a channel for the answer, with a
// dataloader that keeps no answers. Each turn asks for a batch of numbers and waits for all
// their answers, again and again.
func compareLoad(e effort) ([]result, error) {
	const batch, turn = 100, 2000
	ctx := context.Background()
	type question struct {
		key    int
		answer chan int
	}
	c, err := throttle.NewCoalescer(fullAtOnce(batch), throttle.Batch[question](), func(_ context.Context, all []question) error {
		for _, q := range all {
			q.answer <- -q.key
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	loader := dataloader.NewBatchedLoader(func(_ context.Context, keys []int) []*dataloader.Result[int] {
		answers := make([]*dataloader.Result[int], len(keys))
		for i, key := range keys {
			answers[i] = &dataloader.Result[int]{Data: -key}
		}
		return answers
	}, dataloader.WithCache(&dataloader.NoCache[int, int]{}), dataloader.WithWait[int, int](window),
		dataloader.WithBatchCapacity[int, int](batch))

	var failed error
	load := func(ask func(key int) (answer func() (int, error))) task {
		return timed(func(n int) {
			answers := make([]func() (int, error), batch)
			for range n / batch {
				for key := range answers {
					answers[key] = ask(key)
				}
				for key, answer := range answers {
					switch got, err := answer(); {
					case err != nil:
						failed = err
					case got != -key:
						failed = fmt.Errorf("key %d got the answer %d", key, got)
					}
				}
			}
		})
	}
	results := pair{
		ours: load(func(key int) func() (int, error) {
			q := question{key, make(chan int, 1)}
			err := c.Send(ctx, q)
			return func() (int, error) {
				if err != nil {
					return 0, err
				}
				return <-q.answer, nil
			}
		}),
		peer:  load(func(key int) func() (int, error) { return loader.Load(ctx, key) }),
		cores: 1,
		batch: turn,
	}.compare(e)
	return results, failed
}
