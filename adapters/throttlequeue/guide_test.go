package throttlequeue_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/internal/testkit/snippet"
)

// TestGuide checks that the code which the pages show of this package compiles.
func TestGuide(t *testing.T) {
	for _, page := range []string{"../../README.md", "../../docs/GUIDE.md"} {
		require.NoError(t, snippet.CheckFile(page, "throttlequeue", map[string]string{
			"controller":    "sigs.k8s.io/controller-runtime/pkg/controller",
			"ctrl":          "sigs.k8s.io/controller-runtime",
			"corev1":        "k8s.io/api/core/v1",
			"reconcile":     "sigs.k8s.io/controller-runtime/pkg/reconcile",
			"throttle":      "github.com/throttle-go/throttle",
			"throttlequeue": "github.com/throttle-go/throttle/adapters/throttlequeue",
			"time":          "time",
		}))
	}
}
