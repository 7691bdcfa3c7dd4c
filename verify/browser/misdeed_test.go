package browser_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// The tests of this package must notice misdeeds. Otherwise every page would pass.
func TestTab_Misdeeds(t *testing.T) {
	t.Parallel()
	other := serve(t, http.NotFoundHandler())
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Content-Security-Policy", "img-src 'none'")
		_, err := io.WriteString(w, `<!doctype html><img src="/forbidden"><script>
			Promise.reject(new Error("rejected"))
			console.error("complained")
			fetch("/missing")
			fetch("`+other.URL+`", {mode: "no-cors"})
			addEventListener("load", () => setTimeout(() => {
				setTimeout(() => alert("alerted"), 100)
				throw new Error("thrown")
			}))
		</script>`)
		assert.NoError(t, err)
	}))

	noting := open(t)
	noting.visit(t, server.URL)
	for _, misdeed := range []string{
		"rejected", "complained", "request: " + other.URL, "Content Security Policy", "thrown", "dialog: alerted",
	} {
		eventually(t, func(t *assert.CollectT) {
			misdeeds, _ := noting.noted()
			assert.Contains(t, strings.Join(misdeeds, "\n"), misdeed)
		})
	}
	eventually(t, func(t *assert.CollectT) {
		_, failures := noting.noted()
		assert.Contains(t, strings.Join(failures, "\n"), "/missing")
	})
}
