package throttle_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/throttle-go/throttle"
)

// Examples of how the forms are put together.

// An outbox collects messages per recipient, and sends those of one in batches. A
// Group says when; the values are the outbox's own business, so it also has to
// say what the Group cannot know: what becomes of them when a run fails, when a
// call is refused, and at the end.
type outbox struct {
	send    func(recipient string, messages []string) error
	batches *throttle.Group[string]

	mu sync.Mutex // guards the field below

	// +checklocks:mu
	waiting map[string][]string // handed over, and in no run; no recipient is without messages
}

func newOutbox(p throttle.Policy, send func(string, []string) error) (*outbox, error) {
	o := &outbox{send: send, waiting: make(map[string][]string)}
	var err error
	o.batches, err = throttle.NewGroup(p, o.deliver)
	return o, err
}

// post hands message over. First the value, then the call: the other way round
// the run could come before its value, which nobody would then fetch.
func (o *outbox) post(recipient, message string) error {
	o.mu.Lock()
	o.waiting[recipient] = append(o.waiting[recipient], message)
	o.mu.Unlock()
	// An error does not mean that message was not sent: a run may have taken it
	// already. It stays here, and goes with what is posted next, if anything is.
	return o.batches.Call(recipient)
}

// deliver is the callback. For one recipient it is never active twice.
func (o *outbox) deliver(_ context.Context, recipient string) error {
	batch := o.take(recipient)
	if len(batch) == 0 {
		return nil // a run came between a value and its call, and took the value
	}
	sent := false
	defer func() { // even if send panics
		if !sent {
			o.putBack(recipient, batch)
		}
	}()
	err := o.send(recipient, batch)
	sent = err == nil
	return err
}

func (o *outbox) take(recipient string) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	batch := o.waiting[recipient]
	delete(o.waiting, recipient) // a map forgets nothing by itself, as the Group does
	return batch
}

// putBack puts batch in front of what has come since. It makes a new array, as
// send may still have the old one.
func (o *outbox) putBack(recipient string, batch []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waiting[recipient] = slices.Concat(batch, o.waiting[recipient])
}

// shutdown sends what is waiting, and returns what could not be sent.
func (o *outbox) shutdown(ctx context.Context) (unsent map[string][]string, err error) {
	err = o.batches.Shutdown(ctx)
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.waiting, err
}

func Example_perKeyBatches() {
	var broken bool // set and read between runs only
	o := throttle.Must(newOutbox(
		throttle.Policy{Quiet: time.Hour, Retry: throttle.Backoff{Initial: time.Hour}},
		func(recipient string, messages []string) error {
			if broken {
				return errors.New("no connection")
			}
			fmt.Println(recipient, messages)
			return nil
		}))
	ctx := context.Background()
	_ = o.post("ada", "1")
	_ = o.post("ada", "2")
	_ = o.post("bob", "3")
	broken = true
	fmt.Println(o.batches.Flush(ctx, "ada")) // the batch is put back, and a retry is due
	broken = false
	_ = o.post("ada", "4")
	fmt.Println(o.batches.Flush(ctx, "ada"))
	fmt.Println(o.shutdown(ctx))
	// Output:
	// no connection
	// ada [1 2 4]
	// <nil>
	// bob [3]
	// map[] <nil>
}
