package throttledebug_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"time"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet"
	"github.com/throttle-go/throttle/throttledebug"
)

// fetch returns the response of handler to a GET request for target.
func fetch(handler http.Handler, target string) io.Reader {
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, target, http.NoBody))
	return answer.Body
}

func Example() {
	var recorder throttledebug.Recorder
	reload := throttle.Must(throttle.New(throttle.Every(time.Second), func() error { return nil },
		throttle.WithName("reload"), throttle.WithObserver(recorder.Observe)))
	mux := http.NewServeMux()
	mux.Handle("/debug/throttle", throttledebug.Handler(
		throttledebug.Throttler(reload), throttledebug.Runs(&recorder)))
	// A real program continues with http.ListenAndServe("localhost:8080", mux).

	page, _ := io.ReadAll(fetch(mux, "/debug/throttle"))
	fmt.Println(strings.Contains(string(page), "reload"))
	// Output: true
}

// A program can read the page as JSON.
func ExampleHandler_json() {
	reload := throttle.Must(throttle.New(throttle.Every(time.Hour), func() error { return io.ErrUnexpectedEOF },
		throttle.WithName("reload"), throttle.WithErrorHandler(func(error) {})))
	defer reload.Close()
	_ = reload.Do(context.Background())
	reload.Call()

	var page throttledebug.Page
	if err := json.NewDecoder(fetch(throttledebug.Handler(throttledebug.Throttler(reload)), "/?format=json")).Decode(&page); err != nil {
		fmt.Println(err)
	}
	for _, t := range page.Throttles {
		if t.State == throttledebug.Waiting && t.Failure != nil {
			fmt.Printf("%s %s, after: %s\n", t.State, t.Name, t.Failure.Message)
		}
	}
	// Output: waiting reload, after: unexpected EOF
}

// The page can search the keys of a Group.
func ExampleGroup() {
	tenants := throttle.Must(throttle.NewGroup(throttle.Every(time.Minute), func(context.Context, string) error { return nil }))
	defer tenants.Close()
	for _, tenant := range []string{"acme", "globex", "initech"} {
		_ = tenants.Do(context.Background(), tenant)
	}

	var page throttledebug.Page
	if err := json.NewDecoder(fetch(throttledebug.Handler(throttledebug.Group(tenants)), "/?format=json&q0=ex")).Decode(&page); err != nil {
		fmt.Println(err)
	}
	keys := page.Throttles[0].Keys
	fmt.Printf("%d of %d: %s\n", keys.Matching, keys.Held, keys.First[0].Key)
	// Output: 1 of 3: globex
}

// The page shows a Coalescer like a Throttler.
func ExampleCoalescer() {
	rows := throttle.Must(throttle.NewCoalescer(throttle.Debounce(time.Second, time.Second), throttle.Batch[string](),
		func(context.Context, []string) error { return nil }, throttle.WithName("rows")))
	page, _ := io.ReadAll(fetch(throttledebug.Handler(throttledebug.Coalescer(rows)), "/"))
	fmt.Println(strings.Contains(string(page), "after 1s of quiet, at the latest after 1s"))
	// Output: true
}

// The page shows how many values of each key wait.
func ExampleKeyed() {
	rows := throttle.Must(throttle.NewKeyedCoalescer(throttle.Debounce(time.Hour, 0), throttle.Batch[string](),
		func(context.Context, string, []string) error { return nil }))
	for _, row := range []string{"one", "two", "three"} {
		_ = rows.Call("acme", row)
	}

	var page throttledebug.Page
	if err := json.NewDecoder(fetch(throttledebug.Handler(throttledebug.Keyed(rows)), "/?format=json")).Decode(&page); err != nil {
		fmt.Println(err)
	}
	for _, key := range page.Throttles[0].Keys.First {
		fmt.Println(key.Key, key.Values)
	}
	_ = rows.Shutdown(context.Background())
	// Output: acme 3
}

// The page shows this process's part of a fleet.
func ExampleFleet() {
	engine := fleet.NewMemory() // or that of fleetredis or fleetpg
	index := throttle.Must(fleet.New(engine, "search-index", throttle.Every(time.Minute), func(context.Context) error { return nil }))
	defer index.Close()
	_ = index.Do(context.Background())

	var page throttledebug.Page
	handler := throttledebug.Handler(throttledebug.Engine("memory", engine), throttledebug.Fleet(index))
	if err := json.NewDecoder(fetch(handler, "/?format=json")).Decode(&page); err != nil {
		fmt.Println(err)
	}
	for _, t := range page.Throttles {
		fmt.Printf("%s: granted %d, late %d\n", t.Name, t.Counts.Granted, t.Counts.Late)
	}
	for _, e := range page.Engines {
		fmt.Printf("%s: throttlers %d, unreachable %q\n", e.Name, e.Throttlers, e.Unreachable)
	}
	// Output:
	// search-index: granted 1, late 0
	// memory: throttlers 1, unreachable ""
}

// A password restricts who can cancel and flush.
func ExampleActions() {
	reload := throttle.Must(throttle.New(throttle.Debounce(time.Hour, 0), func() { fmt.Println("reloaded") }))
	page := throttledebug.Handler(throttledebug.Throttler(reload), throttledebug.Actions())
	guarded := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != "secret" {
			w.Header().Set("WWW-Authenticate", "Basic")
			http.Error(w, "password required", http.StatusUnauthorized)
			return
		}
		page.ServeHTTP(w, r)
	})

	reload.Call()
	flush := url.Values{"part": {"0"}, "action": {"flush"}}
	for _, password := range []string{"guess", "secret"} {
		request := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(flush.Encode()))
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.SetBasicAuth("me", password)
		answer := httptest.NewRecorder()
		guarded.ServeHTTP(answer, request)
		fmt.Println(answer.Code)
	}
	// Output:
	// 401
	// reloaded
	// 303
}

// One Recorder serves any number of throttles with different names.
func ExampleRecorder() {
	var recorder throttledebug.Recorder
	options := []throttledebug.Option{throttledebug.Runs(&recorder)}
	for _, name := range []string{"routes", "certificates"} {
		t := throttle.Must(throttle.New(throttle.Every(time.Second), func() error { return io.ErrUnexpectedEOF },
			throttle.WithName(name), throttle.WithObserver(recorder.Observe)))
		_ = t.Do(context.Background())
		options = append(options, throttledebug.Throttler(t))
	}

	var page throttledebug.Page
	if err := json.NewDecoder(fetch(throttledebug.Handler(options...), "/?format=json")).Decode(&page); err != nil {
		fmt.Println(err)
	}
	for _, t := range page.Throttles {
		fmt.Println(t.Name, t.Recent[0].Result)
	}
	// Output:
	// routes failure
	// certificates failure
}
