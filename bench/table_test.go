package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/bench/internal/measure"
)

// sample returns a report with one line of each kind.
func sample() report {
	return report{
		Machine: measure.Machine{CPU: "CPU", Cores: 4, Procs: 2, Platform: "linux/amd64", Go: "go1.26.8", Date: "2026-11-24"},
		Command: "go run .",
		Sections: []section{{
			Name: "call", Title: "A call & more", Notes: []string{"one", "two"},
			Results: []result{
				{
					Setting: oneCore, Peer: "load", Unit: measure.Nanosecond, Ratio: &measure.Spread{P25: 0.98, P50: 1, P75: 12.5},
					Ours: 0.274, Theirs: 2738, Allocs: []float64{0, 1.5}, Turns: 200,
				},
				{Setting: "idle", Metric: "memory", Peer: "load", Unit: measure.Byte, Ours: 384, Theirs: 0, Turns: 3},
				{Setting: "idle", Metric: "goroutines", Peer: "load", Unit: measure.Count, Ratio: &measure.Spread{}, Theirs: 1, Turns: 3},
			},
		}, {
			Name: "promises", Title: "What is kept",
			Matrix: &matrix{Promises: []string{"a", "b"}, Peers: []verdicts{{"ours", []bool{true, true}}, {"theirs", []bool{false, true}}}},
		}},
	}
}

func TestTable(t *testing.T) {
	var out strings.Builder
	require.NoError(t, printHeader(&out, sample()))
	assert.Contains(t, out.String(), "\nCPU, 4 cores, GOMAXPROCS 2, linux/amd64, go1.26.8, 2026-11-24\ngo run .\n")
	out.Reset()
	require.NoError(t, printSections(&out, sample().Sections))
	assert.Equal(t, `
### A call & more

    cd bench && go run . -run '^call/'

| setting          | peer | ratio |   p25–p75 |    ours |  peer's |  allocs | turns |
|------------------|------|------:|----------:|--------:|--------:|--------:|------:|
| one core         | load |  1.00 | 0.98–12.5 | 0.27 ns | 2.74 µs | 0 / 1.5 |   200 |
| idle, memory     | load |     – |         – |   384 B |     0 B |       – |     3 |
| idle, goroutines | load |     0 |       0–0 |       0 |       1 |       – |     3 |

- one
- two

### What is kept

    cd bench && go run . -run '^promises$'

| peer   | a   |   b |
|--------|-----|----:|
| ours   | yes | yes |
| theirs | no  | yes |
`, out.String())
}

func TestWrap(t *testing.T) {
	assert.Equal(t, "- aa bb\n  cc dd\n  µµµµ\n", wrap("- aa bb cc dd µµµµ", "  ", 7))
}
