package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/throttle-go/throttle"
)

// A server answers requests for items.
type server struct {
	http     *http.Server
	loader   *loader
	recorder *recorder
}

func newServer(d *database, opts ...throttle.Option) (*server, error) {
	s := &server{recorder: &recorder{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{tenant}/{id}", s.item)
	s.http = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	var err error
	s.loader, err = newLoader(d.query, append([]throttle.Option{throttle.WithObserver(s.recorder.run)}, opts...)...)
	return s, err
}

func (s *server) item(w http.ResponseWriter, r *http.Request) {
	tenant := r.PathValue("tenant")
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	begun := time.Now()
	s.recorder.call(tenant, begun)
	item, err := s.loader.load(r.Context(), tenant, id)
	s.recorder.answered(time.Since(begun))
	switch {
	case err == nil:
		if _, err := io.WriteString(w, item); err != nil {
			slog.Warn("the client is gone", "error", err)
		}
	case errors.Is(err, errUnknown):
		http.Error(w, err.Error(), http.StatusNotFound)
	case errors.Is(err, throttle.ErrTooManyKeys), errors.Is(err, throttle.ErrClosed):
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	default:
		http.Error(w, err.Error(), http.StatusBadGateway)
	}
}

// serve answers requests until stop is called.
func (s *server) serve(listener net.Listener) error {
	if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// stop stops the server. It works even if ctx has ended.
func (s *server) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	// The order matters: the server waits until the loader has answered its requests.
	stopped := s.http.Shutdown(ctx)
	closed := s.loader.close(ctx)
	return errors.Join(stopped, closed)
}
