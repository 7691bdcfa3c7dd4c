package examples_test

import (
	"path/filepath"
	"testing"

	"github.com/throttle-go/throttle/internal/testkit/flagstest"
)

// Every example of this module refuses a wrong command line in the same way. The examples
// that are modules of their own have the same test.
func TestFlags(t *testing.T) {
	programs := map[string][]string{ // the wrong command lines
		"debug":    {"-duration long", "-duration -1s", "-tenants 0", "-addr nowhere", "-addr 127.0.0.1:99999"},
		"loader":   {"-duration -1s", "-duration soon", "-clients 0", "-tenants 0", "-addr nowhere"},
		"snapshot": {"-duration -1s", "-interval -1s", "-interval soon", "-clients 0", "-addr nowhere", "-serve=perhaps"},
		"tenants":  {"-duration long", "-duration -1s"},
	}
	var folders []string
	for name := range programs {
		folders = append(folders, "./"+name)
	}
	bin := flagstest.Build(t, folders...)
	flagstest.CheckFailure(t, filepath.Join(bin, "snapshot"), "-file", t.TempDir())
	for name, wrong := range programs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			flagstest.Check(t, filepath.Join(bin, name), wrong...)
		})
	}
}
