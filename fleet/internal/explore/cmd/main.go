// Command explore reads a configuration from its standard input, searches it, and writes the
// result to its standard output, both as JSON. The tests of package explore build it with
// faults in the explored code.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/throttle-go/throttle/fleet/internal/explore"
)

func main() {
	debug.SetGCPercent(400) // a search keeps most of what it allocates for a while
	var c explore.Configuration
	err := json.NewDecoder(os.Stdin).Decode(&c)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(explore.Search(c))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:forbidigo // a program of its own
	}
}
