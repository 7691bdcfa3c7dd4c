package throttledebug

import (
	"net/url"
	"slices"
	"time"
)

// The request parameters of the page, apart from format and the search texts.
const (
	showParameter = "show"
	lastParameter = "last"
)

// A filter selects throttles. The page shows how many each filter selects.
type filter struct {
	name    string
	selects func(Throttle) bool
}

// filters returns the filters of the page. The first one selects all throttles.
func filters() []filter {
	return []filter{
		{"all", func(Throttle) bool { return true }},
		{"failing", isFailing},
		{"running", func(t Throttle) bool { return t.State == Running }},
		{"pending", func(t Throttle) bool { return t.pending }},
		{"paused", func(t Throttle) bool { return t.paused }},
		{"closed", func(t Throttle) bool { return t.closed }},
	}
}

// filterOf returns the filter that query asks for; the first one if there is no such filter.
func filterOf(query url.Values) filter {
	all := filters()
	asked := slices.IndexFunc(all, func(f filter) bool { return f.name == query.Get(showParameter) })
	return all[max(asked, 0)]
}

// A link leads to the same page with another parameter.
type link struct {
	Name    string
	URL     string
	Current bool // it leads to the page as it is
	Count   int  // of a filter: how many throttles it selects
}

// linkTo returns the relative URL of the page with value for a parameter. The other parameters
// stay; an empty value removes the parameter.
func linkTo(query url.Values, parameter, value string) string {
	changed := make(url.Values, len(query))
	for name, values := range query {
		if name != "format" && name != parameter {
			changed[name] = values
		}
	}
	if value != "" {
		changed.Set(parameter, value)
	}
	return "?" + changed.Encode()
}

// filterLinks returns a link for each filter.
func filterLinks(query url.Values, throttles []Throttle) []link {
	all, current := filters(), filterOf(query)
	links := make([]link, 0, len(all))
	for i, f := range all {
		l := link{Name: f.name, Current: f.name == current.name}
		if i > 0 {
			l.URL = linkTo(query, showParameter, f.name)
		} else {
			l.URL = linkTo(query, showParameter, "")
		}
		for _, t := range throttles {
			if f.selects(t) {
				l.Count++
			}
		}
		links = append(links, l)
	}
	return links
}

// scaleLinks returns a link for each length of the strips.
func scaleLinks(query url.Values, current time.Duration) []link {
	all := scales()
	links := make([]link, 0, len(all))
	for _, s := range all {
		name := exactly(s.past)
		links = append(links, link{Name: name, URL: linkTo(query, lastParameter, name), Current: s.past == current})
	}
	return links
}
