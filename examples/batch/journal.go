package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/throttle-go/throttle"
)

// A record is what a writer hands over.
type record struct {
	writer, number int
	made           time.Time
}

const lineFormat = "%d %d\n" // of a record in the file: its writer and number

// A journal collects records, and writes them in batches.
type journal struct {
	disk    *disk
	batches *throttle.Coalescer[[]record]
}

func newJournal(d *disk, opts ...throttle.Option) (*journal, error) {
	policy := throttle.Policy{
		Quiet:    30 * time.Millisecond, // nobody waits longer for a batch to fill
		MaxWait:  60 * time.Millisecond, // nor than this in all, however many go on coming
		MaxCalls: 50,                    // and not at all once it is full
		Retry:    throttle.Backoff{Initial: 10 * time.Millisecond, Max: time.Second, Jitter: 0.2},
	}
	batches, err := throttle.NewCoalescer(policy, throttle.Append,
		func(_ context.Context, batch []record) error { return d.write(batch) }, opts...)
	return &journal{d, batches}, err
}

// add hands r over. It waits for nothing but other adds.
func (j *journal) add(r record) error { return j.batches.Call([]record{r}) }

// close writes what has not been written yet. Shutdown alone would try only once;
// what fails in Flush is kept for the next.
func (j *journal) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	for range 5 {
		if j.batches.Flush(ctx) == nil {
			break
		}
	}
	return errors.Join(j.batches.Shutdown(ctx), j.disk.close())
}

const oneIn = 3 // writes fails

// A disk appends records to a file. Its fields need no lock: they are for runs,
// which never overlap, and for those who have waited for the last one.
type disk struct {
	file *os.File
	size int64 // of what was written without a failure

	writes, failures, records, largest int
	longestWait                        time.Duration
}

func newDisk(name string) (*disk, error) {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	return &disk{file: file}, err
}

// write appends batch as a whole, or not at all: it is written where the last one
// ended, over what a failed write may have left there.
func (d *disk) write(batch []record) error {
	var lines bytes.Buffer
	for _, r := range batch {
		fmt.Fprintf(&lines, lineFormat, r.writer, r.number)
	}
	d.writes++
	if err := d.writeAt(lines.Bytes()); err != nil {
		d.failures++
		return errors.Join(err, d.file.Truncate(d.size))
	}
	d.size += int64(lines.Len())
	d.records += len(batch)
	d.largest = max(d.largest, len(batch))
	for _, r := range batch {
		d.longestWait = max(d.longestWait, time.Since(r.made))
	}
	return nil
}

// writeAt writes data where the last write ended; of every third, from the second
// on, only half.
func (d *disk) writeAt(data []byte) error {
	if d.writes%oneIn == 2 {
		_, err := d.file.WriteAt(data[:len(data)/2], d.size)
		return errors.Join(errors.New("disk full"), err)
	}
	_, err := d.file.WriteAt(data, d.size)
	return errors.Join(err, d.file.Sync())
}

func (d *disk) close() error { return d.file.Close() }
