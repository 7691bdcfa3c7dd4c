package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/fleet"
)

// maxWait returns how long edits that do not stop may put off a tenant's re-index.
func maxWait(quiet time.Duration) time.Duration { return 5 * quiet }

// tenantKey returns the key of the tenant with the given number.
func tenantKey(number int) string { return fmt.Sprintf("tenant-%d", number) }

// serveTenants is a process of the service with tenants. It asks for a re-index of a tenant's
// documents whenever one of them is edited. Here that happens at random until the command
// "quiet", and once for each tenant at the command "edit". It returns at the end of the
// commands. It prints the events "edit", "run" and "end" with the tenant, and the events of a
// reporter.
func serveTenants(
	ctx context.Context, url, namespace string, quiet time.Duration, tenants int, commands io.Reader, events io.Writer,
) error {
	engine, disconnect, err := open(ctx, url, namespace)
	if err != nil {
		return err
	}
	defer disconnect()
	printEvent := printTo(events)

	reindex := func(_ context.Context, tenant string) error {
		printEvent("run %s", tenant)
		time.Sleep(work)
		printEvent("end %s", tenant)
		return nil
	}
	index, err := fleet.NewGroup(reporter{engine, events}, throttle.Debounce(quiet, maxWait(quiet)), reindex,
		fleet.WithLease(lease),
		fleet.WithErrorHandler(func(err error) { printEvent("error %v", err) }))
	if err != nil {
		return err
	}
	edit := func(number int) {
		tenant := tenantKey(number)
		printEvent("edit %s", tenant)
		if err := index.Call(tenant); err != nil {
			printEvent("error %v", err)
		}
	}

	silent := make(chan struct{})
	go func() { // ends at the command "quiet", or with the process
		for {
			tenant := rand.IntN(tenants)
			for range rand.IntN(40) { // edits in one sitting
				select {
				case <-silent:
					return
				case <-time.After(rand.N(change)):
					edit(tenant)
				}
			}
		}
	}()
	for lines := bufio.NewScanner(commands); lines.Scan(); {
		switch lines.Text() {
		case "quiet":
			close(silent)
		case "edit":
			for i := range tenants {
				edit(i)
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return index.Shutdown(ctx) // hands pending runs to the others
}
