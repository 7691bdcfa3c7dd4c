package throttleotel_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/adapters/throttleotel"
	"github.com/throttle-go/throttle/fleet"
)

// The examples keep spans and metrics in memory. Any exporter works in their place.
func Example() {
	spans, metrics := tracetest.NewInMemoryExporter(), sdkmetric.NewManualReader()
	defer setGlobalProviders(metrics, spans)()

	telemetry, err := throttleotel.New()
	if err != nil {
		fmt.Println(err)
		return
	}
	load := func(ctx context.Context) error {
		_, span := otel.Tracer("example").Start(ctx, "read file")
		defer span.End()
		return errors.New("no such file")
	}
	reload := throttle.Must(throttle.New(throttle.Every(time.Second), load,
		throttle.WithName("reload"), throttle.WithTracer(telemetry.Trace)))
	telemetry.Add(reload)

	ctx, request := otel.Tracer("example").Start(context.Background(), "request")
	_ = reload.Do(ctx)
	request.End()

	_ = reload.Shutdown(ctx)
	printSpans(spans)
	printMetrics(metrics)
	// Unordered output:
	// read file, child of throttle.run reload
	// request
	// throttle.run reload, linked to request: no such file
	// throttle.runs 1 throttle.cause=call throttle.name=reload throttle.result=failure
	// throttle.call.dropped 0 throttle.name=reload
	// throttle.pending 0 throttle.name=reload
	// throttle.running 0 throttle.name=reload
}

func ExampleNew() {
	_, err := throttleotel.New(throttleotel.WithMeterProvider(nil))
	fmt.Println(err)
	// Output: throttle: WithMeterProvider <nil>: must not be nil
}

// Only spans.
func ExampleWithMeterProvider() {
	spans := tracetest.NewInMemoryExporter()
	telemetry := throttle.Must(throttleotel.New(
		throttleotel.WithMeterProvider(metricnoop.NewMeterProvider()),
		throttleotel.WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)))))
	reload := throttle.Must(throttle.New(throttle.Every(time.Second), func() {}, throttle.WithTracer(telemetry.Trace)))
	reload.Call()
	_ = reload.Shutdown(context.Background())
	printSpans(spans)
	// Output: throttle.run
}

// Only metrics.
func ExampleWithTracerProvider() {
	metrics := sdkmetric.NewManualReader()
	telemetry := throttle.Must(throttleotel.New(
		throttleotel.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(metrics))),
		throttleotel.WithTracerProvider(tracenoop.NewTracerProvider())))
	reload := throttle.Must(throttle.New(throttle.Every(time.Second), func() {}, throttle.WithTracer(telemetry.Trace)))
	reload.Call()
	_ = reload.Shutdown(context.Background())
	printMetrics(metrics)
	// Output: throttle.runs 1 throttle.cause=call throttle.result=success
}

func ExampleWithKeys() {
	spans := tracetest.NewInMemoryExporter()
	telemetry := throttle.Must(throttleotel.New(throttleotel.WithKeys(),
		throttleotel.WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)))))
	refresh := throttle.Must(throttle.NewGroup(throttle.Every(time.Second),
		func(context.Context, string) error { return nil }, throttle.WithTracer(telemetry.Trace)))
	_ = refresh.Call("tenant-7")
	_ = refresh.Shutdown(context.Background())
	for _, attribute := range spans.GetSpans()[0].Attributes {
		if attribute.Key == "throttle.key" {
			fmt.Println(attribute.Value.AsString())
		}
	}
	// Output: tenant-7
}

func ExampleOption() {
	options := []throttleotel.Option{
		throttleotel.WithMeterProvider(otel.GetMeterProvider()),
		throttleotel.WithTracerProvider(otel.GetTracerProvider()),
	}
	_, err := throttleotel.New(options...)
	fmt.Println(err)
	// Output: <nil>
}

// One Telemetry serves all throttles.
func ExampleTelemetry() {
	metrics := sdkmetric.NewManualReader()
	telemetry := throttle.Must(throttleotel.New(
		throttleotel.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(metrics)))))
	reload := throttle.Must(throttle.New(throttle.Every(time.Second), func() {},
		throttle.WithName("reload"), throttle.WithTracer(telemetry.Trace)))
	batch := throttle.Must(throttle.NewCoalescer(throttle.Every(time.Second), throttle.Batch[string](),
		func(context.Context, []string) error { return nil }, throttle.WithName("batch"), throttle.WithTracer(telemetry.Trace)))
	reload.Call()
	_ = batch.Call("a")
	_ = reload.Shutdown(context.Background())
	_ = batch.Shutdown(context.Background())
	printMetrics(metrics)
	// Unordered output:
	// throttle.runs 1 throttle.cause=call throttle.name=reload throttle.result=success
	// throttle.runs 1 throttle.cause=call throttle.name=batch throttle.result=success
}

func ExampleTelemetry_Trace() {
	spans := tracetest.NewInMemoryExporter()
	telemetry := throttle.Must(throttleotel.New(
		throttleotel.WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)))))
	save := throttle.Must(throttle.New(throttle.Every(time.Second), func() {},
		throttle.WithName("save"), throttle.WithTracer(telemetry.Trace)))
	save.Call()
	_ = save.Shutdown(context.Background())
	printSpans(spans)
	// Output: throttle.run save
}

func ExampleTelemetry_Add() {
	metrics := sdkmetric.NewManualReader()
	telemetry := throttle.Must(throttleotel.New(
		throttleotel.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(metrics)))))
	tenants := throttle.Must(throttle.NewGroup(throttle.Debounce(time.Hour, 0),
		func(context.Context, string) error { return nil },
		throttle.WithName("tenants"), throttle.WithCallCount()))
	defer telemetry.Add(tenants)()
	defer tenants.Close()

	for _, tenant := range []string{"a", "b", "a"} {
		_ = tenants.Call(tenant)
	}
	printMetrics(metrics)
	// Output:
	// throttle.calls 3 throttle.name=tenants
	// throttle.call.dropped 0 throttle.name=tenants
	// throttle.call.refused 0 throttle.name=tenants
	// throttle.pending 1 throttle.name=tenants
	// throttle.running 0 throttle.name=tenants
	// throttle.key.count 2 throttle.name=tenants
	// throttle.value.count 0 throttle.name=tenants
	// throttle.batch.count 0 throttle.name=tenants
}

// A fleet has metrics of its throttlers and of the engine.
func ExampleTelemetry_AddEngine() {
	metrics := sdkmetric.NewManualReader()
	telemetry := throttle.Must(throttleotel.New(
		throttleotel.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(metrics)))))
	engine := fleet.NewMemory() // or that of fleetredis or fleetpg
	defer telemetry.AddEngine("index", engine)()
	for _, tenant := range []string{"acme", "globex"} {
		t := throttle.Must(fleet.New(engine, tenant, throttle.Every(time.Hour), func(context.Context) error { return nil },
			fleet.WithName("tenants"), fleet.WithTracer(telemetry.Trace)))
		defer t.Close()
		defer telemetry.Add(t)()
	}
	printMetrics(metrics)
	// Unordered output:
	// throttle.call.dropped 0 throttle.name=tenants
	// throttle.pending 0 throttle.name=tenants
	// throttle.running 0 throttle.name=tenants
	// throttle.claims 0 throttle.name=tenants throttle.verdict=served
	// throttle.claims 0 throttle.name=tenants throttle.verdict=granted
	// throttle.claims 0 throttle.name=tenants throttle.verdict=deferred
	// throttle.message.failed 0 throttle.name=tenants
	// throttle.grant.late 0 throttle.name=tenants
	// throttle.run.local 0 throttle.name=tenants
	// throttle.lease.lost 0 throttle.name=tenants
	// throttle.engine.throttler.count 2 throttle.engine=index
	// throttle.engine.message.in_flight 0 throttle.engine=index
	// throttle.engine.message.waiting 0 throttle.engine=index
	// throttle.engine.unreachable 0 throttle.engine=index
}

// Throttles of all kinds in one list.
func ExampleSource() {
	sources := []throttleotel.Source{
		throttle.Must(throttle.New(throttle.Every(time.Second), func() {}, throttle.WithName("reload"))),
		throttle.Must(throttle.NewGroup(throttle.Every(time.Second),
			func(context.Context, int) error { return nil }, throttle.WithName("tenants"))),
	}
	for _, source := range sources {
		fmt.Println(source.Name(), source.Stats().Runs)
	}
	// Output:
	// reload 0
	// tenants 0
}
