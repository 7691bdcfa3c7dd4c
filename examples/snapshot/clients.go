package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// drive lets clients change counters of the server at url for a while, or until ctx
// ends, and returns the number of answered requests.
func drive(ctx context.Context, url string, clients int, duration time.Duration) (uint64, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}

	var answered atomic.Uint64
	end := time.Now().Add(duration)
	group, ctx := errgroup.WithContext(ctx)
	for id := range clients {
		group.Go(func() error {
			// Even if ctx ends, wait for the answer to a request: it says whether
			// the state has changed.
			for i := id; time.Now().Before(end) && ctx.Err() == nil; i++ {
				if err := increment(client, fmt.Sprintf("%s/counters/%c", url, 'a'+i%26)); err != nil {
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

// increment asks the server for one change.
func increment(client *http.Client, url string) error {
	response, err := client.Post(url, "", nil)
	if err != nil {
		return err
	}
	// The client reuses a connection only after the whole answer was read.
	_, err = io.Copy(io.Discard, response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("POST %s: %s", url, response.Status)
	}
	return nil
}
