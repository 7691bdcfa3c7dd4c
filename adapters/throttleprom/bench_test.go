package throttleprom_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/adapters/throttleprom"
	"github.com/throttle-go/throttle/fleet"
)

// aRun returns a run that waited for a second and was a millisecond late.
func aRun() throttle.Run {
	asked := time.Now()
	return throttle.Run{
		Name: "refresh", Key: "acme", Cause: throttle.CauseCall, Result: throttle.ResultSuccess, Asked: asked,
		Due: asked.Add(time.Second), Started: asked.Add(time.Second + time.Millisecond), Ended: asked.Add(time.Minute),
	}
}

func TestMetrics_ObserveAllocs(t *testing.T) {
	metrics := throttle.Must(throttleprom.New(throttleprom.WithKeyLabel(evenOrOdd)))
	run := aRun()
	require.Zero(t, testing.AllocsPerRun(100, func() { metrics.Observe(run) })) // AllocsPerRun makes a warm-up call first
}

// The cost of a scrape with ten thousand throttlers of a fleet, which have one name.
func BenchmarkCollect(b *testing.B) {
	metrics, engine := throttle.Must(throttleprom.New()), fleet.NewMemory()
	metrics.AddEngine("memory", engine)
	for i := range 10_000 {
		replica, err := fleet.New(engine, strconv.Itoa(i), throttle.Every(time.Hour), func(context.Context) error { return nil },
			fleet.WithName("tenants"), fleet.WithObserver(metrics.Observe))
		require.NoError(b, err)
		defer replica.Close()
		metrics.Add(replica)
	}
	registry := prometheus.NewRegistry()
	require.NoError(b, registry.Register(metrics))
	b.ReportAllocs()
	for b.Loop() {
		_, err := registry.Gather()
		require.NoError(b, err)
	}
}

func BenchmarkObserve(b *testing.B) {
	for _, bench := range []struct {
		name string
		opts []throttleprom.Option
	}{
		{"native", nil},
		{"classic too", []throttleprom.Option{throttleprom.WithClassicBuckets()}},
		{"by key", []throttleprom.Option{throttleprom.WithKeyLabel(evenOrOdd)}},
	} {
		metrics := throttle.Must(throttleprom.New(bench.opts...))
		run := aRun()
		b.Run(bench.name+"/one core", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				metrics.Observe(run)
			}
		})
		b.Run(bench.name+"/all cores", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					metrics.Observe(run)
				}
			})
		})
	}
}
