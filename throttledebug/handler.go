package throttledebug

import (
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/throttle-go/throttle"
)

// This file answers requests.

// An Option is something that the page shows or can do.
type Option func(*handler)

// Throttler shows t.
func Throttler(t *throttle.Throttler) Option {
	return func(h *handler) {
		if t != nil {
			h.parts = append(h.parts, single{t, "throttler", func() { t.Cancel() }})
		}
	}
}

// Coalescer shows c. The value that is dropped when c is cancelled from the page is
// lost.
func Coalescer[T any](c *throttle.Coalescer[T]) Option {
	return func(h *handler) {
		if c != nil {
			h.parts = append(h.parts, single{c, "coalescer", func() { c.Cancel() }})
		}
	}
}

// Group shows g and its keys, as fmt.Sprint has them: of those that contain what is
// searched for, the first 50 in order. A look at a million keys takes about a third
// of a second of a processor.
func Group[K comparable](g *throttle.Group[K]) Option {
	return func(h *handler) {
		if g != nil {
			h.parts = append(h.parts, group[K]{g})
		}
	}
}

// Runs shows what r has seen, beside the throttles of the same names: runs on a
// timeline and in a list, and the last failure even if later runs did not fail. A nil r
// has seen nothing. Of several recorders, the last that knows a name is told.
func Runs(r *Recorder) Option {
	return func(h *handler) {
		if r != nil {
			h.recorders = append(h.recorders, r)
		}
	}
}

// Actions lets those who see the page flush what is pending, and cancel it, which
// drops calls: of a Group, those of one key. Other sites cannot do so through the
// browser of somebody who may ([http.CrossOriginProtection]). The POST request for it
// has the form values
//
//	action  flush or cancel
//	part    of what: its place on the page, from 0
//	key     of a Group: the key, as the page shows it
//
// It is answered when the action is done, for a flush when its run has ended, by a
// redirection to the page. A part or key that is not there is 404, a key whose text
// others have too, or a part that is closed, 409, and the error of the run 500.
func Actions() Option { return func(h *handler) { h.actions = true } }

// A handler answers requests.
type handler struct {
	templates *template.Template
	parts     []part
	recorders []*Recorder
	actions   bool

	mu sync.Mutex // guards the field below

	// +checklocks:mu
	over map[*http.Server]chan struct{} // closed when the server shuts down
}

// Handler returns a handler of the page, made of what the options say. An Option for
// nil shows nothing. The package comment says what requests it answers.
func Handler(options ...Option) http.Handler {
	h := &handler{templates: newTemplates(), over: make(map[*http.Server]chan struct{})}
	for _, option := range options {
		if option != nil {
			option(h)
		}
	}
	return h
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	switch {
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		h.get(w, r)
	case r.Method == http.MethodPost && h.actions:
		h.post(w, r)
	default:
		allowed := "GET, HEAD"
		if h.actions {
			allowed += ", POST"
		}
		w.Header().Set("Allow", allowed)
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	}
}

func (h *handler) get(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	switch query.Get("format") {
	case "":
		h.serverOver(r) // before a stream that the page opens as the server shuts down
		h.page(w, query)
	case "json":
		w.Header().Set("Content-Type", "application/json")
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		_ = encoder.Encode(h.look(query)) // nobody is left to be told
	case "events":
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("X-Accel-Buffering", "no") // proxies must hand on each event
		if r.Method != http.MethodHead {
			h.stream(w, r, query)
		}
	default:
		http.Error(w, `format must be "json", "events", or left out`, http.StatusBadRequest)
	}
}

// look looks at all parts.
func (h *handler) look(query url.Values) Page {
	page := Page{Now: rounded(time.Now()), Throttles: []Throttle{}}
	for i, part := range h.parts {
		t := part.look(query.Get(queryName(i)))
		t.add(h.recorded(t.Name))
		t.Name = text(t.Name)
		page.Throttles = append(page.Throttles, t)
	}
	return page
}

// recorded returns what the last Recorder that knows name has seen.
func (h *handler) recorded(name string) ([]Run, *Failure) {
	for _, r := range slices.Backward(h.recorders) {
		if runs, failure := r.recent(name); runs != nil {
			return runs, failure
		}
	}
	return nil, nil
}

// queryName returns what, in a request's query, is searched for among the keys of the
// part with that index.
func queryName(index int) string { return "q" + strconv.Itoa(index) }

// The pace of a stream: a look each second, but looking takes no more than a twentieth
// of the time.
const (
	pace  = time.Second
	rests = 19
	retry = 2 * time.Second  // until a browser asks again, at the least
	grace = 10 * time.Second // for a write
)

// An event keeps a page up to date.
type event struct {
	Now  int64  `json:"now"`            // in ms since 1970
	Rest int64  `json:"rest"`           // until the next event, which may come a little later, in ms
	HTML string `json:"html,omitempty"` // main; unless it is as it was
}

// stream sends events until the request's context ends or the server shuts down,
// which waits for requests; or, where what is written cannot be sent at once, a
// single one. Browsers ask again by themselves.
func (h *handler) stream(w http.ResponseWriter, r *http.Request, query url.Values) {
	control, over := http.NewResponseController(w), h.serverOver(r)
	for shown := ""; ; {
		began := time.Now()
		html := h.main(query)
		now := time.Now()
		took := now.Sub(began)
		rest := max(pace, rests*took)
		e := event{Now: now.UnixMilli(), Rest: (rest + took).Milliseconds()}
		if html != shown {
			e.HTML, shown = html, html
		}
		data, _ := json.Marshal(e) //nolint:errchkjson // what it holds cannot fail
		// The server may have a WriteTimeout, which is for the whole of an answer. With
		// HTTP/2, a deadline ends the stream even if nothing is being written.
		_ = control.SetWriteDeadline(now.Add(grace))
		if _, err := fmt.Fprintf(w, "retry: %d\ndata: %s\n\n", max(retry, rest).Milliseconds(), data); err != nil {
			return
		}
		if err := control.Flush(); err != nil {
			return
		}
		_ = control.SetWriteDeadline(time.Time{})
		select {
		case <-time.After(rest):
		case <-r.Context().Done():
			return
		case <-over:
			return
		}
	}
}

// serverOver returns a channel that is closed when r's server begins to shut down,
// nil if the server is not net/http's.
func (h *handler) serverOver(r *http.Request) <-chan struct{} {
	server, ok := r.Context().Value(http.ServerContextKey).(*http.Server)
	if !ok {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	over := h.over[server]
	if over == nil {
		over = make(chan struct{})
		h.over[server] = over
		server.RegisterOnShutdown(sync.OnceFunc(func() { close(over) }))
	}
	return over
}

// maxForm is how long a POST request may be.
const maxForm = 64 << 10

func (h *handler) post(w http.ResponseWriter, r *http.Request) {
	if err := http.NewCrossOriginProtection().Check(r); err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	index, err := strconv.Atoi(r.PostForm.Get("part"))
	if err != nil || index < 0 || index >= len(h.parts) {
		http.Error(w, "no such part", http.StatusNotFound)
		return
	}
	do := action(r.PostForm.Get("action"))
	if do != cancel && do != flush {
		http.Error(w, "action must be cancel or flush", http.StatusBadRequest)
		return
	}
	if err := h.parts[index].act(r.Context(), do, r.PostForm.Get("key")); err != nil {
		http.Error(w, text(err), codeOf(err))
		return
	}
	// Back to the page, wherever it is: http.Redirect would need to know.
	w.Header().Set("Location", "?"+r.URL.RawQuery)
	w.WriteHeader(http.StatusSeeOther)
}

// codeOf returns what answers to an action that ended in err.
func codeOf(err error) int {
	switch {
	case errors.Is(err, errNoKey):
		return http.StatusNotFound
	case errors.Is(err, errManyKeys), errors.Is(err, throttle.ErrClosed), errors.Is(err, throttle.ErrCanceled):
		return http.StatusConflict
	default:
		return http.StatusInternalServerError
	}
}
