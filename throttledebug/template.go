package throttledebug

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/throttle-go/throttle/internal/timeline"
)

var (
	//go:embed page.html
	pageHTML string

	//go:embed page.css
	pageCSS string

	//go:embed page.js
	pageJS string
)

// newTemplates returns the templates in page.html.
func newTemplates() *template.Template {
	return template.Must(template.New("").Funcs(template.FuncMap{
		"draw":  draw,
		"query": queryName,
		"took":  took,
		"clock": func(t time.Time) string { return t.Format("15:04:05.000") },
		"stamp": func(t time.Time) string { return t.Format("2006-01-02 15:04:05.000 MST") }, // with the date, because it may be long ago
		"since": func(from, to time.Time) string { return about(to.Sub(from)) },
		"last":  last,
		"await": await,
		"key":   func(part int, key Key, actions bool) keyView { return keyView{key, part, actions} },
	}).Parse(pageHTML))
}

// A view is the data of the templates page and main.
type view struct {
	Page

	Actions bool
	Style   template.CSS
	Script  template.JS
}

// A keyView is the data of the template key.
type keyView struct {
	Key

	Part    int
	Actions bool
}

// await says what happens at s.Next.
func await(s Status) string {
	switch {
	case s.asks:
		return "asks the store"
	case s.State == Running:
		return "next run, at the earliest,"
	default:
		return "next run due"
	}
}

// listedRuns is the greatest number of runs in a list on the page.
const listedRuns = 10

// last returns the latest runs, the last one first.
func last(runs []Run) []Run {
	latest := slices.Clone(runs[max(0, len(runs)-listedRuns):])
	slices.Reverse(latest)
	return latest
}

// page writes the whole page.
func (h *handler) page(w http.ResponseWriter, query url.Values) {
	style := timeline.Style + pageCSS
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Referrer-Policy", "same-origin") // otherwise browsers send forms without an Origin
	header.Set("Content-Security-Policy", "default-src 'none'; img-src data:; connect-src 'self'; form-action 'self'; "+
		"base-uri 'none'; frame-ancestors 'none'; style-src "+digest(style)+"; script-src "+digest(pageJS))
	_ = h.templates.ExecuteTemplate(w, "page", view{ // an error means that the browser is gone
		Page:    h.look(query),
		Actions: h.actions,
		Style:   template.CSS(style), //nolint:gosec // our own
		Script:  template.JS(pageJS), //nolint:gosec // our own
	})
}

// main returns the main element, which is the part of the page that changes.
func (h *handler) main(query url.Values) string {
	var html strings.Builder
	// Writes to a Builder do not fail, and the tests execute all of the template.
	_ = h.templates.ExecuteTemplate(&html, "main", view{Page: h.look(query), Actions: h.actions})
	return html.String()
}

// digest returns the Content-Security-Policy source that allows exactly this text.
func digest(source string) string {
	sum := sha256.Sum256([]byte(source))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
