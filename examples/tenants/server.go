package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/throttle-go/throttle"
)

// A server answers requests for tenants from its cache, and keeps that fresh.
type server struct {
	upstream  string
	client    *http.Client
	refreshes *throttle.Group[string]
	cache     sync.Map // the tenants' data, []byte; this example does not limit its size
}

// newServer returns a server that fetches its data from upstream.
func newServer(upstream string, opts ...throttle.Option) (*server, error) {
	s := &server{upstream: upstream, client: &http.Client{}}
	opts = append([]throttle.Option{
		throttle.WithName("refresh"),
		throttle.WithMaxConcurrent(concurrent), // the backend's limit
		throttle.WithMaxKeys(10_000),           // clients can send any name
	}, opts...)
	var err error
	s.refreshes, err = throttle.NewGroup(throttle.Every(interval), s.refresh, opts...)
	return s, err
}

// refresh is the throttled callback. Two refreshes of a tenant never overlap.
func (s *server) refresh(ctx context.Context, tenant string) error {
	data, err := get(ctx, s.client, s.upstream+"/"+tenant)
	if err != nil {
		return fmt.Errorf("%s: %w", tenant, err) // a Group's errors do not name the key
	}
	s.cache.Store(tenant, data)
	return nil
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	tenant := r.URL.Path[1:]
	data, err := s.data(r.Context(), tenant)
	switch {
	case err == nil:
		w.Write(data) //nolint:errcheck // the client is gone
	case errors.Is(err, throttle.ErrTooManyKeys), errors.Is(err, throttle.ErrClosed):
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	default:
		http.Error(w, err.Error(), http.StatusBadGateway)
	}
}

// data returns the cached data and asks for newer data. Without cached data it waits.
func (s *server) data(ctx context.Context, tenant string) ([]byte, error) {
	if data := s.cached(tenant); data != nil {
		return data, s.refreshes.Call(tenant)
	}
	err := s.refreshes.Do(ctx, tenant)
	return s.cached(tenant), err
}

// cached returns the cached data, nil if there is none.
func (s *server) cached(tenant string) []byte {
	value, _ := s.cache.Load(tenant)
	data, _ := value.([]byte)
	return data
}

// get returns the body of the answer to GET url.
func get(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %s", url, response.Status)
	}
	return body, nil
}
