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

// A record is one line that a writer hands over.
type record struct {
	writer, number int
	made           time.Time
}

const lineFormat = "%d %d\n" // of a record in the file: its writer and number

// A journal collects records, and writes them in batches.
type journal struct {
	disk    *disk
	batches *throttle.Coalescer[record, []record]
}

func newJournal(d *disk, opts ...throttle.Option) (*journal, error) {
	policy := throttle.Policy{
		Quiet:    30 * time.Millisecond, // a batch waits this long for another record,
		MaxWait:  60 * time.Millisecond, // and at most this long in all,
		MaxCalls: 50,                    // and not at all once it is full
		Retry:    throttle.Backoff{Initial: 10 * time.Millisecond, Max: time.Second, Jitter: 0.2},
	}
	batches, err := throttle.NewCoalescer(policy, throttle.Batch[record](),
		func(_ context.Context, batch []record) error { return d.write(batch) }, opts...)
	return &journal{d, batches}, err
}

// add hands r over. It waits only for other adds.
func (j *journal) add(r record) error { return j.batches.Call(r) }

// close writes the records that are left. Shutdown alone would try only once; the
// journal keeps the records of a failed Flush for the next one.
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

const oneIn = 3 // one write in so many fails

// A disk appends records to a file. Its fields need no lock: runs never overlap, and
// everyone else reads them after the last run.
type disk struct {
	file *os.File
	size int64 // of all successful writes

	writes, failures, records, largest int
	longestWait                        time.Duration
}

func newDisk(name string) (*disk, error) {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	return &disk{file: file}, err
}

// write appends the whole batch or nothing. It writes after the last successful batch,
// over the remains of a failed write.
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

// writeAt writes data after the last successful batch. The second write and every third
// one after it fail half-way.
func (d *disk) writeAt(data []byte) error {
	if d.writes%oneIn == 2 {
		_, err := d.file.WriteAt(data[:len(data)/2], d.size)
		return errors.Join(errors.New("disk full"), err)
	}
	_, err := d.file.WriteAt(data, d.size)
	return errors.Join(err, d.file.Sync())
}

func (d *disk) close() error { return d.file.Close() }
