package throttleprom_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/adapters/throttleprom"
)

// A dashboard is the part of Grafana's schema that these tests use.
type dashboard struct {
	SchemaVersion int `json:"schemaVersion"`
	Templating    struct {
		List []struct {
			Name, Type, Definition string
		}
	}
	Panels []struct {
		ID          int
		Title, Type string
		Description string
		Datasource  datasource
		GridPos     struct{ X, Y, W, H int } `json:"gridPos"`
		Targets     []struct {
			RefID      string `json:"refId"`
			Expr       string
			Legend     string `json:"legendFormat"`
			Datasource datasource
		}
	}
}

type datasource struct{ Type, UID string }

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	file, err := os.ReadFile("dashboard.json")
	require.NoError(t, err)
	var d dashboard
	require.NoError(t, json.Unmarshal(file, &d))
	return d
}

// queries returns all queries in d.
func (d dashboard) queries() (queries []string) {
	for _, variable := range d.Templating.List {
		if variable.Type == "query" {
			queries = append(queries, variable.Definition)
		}
	}
	for _, panel := range d.Panels {
		for _, target := range panel.Targets {
			queries = append(queries, target.Expr)
		}
	}
	return queries
}

// selection matches a metric in a query, with the labels that select its series.
var selection = regexp.MustCompile(`(throttle_\w+)(\{[^}]*\})?`)

// The dashboard asks only for metrics that are exported, and for nearly all of them.
func TestDashboard_Metrics(t *testing.T) {
	metrics, target := newMetrics(t, throttleprom.WithClassicBuckets())
	play(t, metrics)
	addFleet(metrics)
	exported := map[string]bool{}
	for _, line := range target.lines(t) {
		exported[line[:strings.IndexByte(line, '{')]] = true
	}
	for name := range target.families(t) {
		exported[name] = true // a native histogram has no suffix
	}

	asked := map[string]bool{}
	for _, query := range readDashboard(t).queries() {
		found := selection.FindAllStringSubmatch(query, -1)
		require.NotEmpty(t, found, query)
		for _, metric := range found {
			require.True(t, exported[metric[1]], "%s is not exported: %s", metric[1], query)
			asked[metric[1]] = true
			switch {
			case strings.HasPrefix(query, "label_values"):
			case strings.HasPrefix(metric[1], "throttle_engine_"):
				require.Contains(t, metric[2], `engine=~"$engine"`, query)
			default:
				require.Contains(t, metric[2], `throttle=~"$throttle"`, query)
			}
		}
	}
	for name := range target.families(t) {
		if !slices.Contains([]string{"throttle_running", "throttle_next_run_timestamp_seconds"}, name) {
			require.True(t, asked[name], "no panel shows %s", name)
		}
	}
}

// Parts of a query that name or select labels.
var (
	label    = regexp.MustCompile(`(\w+)(=~|=)"([^"]*)"`)
	grouping = regexp.MustCompile(`\bby \(([^)]*)\)`)
	variable = regexp.MustCompile(`\$\w+`)
	mention  = regexp.MustCompile(`\{\{(\w+)\}\}`)
)

// The dashboard uses only labels, values and variables that exist.
func TestDashboard_Labels(t *testing.T) {
	metrics, target := newMetrics(t, throttleprom.WithClassicBuckets())
	play(t, metrics)
	addFleet(metrics)
	exported := map[string]map[string]bool{} // values by label
	for _, line := range target.lines(t) {
		for _, found := range label.FindAllStringSubmatch(line, -1) {
			if exported[found[1]] == nil {
				exported[found[1]] = map[string]bool{}
			}
			exported[found[1]][found[3]] = true
		}
	}
	for _, panel := range readDashboard(t).Panels {
		for _, target := range panel.Targets {
			require.Equal(t, strings.Count(target.Expr, "("), strings.Count(target.Expr, ")"), target.Expr)
			for _, name := range variable.FindAllString(target.Expr, -1) {
				require.Contains(t, []string{"$throttle", "$engine", "$__rate_interval"}, name)
			}
			for _, chosen := range label.FindAllStringSubmatch(target.Expr, -1) {
				for value := range strings.SplitSeq(chosen[3], "|") {
					require.True(t, chosen[3] == "$"+chosen[1] || exported[chosen[1]][value], chosen[0])
				}
			}
			grouped := map[string]bool{}
			for _, labels := range grouping.FindAllStringSubmatch(target.Expr, -1) {
				for name := range strings.SplitSeq(labels[1], ", ") {
					require.Contains(t, exported, name, target.Expr)
					grouped[name] = true
				}
			}
			for _, mentioned := range mention.FindAllStringSubmatch(target.Legend, -1) {
				require.True(t, grouped[mentioned[1]], target.Legend)
			}
		}
	}
}

// Each quantile reads a native histogram, or else the classic one.
func TestDashboard_Histograms(t *testing.T) {
	quantiles := 0
	for _, query := range readDashboard(t).queries() {
		if !strings.Contains(query, "histogram_quantile") {
			continue
		}
		quantiles++
		native, classic, ok := strings.Cut(query, "\nor\n")
		require.True(t, ok, query)
		require.NotContains(t, native, "_bucket")
		require.Contains(t, native, "sum by (throttle) ")
		require.Equal(t, classic, strings.ReplaceAll(strings.ReplaceAll(native, "_seconds{", "_seconds_bucket{"), "by (throttle)", "by (throttle, le)"))
	}
	require.Equal(t, 4, quantiles)
}

func TestDashboard_Schema(t *testing.T) {
	d := readDashboard(t)
	require.GreaterOrEqual(t, d.SchemaVersion, 39) // Grafana 11
	variables := map[string]string{}
	for _, variable := range d.Templating.List {
		variables[variable.Name] = variable.Type
	}
	require.Equal(t, map[string]string{"datasource": "datasource", "throttle": "query", "engine": "query"}, variables)

	chosen := datasource{Type: "prometheus", UID: "${datasource}"}
	ids, places, top := map[int]bool{}, map[[2]int]bool{}, 0
	for _, panel := range d.Panels {
		require.NotEmpty(t, panel.Title)
		require.False(t, ids[panel.ID], panel.Title)
		ids[panel.ID] = true
		if panel.Type == "row" {
			require.Equal(t, 24, panel.GridPos.W, panel.Title)
			require.Equal(t, 1, panel.GridPos.H, panel.Title)
			require.Zero(t, panel.GridPos.X, panel.Title)
			require.Zero(t, (panel.GridPos.Y-top)%8, panel.Title)
			top = panel.GridPos.Y + 1 // of the panels below
			continue
		}
		require.NotEmpty(t, panel.Description, panel.Title)
		require.Equal(t, "timeseries", panel.Type, panel.Title)
		require.Equal(t, chosen, panel.Datasource, panel.Title)

		g := panel.GridPos
		require.True(t, g.W == 8 && g.H == 8 && g.X%8 == 0 && g.Y >= top && (g.Y-top)%8 == 0 && g.X+g.W <= 24, panel.Title)
		require.False(t, places[[2]int{g.X, g.Y}], panel.Title)
		places[[2]int{g.X, g.Y}] = true

		require.NotEmpty(t, panel.Targets, panel.Title)
		refs := map[string]bool{}
		for _, target := range panel.Targets {
			require.Equal(t, chosen, target.Datasource, panel.Title)
			require.False(t, refs[target.RefID], panel.Title)
			refs[target.RefID] = true
		}
	}
}
