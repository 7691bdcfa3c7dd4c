package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// drive calls the throttlers until ctx ends.
func (w *work) drive(ctx context.Context, tenants int) {
	w.imported.Call()
	_ = w.imported.Shutdown(ctx) // check reports it if this fails
	var all sync.WaitGroup
	for _, caller := range []struct {
		least, most time.Duration // between calls
		call        func()
	}{
		{500 * time.Millisecond, 4 * time.Second, w.reload.Call},
		{time.Second, 6 * time.Second, func() { w.typeSome(ctx) }},
		{50 * time.Millisecond, time.Second, w.preview.Call},
		{500 * time.Millisecond, 3 * time.Second, w.feed.Call},
		{200 * time.Millisecond, 5 * time.Second, w.summary.Call},
		{20 * time.Millisecond, 500 * time.Millisecond, w.writeLine},
		{10 * time.Millisecond, 200 * time.Millisecond, func() { w.ask(tenants) }},
	} {
		all.Go(func() {
			for ctx.Err() == nil {
				caller.call()
				pause(ctx, caller.least, caller.most)
			}
		})
	}
	all.Wait()
}

// typeSome types a word or a sentence.
func (w *work) typeSome(ctx context.Context) {
	for range 3 + rand.N(25) {
		w.index.Call()
		pause(ctx, 50*time.Millisecond, 400*time.Millisecond)
	}
}

// writeLine hands over a line. Call cannot fail before Shutdown.
func (w *work) writeLine() {
	_ = w.journal.Call(time.Now().Format(time.StampMilli) + " something happened")
}

// ask is a request of a tenant; some tenants ask more often than others. Beyond
// WithMaxKeys the Group refuses it, and a server would answer with 503.
func (w *work) ask(tenants int) {
	_ = w.refresh.Call(fmt.Sprintf("tenant-%d", min(rand.N(tenants), rand.N(tenants))))
}
