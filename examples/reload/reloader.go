package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/throttle-go/throttle"
)

// A reloader holds the active configuration and reloads it when asked to.
type reloader struct {
	settings settings
	log      *log.Logger
	asked    func(why string) // called for each request for a reload
	load     func() (*config, error)
	active   atomic.Pointer[config] // nil before the first load
	reloads  *throttle.Throttler    // runs reload
}

// newReloader returns a reloader that has loaded nothing yet.
func newReloader(s settings, load func() (*config, error), logger *log.Logger, asked func(why string),
	opts ...throttle.Option,
) (*reloader, error) {
	r := &reloader{settings: s, log: logger, asked: asked, load: load}
	policy := throttle.Policy{
		Interval: s.interval,
		// One change can be many events, and after the first of them the file may be
		// empty. MaxWait: a file that always changes is reloaded all the same.
		Quiet:   s.quiet,
		MaxWait: max(s.quiet, s.interval),
		// A failed reload may still have read half a file, or a disk may be away for a
		// moment. Eager: after mending the file you need not wait for the backoff.
		Retry: throttle.Backoff{Initial: s.interval, Max: max(s.interval, time.Minute), Eager: true},
	}
	opts = append([]throttle.Option{
		throttle.WithName("reload"),
		throttle.WithCallCount(),
		throttle.WithObserver(r.report),
		throttle.WithErrorHandler(func(error) {}), // report logs all errors already
	}, opts...)
	var err error
	r.reloads, err = throttle.New(policy, r.reload, opts...)
	return r, err
}

// reload is the throttled callback. If it fails, the active configuration stays.
func (r *reloader) reload() error {
	next, err := r.load()
	if err != nil {
		return err
	}
	r.active.Store(next)
	return nil
}

// report logs a reload.
func (r *reloader) report(run throttle.Run) {
	switch active := r.active.Load(); {
	case run.Err == nil:
		r.log.Printf("reload: version %d is active (cause: %s, calls: %d)", active.Version, run.Cause, run.Calls)
	case active == nil:
		r.log.Printf("reload failed: %v", run.Err)
	default:
		r.log.Printf("reload failed, version %d stays (cause: %s, attempt: %d): %v",
			active.Version, run.Cause, run.Attempt, run.Err)
	}
}

// run loads the configuration and keeps it up to date until use returns. It calls use
// with the URL of the HTTP server. The reloader must load by the same watcher.
func (r *reloader) run(ctx context.Context, files *watcher, use func(ctx context.Context, url string) error) error {
	if err := r.reloads.Do(ctx); err != nil {
		return errors.Join(err, r.reloads.Close())
	}
	listener, err := net.Listen("tcp", r.settings.addr)
	if err != nil {
		return errors.Join(err, r.reloads.Close())
	}
	hangups := make(chan os.Signal, 1) // one is enough: watch reloads once for all that came before
	notifyHangup(hangups)
	defer signal.Stop(hangups)
	server := &http.Server{Handler: r.handler(), ReadHeaderTimeout: 10 * time.Second}

	group, ctx := errgroup.WithContext(ctx)
	ctx, done := context.WithCancel(ctx)
	group.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	group.Go(func() error {
		r.watch(ctx, hangups, files)
		return nil
	})
	group.Go(func() error {
		defer done()
		err := use(ctx, "http://"+listener.Addr().String())
		return errors.Join(err, r.stop(ctx, server))
	})
	return group.Wait()
}

// watch asks for a reload on SIGHUP, and when the file may have changed.
func (r *reloader) watch(ctx context.Context, hangups <-chan os.Signal, files *watcher) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
			r.ask("SIGHUP")
		case event := <-files.folders.Events:
			if files.concerns(event) {
				r.ask("changed file")
			}
		case err := <-files.folders.Errors:
			// Events are lost after an overflow of the system's queue, and perhaps after
			// other errors. Reload to be safe.
			r.ask("watch error: " + err.Error())
		}
	}
}

// ask asks for a reload. It never blocks, so watch always goes on.
func (r *reloader) ask(why string) {
	r.asked(why)
	r.reloads.Call()
}

func (r *reloader) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /-/reload", func(w http.ResponseWriter, request *http.Request) {
		r.asked("POST /-/reload")
		// Do waits for a reload that starts after the request came. All requests
		// at the same time share it.
		switch err := r.reloads.Do(request.Context()); {
		case err == nil:
			w.WriteHeader(http.StatusNoContent)
		case errors.Is(err, throttle.ErrClosed):
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		default:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("GET /config", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(r.active.Load()); err != nil {
			r.log.Printf("the client is gone: %v", err)
		}
	})
	return mux
}

// stop stops the server and the throttler, whether or not ctx has ended.
func (r *reloader) stop(ctx context.Context, server *http.Server) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	// Nobody needs a reload any more: Close drops a pending one, and its waiters
	// get an error. Shutdown then waits for a reload in progress.
	closed := r.reloads.Close()
	stopped := server.Shutdown(ctx)
	ended := r.reloads.Shutdown(ctx)
	if err := errors.Join(closed, stopped, ended); err != nil {
		return fmt.Errorf("stopping: %w", err)
	}
	return nil
}
