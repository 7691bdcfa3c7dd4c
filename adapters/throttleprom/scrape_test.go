package throttleprom_test

// Tests read metrics as a server does, over HTTP.

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/adapters/throttleprom"
)

// newMetrics returns a Metrics in a real registry, and the server that serves it.
func newMetrics(t *testing.T, opts ...throttleprom.Option) (*throttleprom.Metrics, *target) {
	t.Helper()
	metrics, err := throttleprom.New(opts...)
	require.NoError(t, err)
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(metrics))
	handler := promhttp.HandlerFor(registry, promhttp.HandlerOpts{Registry: prometheus.NewRegistry()})
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return metrics, &target{server, registry}
}

// A target is an HTTP server to scrape.
type target struct {
	server   *httptest.Server
	registry *prometheus.Registry
}

// Formats to ask for.
const (
	text     = "text/plain;version=0.0.4"
	protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
)

// get scrapes s in the given format and returns the response's format and body.
func (s *target) get(format string) (expfmt.Format, string, error) {
	request, err := http.NewRequest(http.MethodGet, s.server.URL, nil)
	if err != nil {
		return "", "", err
	}
	request.Header.Set("Accept", format)
	response, err := s.server.Client().Do(request)
	if err != nil {
		return "", "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, body)
	}
	return expfmt.ResponseFormat(response.Header), string(body), err
}

// lines scrapes s as text and returns the sorted lines, without comments.
func (s *target) lines(t *testing.T) []string {
	t.Helper()
	format, body, err := s.get(text)
	require.NoError(t, err)
	require.Equal(t, expfmt.TypeTextPlain, format.FormatType())
	return sorted(body)
}

// gather returns what lines returns, but without HTTP, which does not work in a bubble.
func (s *target) gather(t *testing.T) []string {
	t.Helper()
	families, err := s.registry.Gather()
	require.NoError(t, err)
	var body strings.Builder
	for _, family := range families {
		_, err := expfmt.MetricFamilyToText(&body, family)
		require.NoError(t, err)
	}
	return sorted(body.String())
}

// sorted returns the sorted lines of body, without comments.
func sorted(body string) []string {
	lines := without(strings.Split(body, "\n"), func(line string) bool {
		return strings.HasPrefix(line, "#") || line == ""
	})
	slices.Sort(lines)
	return lines
}

// only returns the lines that start with prefix.
func only(lines []string, prefix string) []string {
	return without(lines, func(line string) bool { return !strings.HasPrefix(line, prefix) })
}

// without returns the lines for which drop is false.
func without(lines []string, drop func(line string) bool) []string {
	return slices.DeleteFunc(slices.Clone(lines), drop)
}

// families scrapes s as protobuf and returns the metric families by name.
func (s *target) families(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	format, body, err := s.get(protobuf)
	require.NoError(t, err)
	require.Equal(t, expfmt.TypeProtoDelim, format.FormatType())
	families := map[string]*dto.MetricFamily{}
	decoder := expfmt.NewDecoder(strings.NewReader(body), format)
	for {
		family := &dto.MetricFamily{}
		err := decoder.Decode(family)
		if errors.Is(err, io.EOF) {
			return families
		}
		require.NoError(t, err)
		families[family.GetName()] = family
	}
}

// A fake is a source with given Stats.
type fake struct {
	name  string
	stats throttle.Stats
}

func (f fake) Name() string          { return f.name }
func (f fake) Stats() throttle.Stats { return f.stats }

// A fakeGroup is a fake that holds three keys.
type fakeGroup struct{ fake }

func (fakeGroup) Len() int { return 3 }
