package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/throttle-go/throttle"
)

// A server is an HTTP server of counters that writes snapshots of them.
type server struct {
	http        *http.Server
	store       *store
	restored    uint64 // number of changes in the file at the start
	snapshotter *snapshotter
	snapshots   *throttle.Throttler // runs snapshotter.write
	recorder    *recorder
}

// newServer returns a server with the state in c.file, if that file exists.
func newServer(c config) (*server, error) {
	restored, err := readState(c.file)
	if err != nil {
		return nil, err
	}
	s := &server{
		store:    &store{current: restored},
		restored: restored.Changes,
		recorder: &recorder{interval: c.interval, begun: time.Now()},
	}
	s.http = &http.Server{Handler: s.handler(), ReadHeaderTimeout: 10 * time.Second}
	s.snapshotter = &snapshotter{store: s.store, file: c.file}

	// Retry repeats a failed snapshot, for example on a full disk, even if nothing
	// changes any more.
	policy := throttle.Policy{
		Interval: c.interval,
		Retry:    throttle.Backoff{Initial: time.Second, Max: time.Minute},
	}
	// No WithContext: when the context ends, it would drop the pending run, which
	// has the last change. See stop.
	s.snapshots, err = throttle.New(policy, s.snapshotter.write,
		throttle.WithName("snapshot"), throttle.WithObserver(s.recorder.run))
	return s, err
}

// serve answers requests until stop is called.
func (s *server) serve(listener net.Listener) error {
	if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// stop stops the server and returns when the last change is on disk. It works even if
// ctx has ended.
func (s *server) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	// The order matters: the run that the throttler's Shutdown makes must come after
	// the last request, so that it sees the last state.
	stopped := s.http.Shutdown(ctx)
	saved := s.snapshots.Shutdown(ctx)
	return errors.Join(stopped, saved)
}

// changes returns the number of changes since the start.
func (s *server) changes() uint64 { return s.store.state().Changes - s.restored }

func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /counters/{name}", func(w http.ResponseWriter, r *http.Request) {
		value := s.store.increment(r.PathValue("name"))
		s.recorder.call()
		s.snapshots.Call() // costs almost nothing while a snapshot is pending
		answer(w, value)
	})
	mux.HandleFunc("GET /counters", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, s.store.state())
	})
	mux.HandleFunc("POST /flush", func(w http.ResponseWriter, r *http.Request) {
		switch err := s.snapshots.Flush(r.Context()); {
		case err == nil:
			w.WriteHeader(http.StatusNoContent)
		case errors.Is(err, throttle.ErrClosed):
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		default:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("GET /snapshot-status", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, newStatus(s.snapshots.Stats()))
	})
	return mux
}

// A status is a throttle.Stats for JSON, which would encode an error as {}.
type status struct {
	throttle.Stats

	LastError string // hides the embedded field of the same name
}

func newStatus(s throttle.Stats) status {
	if s.LastError == nil {
		return status{Stats: s}
	}
	return status{Stats: s, LastError: s.LastError.Error()}
}

// answer sends v as JSON.
func answer(w http.ResponseWriter, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if _, err := w.Write(append(data, '\n')); err != nil {
		slog.Warn("the client is gone", "error", err)
	}
}
