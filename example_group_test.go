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

func ExampleGroup() {
	refresh := throttle.Must(throttle.NewGroup(throttle.Every(time.Hour), func(_ context.Context, tenant string) error {
		fmt.Println("refreshed", tenant)
		return nil
	}))
	ctx := context.Background()
	fmt.Println(refresh.Do(ctx, "acme")) // at once
	for range 1000 {
		_ = refresh.Call("acme") // one run in an hour
	}
	fmt.Println(refresh.Do(ctx, "globex")) // at once: another key's window does not matter
	fmt.Println(refresh.Shutdown(ctx))
	// Output:
	// refreshed acme
	// <nil>
	// refreshed globex
	// <nil>
	// refreshed acme
	// <nil>
}

func ExampleNewGroup() {
	type account struct {
		region string
		id     int
	}
	bill, err := throttle.NewGroup(
		throttle.Policy{Interval: time.Second, Retry: throttle.Backoff{Initial: time.Minute}},
		func(_ context.Context, a account) error {
			return fmt.Errorf("account %d in %s is locked", a.id, a.region)
		},
		throttle.WithName("billing"),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer bill.Close()
	fmt.Println(bill.Do(context.Background(), account{"north", 7}))
	// Output: account 7 in north is locked
}

func ExampleGroup_Call() {
	indexed := make(chan string)
	index := throttle.Must(throttle.NewGroup(throttle.Every(time.Hour), func(_ context.Context, page string) error {
		indexed <- page
		return nil
	}))
	defer index.Close()
	fmt.Println(index.Call("home")) // nil says that the call was accepted, not that its run succeeded
	fmt.Println(<-indexed)
	// Output:
	// <nil>
	// home
}

func ExampleGroup_CallWithin() {
	save := newSaver()
	defer save.Close()
	_ = save.Call("draft")                                            // may wait for an hour without calls
	_ = save.CallWithin("draft", 0)                                   // must not wait
	if err := save.Flush(context.Background(), "draft"); err != nil { // waits for that run
		fmt.Println(err)
	}
	// Output: saved draft
}

func ExampleGroup_Do() {
	load := throttle.Must(throttle.NewGroup(throttle.Every(time.Hour), func(_ context.Context, id int) error {
		if id == 404 {
			return errors.New("not found")
		}
		return nil
	}))
	defer load.Close()
	ctx := context.Background()
	fmt.Println(load.Do(ctx, 1))
	fmt.Println(load.Do(ctx, 404)) // each caller gets the error of its own key
	// Output:
	// <nil>
	// not found
}

func ExampleGroup_Flush() {
	save := newSaver()
	defer save.Close()
	_ = save.Call("draft")
	_ = save.Call("letter") // is not flushed
	ctx := context.Background()
	fmt.Println(save.Flush(ctx, "draft"))
	fmt.Println(save.Flush(ctx, "diary")) // was never called, so there is nothing to wait for
	// Output:
	// saved draft
	// <nil>
	// <nil>
}

func ExampleGroup_Cancel() {
	save := newSaver()
	defer save.Close()
	_ = save.Call("draft")
	fmt.Println(save.Cancel("draft"), save.Cancel("letter"))
	// Output: true false
}

func ExampleGroup_Remove() {
	poll, err := throttle.NewGroup(throttle.Policy{MaxInterval: time.Hour}, func(_ context.Context, host string) error {
		fmt.Println("polling", host)
		return nil
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer poll.Close()
	if err := poll.Do(context.Background(), "alpha"); err != nil {
		fmt.Println(err)
	}
	// The host is gone. Without Remove it would be polled every hour, for ever.
	fmt.Println(poll.Remove("alpha"), poll.Len())
	// Output:
	// polling alpha
	// true 0
}

func ExampleKeyError() {
	save, err := throttle.NewGroup(throttle.Debounce(time.Hour, 0), func(context.Context, int) error {
		return errors.New("disk full")
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := save.Call(7); err != nil {
		fmt.Println(err)
	}
	var failed *throttle.KeyError
	if err := save.Shutdown(context.Background()); errors.As(err, &failed) {
		fmt.Printf("tenant %v: %v\n", failed.Key, failed.Err)
	}
	// Output:
	// tenant 7: disk full
}

func ExampleGroup_Keys() {
	save := newSaver()
	defer save.Close()
	_ = save.Call("draft")
	_ = save.Call("letter")
	for key := range save.Keys() { // in no order
		save.Cancel(key)
	}
	fmt.Println(slices.Sorted(save.Keys())) // still held: their windows last an hour
	// Output: [draft letter]
}

func ExampleGroup_SetPolicy() {
	save := newSaver()
	_ = save.Call("draft")                           // due in an hour
	err := save.SetPolicy(throttle.Every(time.Hour)) // due now: nothing has run for this key yet
	if err != nil {
		fmt.Println(err)
	}
	if err := save.Flush(context.Background(), "draft"); err != nil {
		fmt.Println(err)
	}
	// Output: saved draft
}

func ExampleGroup_Stats() {
	load := throttle.Must(throttle.NewGroup(throttle.Every(time.Hour), func(_ context.Context, id int) error {
		if id == 404 {
			return errors.New("not found")
		}
		return nil
	}))
	defer load.Close()
	for _, id := range []int{1, 2, 404} {
		_ = load.Do(context.Background(), id)
	}
	s := load.Stats() // of all keys together
	fmt.Println(s.Runs, s.Failures, s.LastError)
	// Output: 3 1 not found
}

func ExampleGroup_KeyStats() {
	save := newSaver()
	defer save.Close()
	_ = save.Call("draft")
	draft, held := save.KeyStats("draft")
	fmt.Println(draft.Pending, held)
	_, held = save.KeyStats("letter")
	fmt.Println(held)
	// Output:
	// true true
	// false
}

func ExampleGroup_Close() {
	save := newSaver()
	_ = save.Call("draft") // dropped by Close
	fmt.Println(save.Close())
	fmt.Println(save.Call("draft"))
	// Output:
	// <nil>
	// throttle: closed
}

func ExampleGroup_Shutdown() {
	save := newSaver()
	_ = save.Call("draft")
	_ = save.Call("letter")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	fmt.Println(save.Shutdown(ctx)) // what is pending runs now, different keys at the same time
	// Unordered output:
	// saved draft
	// saved letter
	// <nil>
}

func ExampleWithMaxConcurrent() {
	crawl := throttle.Must(throttle.NewGroup(throttle.Every(time.Hour),
		func(_ context.Context, host string) error {
			fmt.Println(host)
			return nil
		},
		throttle.WithMaxConcurrent(1)))
	for _, host := range []string{"a.example", "b.example", "c.example"} {
		_ = crawl.Call(host) // due at once, but only one at a time
	}
	fmt.Println(crawl.Shutdown(context.Background()))
	// Output:
	// a.example
	// b.example
	// c.example
	// <nil>
}

// Clients choose the keys, so the number of keys is limited.
func ExampleWithMaxKeys() {
	save := throttle.Must(throttle.NewGroup(throttle.Debounce(time.Hour, 0),
		func(context.Context, string) error { return nil },
		throttle.WithMaxKeys(1)))
	defer save.Close()
	fmt.Println(save.Call("draft"))
	fmt.Println(save.Call("draft")) // is held already
	err := save.Call("letter")
	fmt.Println(err, errors.Is(err, throttle.ErrTooManyKeys))
	// Output:
	// <nil>
	// <nil>
	// throttle: too many keys true
}

// newSaver returns a Group that prints which document it would save, an hour after its
// last change.
func newSaver() *throttle.Group[string] {
	return throttle.Must(throttle.NewGroup(throttle.Debounce(time.Hour, 0),
		func(_ context.Context, document string) error {
			fmt.Println("saved", document)
			return nil
		}))
}

// An outbox collects messages per recipient and sends them in batches. A Group decides
// when. The Group does not know the messages, so the outbox decides what happens to
// them when a run fails, when a call is refused, and at the end.
type outbox struct {
	send    func(recipient string, messages []string) error
	batches *throttle.Group[string]

	mu sync.Mutex // guards the field below

	// +checklocks:mu
	waiting map[string][]string // messages that no run has taken; no entry is empty
}

func newOutbox(p throttle.Policy, send func(string, []string) error) (*outbox, error) {
	o := &outbox{send: send, waiting: make(map[string][]string)}
	var err error
	o.batches, err = throttle.NewGroup(p, o.deliver)
	return o, err
}

// post hands message over. It stores the message before the call. Otherwise the run
// could come before the message, and nobody would fetch it then.
func (o *outbox) post(recipient, message string) error {
	o.mu.Lock()
	o.waiting[recipient] = append(o.waiting[recipient], message)
	o.mu.Unlock()
	// An error does not mean that message was not sent: a run may have taken it
	// already. Otherwise it stays here, and goes with the next post.
	return o.batches.Call(recipient)
}

// deliver is the callback. Runs for one recipient never overlap.
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
	delete(o.waiting, recipient) // unlike the Group, a map forgets nothing by itself
	return batch
}

// putBack puts batch in front of newer messages. It makes a new array, because send
// may still have the old one.
func (o *outbox) putBack(recipient string, batch []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waiting[recipient] = slices.Concat(batch, o.waiting[recipient])
}

// shutdown sends all waiting messages, and returns those that could not be sent.
func (o *outbox) shutdown(ctx context.Context) (unsent map[string][]string, err error) {
	err = o.batches.Shutdown(ctx)
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.waiting, err
}

func Example_perKeyBatches() {
	var broken bool // set and read only between runs
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
