package explore_test

// This file holds that the search sees all of what it explores.

import (
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/throttle-go/throttle/fleet/internal/replica"
)

// A field that a View leaves out would make states the same that are not.
func TestAViewHasEveryFieldOfAReplica(t *testing.T) {
	seen := map[string]bool{}
	for field := range reflect.TypeFor[replica.View]().Fields() {
		seen[strings.ToLower(field.Name)] = true
	}
	for field := range reflect.TypeFor[replica.Replica]().Fields() {
		if field.Name != "Rules" { // they are the model's own
			assert.True(t, seen[strings.ToLower(field.Name)], "%s", field.Name)
		}
	}
}
