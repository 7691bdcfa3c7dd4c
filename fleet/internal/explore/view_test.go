package explore_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/throttle-go/throttle/fleet/internal/replica"
)

// A View has every field of a Replica. If one was missing, the search would take different
// states for the same.
func TestView(t *testing.T) {
	seen := map[string]bool{}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[replica.View]()) {
		seen[strings.ToLower(field.Name)] = true
	}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[replica.Replica]()) {
		if field.Name != "Rules" { // the model keeps them itself
			assert.True(t, seen[strings.ToLower(field.Name)], "%s", field.Name)
		}
	}
}
