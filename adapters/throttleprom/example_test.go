package throttleprom_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/expfmt"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/adapters/throttleprom"
	"github.com/throttle-go/throttle/fleet"
)

// show prints the metric with the given name in the text format.
func show(c prometheus.Collector, name string) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	for _, family := range families {
		if family.GetName() == name {
			_, err = expfmt.MetricFamilyToText(os.Stdout, family)
		}
	}
	if err != nil {
		fmt.Println(err)
	}
}

func Example() {
	metrics := throttle.Must(throttleprom.New())
	registry := prometheus.NewRegistry() // or the default one: prometheus.MustRegister(metrics)
	registry.MustRegister(metrics)

	reload := throttle.Must(throttle.New(throttle.Every(time.Hour), func() {},
		throttle.WithName("reload"), throttle.WithObserver(metrics.Observe)))
	metrics.Add(reload)
	_ = reload.Do(context.Background())
	reload.Call()

	scrape := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(scrape, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for line := range strings.Lines(scrape.Body.String()) {
		if strings.HasPrefix(line, "throttle_pending") || strings.HasPrefix(line, "throttle_running") {
			fmt.Print(line)
		}
	}
	_ = reload.Close()
	// Output:
	// throttle_pending{throttle="reload"} 1
	// throttle_running{throttle="reload"} 0
}

func ExampleNew() {
	_, err := throttleprom.New(throttleprom.WithClassicBuckets(1, 0.1), throttleprom.WithKeyLabel(nil))
	fmt.Println(err)
	// Output:
	// throttle: WithClassicBuckets [1 0.1]: must be finite, and increase
	// throttle: WithKeyLabel <nil>: must not be nil
}

// Labels for all metrics of a program belong to its registry.
func ExampleMetrics() {
	metrics := throttle.Must(throttleprom.New())
	registry := prometheus.NewRegistry()
	prometheus.WrapRegistererWith(prometheus.Labels{"zone": "eu"}, registry).MustRegister(metrics)
	metrics.Add(throttle.Must(throttle.New(throttle.Every(time.Second), func() {}, throttle.WithName("reload"))))
	families, err := registry.Gather()
	fmt.Println(families[0].GetName(), families[0].GetMetric()[0].GetLabel()[1].GetValue(), err)
	// Output: throttle_calls_dropped_total eu <nil>
}

func ExampleMetrics_Observe() {
	metrics := throttle.Must(throttleprom.New())
	reload := throttle.Must(throttle.New(throttle.Every(time.Hour), func() {},
		throttle.WithName("reload"), throttle.WithObserver(metrics.Observe)))
	_ = reload.Do(context.Background())
	reload.Call()
	_ = reload.Shutdown(context.Background()) // also waits for observers
	show(metrics, "throttle_runs_total")
	// Output:
	// # HELP throttle_runs_total Runs that have ended, by cause and result.
	// # TYPE throttle_runs_total counter
	// throttle_runs_total{cause="call",result="success",throttle="reload"} 1
	// throttle_runs_total{cause="flush",result="success",throttle="reload"} 1
}

// Throttles that come and go share a name.
func ExampleMetrics_Add() {
	metrics := throttle.Must(throttleprom.New())
	session := func(rows ...string) {
		write := throttle.Must(throttle.NewCoalescer(throttle.Debounce(time.Hour, 0), throttle.Batch[string](),
			func(context.Context, []string) error { return nil },
			throttle.WithName("write"), throttle.WithObserver(metrics.Observe)))
		defer metrics.Add(write)() // runs after Shutdown, so no call is missing
		for _, row := range rows {
			_ = write.Call(row)
		}
		_ = write.Shutdown(context.Background())
	}
	session("a", "b")
	session("c")
	show(metrics, "throttle_calls_total")
	// Output:
	// # HELP throttle_calls_total Calls accepted or dropped, if they are counted.
	// # TYPE throttle_calls_total counter
	// throttle_calls_total{throttle="write"} 3
}

// A fleet has metrics of its throttlers and of the engine.
func ExampleMetrics_AddEngine() {
	metrics := throttle.Must(throttleprom.New())
	engine := fleet.NewMemory() // or that of fleetredis or fleetpg
	metrics.AddEngine("index", engine)
	for _, tenant := range []string{"acme", "globex"} {
		t := throttle.Must(fleet.New(engine, tenant, throttle.Every(time.Hour), func(context.Context) error { return nil },
			fleet.WithName("tenants"), fleet.WithObserver(metrics.Observe)))
		defer t.Close()
		metrics.Add(t)
	}
	show(metrics, "throttle_grants_late_total")
	show(metrics, "throttle_engine_throttlers")
	// Output:
	// # HELP throttle_grants_late_total Grants that came too late to be used.
	// # TYPE throttle_grants_late_total counter
	// throttle_grants_late_total{throttle="tenants"} 0
	// # HELP throttle_engine_throttlers Throttlers of this process on the engine that are not closed.
	// # TYPE throttle_engine_throttlers gauge
	// throttle_engine_throttlers{engine="index"} 2
}

func ExampleMetrics_Describe() {
	metrics := throttle.Must(throttleprom.New())
	ch := make(chan *prometheus.Desc, 100)
	metrics.Describe(ch)
	fmt.Println(len(ch))
	// Output: 24
}

func ExampleMetrics_Collect() {
	metrics := throttle.Must(throttleprom.New())
	metrics.Observe(throttle.Run{Name: "reload", Cause: throttle.CauseCall, Result: throttle.ResultSuccess})
	ch := make(chan prometheus.Metric, 100)
	metrics.Collect(ch)
	fmt.Println(len(ch)) // a counter and three histograms
	// Output: 4
}

// Throttles of all kinds in one list.
func ExampleSource() {
	metrics := throttle.Must(throttleprom.New())
	for _, source := range []throttleprom.Source{
		throttle.Must(throttle.New(throttle.Every(time.Second), func() {}, throttle.WithName("reload"))),
		throttle.Must(throttle.NewGroup(throttle.Every(time.Second),
			func(context.Context, int) error { return nil }, throttle.WithName("tenants"))),
	} {
		metrics.Add(source)
	}
	show(metrics, "throttle_pending")
	// Output:
	// # HELP throttle_pending Throttles in which a call waits for its run, or a failed run for its retry.
	// # TYPE throttle_pending gauge
	// throttle_pending{throttle="reload"} 0
	// throttle_pending{throttle="tenants"} 0
}

func ExampleOption() {
	options := []throttleprom.Option{throttleprom.WithClassicBuckets()}
	metrics, err := throttleprom.New(options...)
	fmt.Println(metrics != nil, err)
	// Output: true <nil>
}

func ExampleWithClassicBuckets() {
	metrics := throttle.Must(throttleprom.New(throttleprom.WithClassicBuckets(0.1, 1, 10)))
	started := time.Now()
	metrics.Observe(throttle.Run{
		Name: "reload", Result: throttle.ResultSuccess,
		Due: started, Started: started, Ended: started.Add(2 * time.Second),
	})
	show(metrics, "throttle_run_duration_seconds")
	// Output:
	// # HELP throttle_run_duration_seconds Time from a run's start to its end.
	// # TYPE throttle_run_duration_seconds histogram
	// throttle_run_duration_seconds_bucket{result="success",throttle="reload",le="0.1"} 0
	// throttle_run_duration_seconds_bucket{result="success",throttle="reload",le="1"} 0
	// throttle_run_duration_seconds_bucket{result="success",throttle="reload",le="10"} 1
	// throttle_run_duration_seconds_bucket{result="success",throttle="reload",le="+Inf"} 1
	// throttle_run_duration_seconds_sum{result="success",throttle="reload"} 2
	// throttle_run_duration_seconds_count{result="success",throttle="reload"} 1
}

// There can be any number of tenants, but there are only two plans.
func ExampleWithKeyLabel() {
	plans := map[string]string{"acme": "gold"}
	metrics := throttle.Must(throttleprom.New(throttleprom.WithKeyLabel(func(key any) string {
		if tenant, ok := key.(string); ok && plans[tenant] == "gold" {
			return "gold"
		}
		return "free"
	})))
	refresh := throttle.Must(throttle.NewGroup(throttle.Every(time.Hour),
		func(context.Context, string) error { return nil },
		throttle.WithName("refresh"), throttle.WithObserver(metrics.Observe)))
	for _, tenant := range []string{"acme", "initech", "hooli"} {
		_ = refresh.Do(context.Background(), tenant)
	}
	_ = refresh.Shutdown(context.Background())
	show(metrics, "throttle_runs_total")
	// Output:
	// # HELP throttle_runs_total Runs that have ended, by cause and result.
	// # TYPE throttle_runs_total counter
	// throttle_runs_total{cause="call",key="free",result="success",throttle="refresh"} 2
	// throttle_runs_total{cause="call",key="gold",result="success",throttle="refresh"} 1
}
