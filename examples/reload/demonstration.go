package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/internal/timeline"
)

// demonstrate shows a reloader at work on a file of its own.
func demonstrate(ctx context.Context, logger *log.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "reload")
	if err != nil {
		return err
	}
	d := newDemonstration(filepath.Join(dir, "config.json"), logger)
	return errors.Join(d.run(ctx), os.RemoveAll(dir))
}

// A demonstration drives a reloader and records what it does.
type demonstration struct {
	settings settings
	log      *log.Logger
	begun    time.Time
	news     chan struct{} // has one slot, filled whenever something was recorded

	mu sync.Mutex // guards the fields below

	// +checklocks:mu
	events timeline.Events
	// +checklocks:mu
	hangups int // number of SIGHUPs received
	// +checklocks:mu
	retried bool // a retry has failed since the last reload that succeeded
}

func newDemonstration(file string, logger *log.Logger) *demonstration {
	s := demonstrationSettings
	s.file = file
	return &demonstration{settings: s, log: logger, begun: time.Now(), news: make(chan struct{}, 1)}
}

func (d *demonstration) run(ctx context.Context) error {
	files, err := newWatcher(d.settings.file)
	if err != nil {
		return err
	}
	r, err := newReloader(d.settings, files.load, d.log, d.asked, throttle.WithObserver(d.reloaded))
	if err == nil {
		err = d.write(1)
	}
	if err == nil {
		err = r.run(ctx, files, func(ctx context.Context, url string) error { return d.play(ctx, r, url) })
	}
	if err := errors.Join(err, files.close()); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.log.Print("requests and reloads:\n\n", timeline.Text(d.events, 80))
	return nil
}

// play changes the file, and checks which configuration becomes active.
func (d *demonstration) play(ctx context.Context, r *reloader, url string) error {
	active := func() int { return r.active.Load().Version }
	const burst, mended = 11, 12

	d.log.Print("--- ten changes in a burst")
	for version := 2; version <= burst; version++ {
		if err := d.write(version); err != nil {
			return err
		}
		time.Sleep(d.settings.quiet)
	}
	if err := d.wait(ctx, "the last change", func() bool { return active() == burst }); err != nil {
		return err
	}

	d.log.Print("--- a broken file")
	if err := os.WriteFile(d.settings.file, []byte(`{"version": `), 0o600); err != nil {
		return err
	}
	if err := d.wait(ctx, "a failed retry", d.retryFailed); err != nil {
		return err
	}
	if err := d.post(ctx, url, http.StatusInternalServerError); err != nil {
		return err
	}
	if hasHangup {
		if err := sendHangup(); err != nil {
			return err
		}
		if err := d.wait(ctx, "SIGHUP", d.hungUp); err != nil {
			return err
		}
	}
	if version := active(); version != burst {
		return fmt.Errorf("the broken file made version %d active", version)
	}

	d.log.Print("--- a mended file")
	if err := d.write(mended); err != nil {
		return err
	}
	if err := d.post(ctx, url, http.StatusNoContent); err != nil {
		return err
	}
	if version := active(); version != mended {
		return fmt.Errorf("version %d is active at the end, not %d", version, mended)
	}
	return nil
}

// write changes the file, but not atomically: a reload in between finds a part of it,
// fails, and is repeated.
func (d *demonstration) write(version int) error {
	text := fmt.Sprintf(`{"version": %d, "greeting": "hello"}`, version)
	return os.WriteFile(d.settings.file, []byte(text), 0o600)
}

// post asks for a reload, and returns an error if the status of the answer is not want.
func (d *demonstration) post(ctx context.Context, url string, want int) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/-/reload", http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return err
	}
	answer := strings.TrimSpace(response.Status + " " + string(body))
	d.log.Print("answer: ", answer)
	if response.StatusCode != want {
		return fmt.Errorf("POST /-/reload was answered by %s, not by %d", answer, want)
	}
	return nil
}

// asked records a request for a reload.
func (d *demonstration) asked(why string) {
	d.log.Print("asked by ", why)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.events.Calls = append(d.events.Calls, time.Since(d.begun))
	if why == "SIGHUP" {
		d.hangups++
	}
	d.wake()
}

// reloaded records a reload. It is an observer.
func (d *demonstration) reloaded(run throttle.Run) {
	d.mu.Lock()
	defer d.mu.Unlock()
	start, end := run.Started.Sub(d.begun), run.Ended.Sub(d.begun)
	d.events.Runs = append(d.events.Runs,
		timeline.Run{Span: timeline.Span{Start: start, End: end}, Failed: run.Err != nil})
	d.events.Windows = append(d.events.Windows,
		timeline.Span{Start: start, End: start + d.settings.interval})
	d.retried = run.Err != nil && (d.retried || run.Cause == throttle.CauseRetry)
	d.wake()
}

// wake wakes wait.
func (d *demonstration) wake() {
	select {
	case d.news <- struct{}{}:
	default: // wait has not seen the earlier news yet
	}
}

// wait waits until reached returns true, or until ctx ends.
func (d *demonstration) wait(ctx context.Context, what string, reached func() bool) error {
	for !reached() {
		select {
		case <-d.news:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, ctx.Err())
		}
	}
	return nil
}

func (d *demonstration) retryFailed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.retried
}

func (d *demonstration) hungUp() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hangups > 0
}
