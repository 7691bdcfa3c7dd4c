package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// nameOf returns the name of a tenant.
func nameOf(tenant int) string { return fmt.Sprintf("tenant-%d", tenant) }

// drive lets clients ask the server at url for a while, or until ctx ends, and returns the
// number of answers. It returns an error if one of them is wrong or missing.
func drive(ctx context.Context, url string, c config) (uint64, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: c.clients}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}

	var answered atomic.Uint64
	end := time.Now().Add(c.duration)
	group, ctx := errgroup.WithContext(ctx)
	for range c.clients {
		group.Go(func() error {
			for time.Now().Before(end) && ctx.Err() == nil {
				// Some tenants are asked for more often than others.
				tenant, id := nameOf(min(rand.IntN(c.tenants), rand.IntN(c.tenants))), rand.IntN(items)
				if err := ask(client, url, tenant, id); err != nil {
					return err
				}
				answered.Add(1)
			}
			return nil
		})
	}
	err := group.Wait()
	return answered.Load(), err
}

// ask asks for one item, and checks the answer.
func ask(client *http.Client, url, tenant string, id int) error {
	url = fmt.Sprintf("%s/%s/%d", url, tenant, id)
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return err
	}
	if want := itemOf(tenant, id); response.StatusCode != http.StatusOK || string(body) != want {
		return fmt.Errorf("GET %s: %s: %q instead of %q", url, response.Status, body, want)
	}
	return nil
}
