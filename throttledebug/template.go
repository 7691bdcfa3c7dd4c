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
		"query":   queryName,
		"took":    took,
		"clock":   func(t time.Time) string { return t.Format("15:04:05.000") },
		"stamp":   func(t time.Time) string { return t.Format("2006-01-02 15:04:05.000 MST") }, // with the date, because it may be long ago
		"since":   func(from, to time.Time) string { return about(to.Sub(from)) },
		"last":    last,
		"await":   await,
		"pausing": func(s Status) bool { return s.paused && s.State == Running },
		"held":    func(s Status) bool { return s.paused && s.pending },
	}).Parse(pageHTML))
}

// A view is the data of the templates page and main.
type view struct {
	Page

	Filter  string // the name of the current one
	Filters []link
	Scales  []link
	Cards   []card
	Kept    map[string]string // parameters that a search for keys keeps
	Style   template.CSS
	Script  template.JS
}

// A card is the data of the template card.
type card struct {
	Throttle

	Part    int // its position among the options
	Failing bool
	Strip   template.HTML
	Lanes   []laneView
	Rows    []keyView
	Offer   offer
}

// A laneView is the data of the template lane.
type laneView struct {
	Key   string
	State State
	Strip template.HTML
}

// A keyView is the data of the template key.
type keyView struct {
	Key

	Part  int
	Offer offer
}

// An offer says which buttons do something.
type offer struct{ Flush, Cancel bool }

// offer returns the buttons for a throttle or key with the status s. A paused throttle keeps
// a flush until Resume, so the request would hang.
func (h *handler) offer(kind string, s Status) offer {
	if !h.actions || !s.pending {
		return offer{}
	}
	return offer{Cancel: true, Flush: !inFleet(kind) && !s.paused && !s.closed}
}

// view returns the data of the template main.
func (h *handler) view(query url.Values) view {
	page := h.look(query)
	filter, scale := filterOf(query), scaleOf(query, page.Throttles)
	v := view{
		Page:    page,
		Filter:  filter.name,
		Filters: filterLinks(query, page.Throttles),
		Scales:  scaleLinks(query, scale.past),
	}
	for i, t := range page.Throttles {
		if filter.selects(t) {
			v.Cards = append(v.Cards, h.card(i, t, scale, page.Now))
		}
	}
	sortCards(v.Cards)
	return v
}

// card returns the card of t, which is at that position among the options.
func (h *handler) card(part int, t Throttle, s scale, now time.Time) card {
	c := card{Throttle: t, Part: part, Failing: isFailing(t), Strip: stripOf(t, s, now).draw(true)}
	for _, l := range t.lanes {
		c.Lanes = append(c.Lanes, laneView{l.key, l.status.State, laneStrip(t, l, s, now).draw(false)})
	}
	if t.Keys == nil {
		c.Offer = h.offer(t.Kind, t.Status)
		return c
	}
	for _, key := range t.Keys.First {
		c.Rows = append(c.Rows, keyView{key, part, h.offer(t.Kind, key.Status)})
	}
	return c
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
	v := h.view(query)
	v.Style = template.CSS(style)  //nolint:gosec // our own
	v.Script = template.JS(pageJS) //nolint:gosec // our own
	v.Kept = make(map[string]string)
	for _, name := range []string{showParameter, lastParameter} {
		if value := query.Get(name); value != "" {
			v.Kept[name] = text(value)
		}
	}
	_ = h.templates.ExecuteTemplate(w, "page", v) // an error means that the browser is gone
}

// main returns the main element, which is the part of the page that changes.
func (h *handler) main(query url.Values) string {
	var html strings.Builder
	// Writes to a Builder do not fail, and the tests execute all of the template.
	_ = h.templates.ExecuteTemplate(&html, "main", h.view(query))
	return html.String()
}

// digest returns the Content-Security-Policy source that allows exactly this text.
func digest(source string) string {
	sum := sha256.Sum256([]byte(source))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
