package throttledebug

import (
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet"
)

// An Option adds something that the page shows or can do.
type Option func(*handler)

// Throttler shows t. A nil t shows nothing.
func Throttler(t *throttle.Throttler) Option {
	return func(h *handler) {
		if t != nil {
			h.parts = append(h.parts, single{t, throttlerKind, func() { t.Cancel() }})
		}
	}
}

// Coalescer shows c, with how many values wait in it. If c is cancelled from the page, these
// values are lost. A nil c shows nothing.
func Coalescer[V, A any](c *throttle.Coalescer[V, A]) Option {
	return func(h *handler) {
		if c != nil {
			h.parts = append(h.parts, single{c, coalescerKind, func() { c.Cancel() }})
		}
	}
}

// Group shows g and its keys, as fmt.Sprint prints them: the first 50 in natural order that
// contain the search text. Reading a million keys takes about a third of a second of
// processor time. A nil g shows nothing.
func Group[K comparable](g *throttle.Group[K]) Option {
	return func(h *handler) {
		if g != nil {
			h.parts = append(h.parts, group[K]{g, groupKind, func(key K) { g.Cancel(key) }})
		}
	}
}

// Keyed shows c and its keys, as [Group] does, with how many values wait. If a key is
// cancelled from the page, its values are lost. A nil c shows nothing.
func Keyed[K comparable, V, A any](c *throttle.KeyedCoalescer[K, V, A]) Option {
	return func(h *handler) {
		if c != nil {
			h.parts = append(h.parts, group[K]{c, keyedKind, func(key K) { c.Cancel(key) }})
		}
	}
}

// Fleet shows t: the runs of this replica, and what the messages to the store led to. Other
// replicas are on the pages of their processes. If t is cancelled from the page, this
// replica's calls are dropped, but not those that the store has registered. It cannot be
// flushed. A nil t shows nothing.
func Fleet(t *fleet.Throttler) Option {
	return func(h *handler) {
		if t != nil {
			h.parts = append(h.parts, replica{t})
		}
	}
}

// FleetGroup shows g: this process's totals, as [Fleet] does, and the keys that g holds in
// this process, as [Group] does. If a key is cancelled from the page, this process's calls for
// it are dropped, but not those that the store has registered. Keys cannot be flushed. A nil g
// shows nothing.
func FleetGroup(g *fleet.Group) Option {
	return func(h *handler) {
		if g != nil {
			h.parts = append(h.parts, newFleetGroup(g))
		}
	}
}

// Engine shows what this process sees of e under the given name: whether it reaches the
// store, how many messages are in flight or wait, and which keys are due. e is any
// [fleet.Engine]. Engines come before the throttles. With thousands of throttlers on e, show
// e and only the throttlers that matter most. A nil e, or nil pointer, shows nothing.
func Engine(name string, e interface{ Health() fleet.Health }) Option {
	return func(h *handler) {
		if v := reflect.ValueOf(e); v.IsValid() && (v.Kind() != reflect.Pointer || !v.IsNil()) {
			h.engines = append(h.engines, engine{name, e})
		}
	}
}

// Runs adds the runs that r recorded to the throttles of the same names: on the strips and
// in a list. It also shows the last failure, even if later runs did not fail. A nil r adds
// nothing. With several recorders, the last one that knows a name is used for it.
func Runs(r *Recorder) Option {
	return func(h *handler) {
		if r != nil {
			h.recorders = append(h.recorders, r)
		}
	}
}

// Actions lets everyone who can reach the page flush pending calls, and cancel them, which
// drops the calls. In a throttle with keys it does so for one key. The page has buttons where
// they do something: none where no call is pending, and no flush while paused, because it
// would wait for Resume. Other sites cannot do this through the browser of a user of the page,
// because of [http.CrossOriginProtection]. The POST request has the form values
//
//	action  flush or cancel; only cancel for a throttle of a fleet
//	part    position of the throttle among the options, from 0
//	key     for a throttle with keys: the key, as the page shows it
//
// The response comes when the action is done; for a flush, when its run has ended. It
// redirects to the page. If there is no such part or key, the status is 404. If several
// keys have this text, or the throttle is closed, or the calls are cancelled, it is 409. If
// the run fails, it is 500.
func Actions() Option { return func(h *handler) { h.actions = true } }

// A handler answers requests.
type handler struct {
	templates *template.Template
	parts     []part
	engines   []engine
	recorders []*Recorder
	actions   bool

	mu sync.Mutex // guards the field below

	// +checklocks:mu
	shutdown map[*http.Server]chan struct{} // closed when the server shuts down
}

// Handler returns a handler that serves a page with the given options. It ignores nil
// options. See the package documentation for the requests it answers.
func Handler(options ...Option) http.Handler {
	h := &handler{templates: newTemplates(), shutdown: make(map[*http.Server]chan struct{})}
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
		h.shutdownOf(r) // now, in case the server shuts down before the page opens its stream
		h.page(w, query)
	case "json":
		w.Header().Set("Content-Type", "application/json")
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		_ = encoder.Encode(h.look(query)) // an error means that the client is gone
	case "events":
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("X-Accel-Buffering", "no") // proxies must not buffer events
		if r.Method != http.MethodHead {
			h.stream(w, r, query)
		}
	default:
		http.Error(w, `format must be "json", "events", or left out`, http.StatusBadRequest)
	}
}

// look returns the current state of all parts and engines.
func (h *handler) look(query url.Values) Page {
	page := Page{Now: rounded(time.Now()), Throttles: []Throttle{}}
	for _, engine := range h.engines {
		page.Engines = append(page.Engines, engine.look())
	}
	for i, part := range h.parts {
		runs, _ := h.recorded(part.Name())
		busy := busiest(runs)
		t := part.look(query.Get(queryName(i)), busy)
		t.add(h.recorded(t.Name)) // again, because a run may have ended
		if t.Keys != nil {
			t.lanes = lanesOf(busy, t.busy, t.Recent)
		}
		t.Name = text(t.Name)
		page.Throttles = append(page.Throttles, t)
	}
	return page
}

// recorded returns the runs and the last failure of name, from the last Recorder that knows
// the name.
func (h *handler) recorded(name string) ([]Run, *Failure) {
	for _, r := range slices.Backward(h.recorders) {
		if runs, failure := r.recent(name); runs != nil {
			return runs, failure
		}
	}
	return nil, nil
}

// queryName returns the name of the request parameter with the search text for the part
// with that index.
func queryName(index int) string { return "q" + strconv.Itoa(index) }

// The pace of a stream. It looks at the parts once a second, and rests 19 times as long as a
// look takes, so that looking takes at most a twentieth of the time.
const (
	pace  = time.Second
	rests = 19
	retry = 2 * time.Second  // shortest time until a browser reconnects
	grace = 10 * time.Second // for a write
)

// An event keeps a page up to date.
type event struct {
	Now  int64  `json:"now"`            // in ms since 1970
	Rest int64  `json:"rest"`           // ms until the next event, which may come a little later
	HTML string `json:"html,omitempty"` // the main element, if it changed
}

// stream sends events until the request's context ends or the server shuts down. It must
// end then, because Shutdown waits for requests. If w cannot flush, it sends a single event;
// browsers reconnect by themselves.
func (h *handler) stream(w http.ResponseWriter, r *http.Request, query url.Values) {
	control, shutdown := http.NewResponseController(w), h.shutdownOf(r)
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
		data, _ := json.Marshal(e) //nolint:errchkjson // an event always encodes
		// The server's WriteTimeout, if any, covers the whole response, so each write gets its
		// own deadline. With HTTP/2, a deadline that passes between writes ends the stream.
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
		case <-shutdown:
			return
		}
	}
}

// shutdownOf returns a channel that is closed when r's server starts to shut down. It is nil
// if the server is not an [http.Server].
func (h *handler) shutdownOf(r *http.Request) <-chan struct{} {
	server, ok := r.Context().Value(http.ServerContextKey).(*http.Server)
	if !ok {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	shutdown := h.shutdown[server]
	if shutdown == nil {
		shutdown = make(chan struct{})
		h.shutdown[server] = shutdown
		server.RegisterOnShutdown(sync.OnceFunc(func() { close(shutdown) }))
	}
	return shutdown
}

// maxForm is the greatest size of a POST request, in bytes.
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
	// The relative URL leads back to the page wherever it is mounted. http.Redirect would
	// need the path.
	w.Header().Set("Location", "?"+r.URL.RawQuery)
	w.WriteHeader(http.StatusSeeOther)
}

// codeOf returns the status for an action that failed with err.
func codeOf(err error) int {
	switch {
	case errors.Is(err, errNoKey):
		return http.StatusNotFound
	case errors.Is(err, errNoFlush):
		return http.StatusBadRequest
	case errors.Is(err, errManyKeys), errors.Is(err, throttle.ErrClosed), errors.Is(err, throttle.ErrCanceled):
		return http.StatusConflict
	default:
		return http.StatusInternalServerError
	}
}
