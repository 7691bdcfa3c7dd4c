package throttleotel_test

import (
	"context"
	"fmt"
	"slices"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// printSpans prints the finished spans with their parents and links.
func printSpans(exporter *tracetest.InMemoryExporter) {
	spans := exporter.GetSpans()
	name := func(of trace.SpanContext) string {
		i := slices.IndexFunc(spans, func(s tracetest.SpanStub) bool { return s.SpanContext.SpanID() == of.SpanID() })
		return spans[i].Name
	}
	for _, span := range spans {
		fmt.Print(span.Name)
		if span.Parent.IsValid() {
			fmt.Print(", child of ", name(span.Parent))
		}
		for _, link := range span.Links {
			fmt.Print(", linked to ", name(link.SpanContext))
		}
		if span.Status.Description != "" {
			fmt.Print(": ", span.Status.Description)
		}
		fmt.Println()
	}
}

// printMetrics prints all sums. It leaves out histograms.
func printMetrics(reader sdkmetric.Reader) {
	var all metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &all); err != nil {
		fmt.Println(err)
	}
	for _, scope := range all.ScopeMetrics {
		for _, metric := range scope.Metrics {
			if sum, ok := metric.Data.(metricdata.Sum[int64]); ok {
				for _, point := range sum.DataPoints {
					fmt.Print(metric.Name, " ", point.Value)
					for _, attribute := range point.Attributes.ToSlice() {
						fmt.Print(" ", attribute.Key, "=", attribute.Value.String())
					}
					fmt.Println()
				}
			}
		}
	}
}
