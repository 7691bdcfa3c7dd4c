package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/throttle-go/throttle/internal/testkit/flagstest"
)

func TestDemonstration(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir()) // on Unix
	requireDemonstration(t, "a file")
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

// requireDemonstration requires that the demonstration succeeds on a store of this name.
func requireDemonstration(t *testing.T, store string, args ...string) {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), append(args, "-rows", "60", "-patience", "1m"), &out), out.String())
	for _, pattern := range []string{
		`^4 writers store 60 rows each on ` + store + `, one write in 3 breaks off\n`,
		`\nrows +240 +none is missing`,
		`\nstored +236 +in order`,
		`\ndead letters +4 +4 of them poisoned\n`,
		`\nbatches +[1-9]\d* +runs, [1-9]\d* of them failed, [1-9]\d* rows in one at most\n`,
		`\nlongest wait +[\d.]+m?s +of a row`,
		`\nruns +[█✗]`,
	} {
		assert.Regexp(t, pattern, out.String())
	}
}

// A shutdown without time stores nothing more, and still no row is missing.
func TestDemonstration_NoPatience(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"-rows", "60", "-patience", "0"}, &out), out.String())
	assert.Regexp(t, `\nrows +240 `, out.String())
}

func TestRun_Interrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(30*time.Millisecond, cancel)
	err := run(ctx, []string{"-rows", "100000"}, io.Discard)
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, context.Canceled.Error(), err.Error(), "nothing else went wrong")
}

const always = math.MaxInt

// A fixture is a journal in a test: a store in memory, and what is in it and in the dead letters.
type fixture struct {
	*journal

	failures int           // so many inserts fail
	hang     time.Duration // an insert takes so long
	before   func()        // called before each insert, unless nil
	handed   [writers]int
	deadFile string

	mu     sync.Mutex // guards the field below
	stored []row
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{deadFile: filepath.Join(t.TempDir(), "dead.json")}
	dead, err := newDeadLetters(f.deadFile)
	require.NoError(t, err)
	f.journal, err = newJournal(f, dead)
	require.NoError(t, err)
	return f
}

func (f *fixture) insert(_ context.Context, rows []row) error {
	if f.before != nil {
		f.before()
	}
	time.Sleep(f.hang)
	if f.failures > 0 {
		f.failures--
		return errors.New("disk full")
	}
	for _, r := range rows {
		if r != newRow(r.Writer, r.Number) || strings.Contains(r.Text, "\x00") {
			return errRefused
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stored = append(f.stored, rows...)
	return nil
}

func (f *fixture) rows(context.Context) ([]row, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stored, nil
}

// handOver hands over the rows of a writer from one number up to another.
func (f *fixture) handOver(t *testing.T, writer, from, to int) {
	t.Helper()
	for number := from; number < to; number++ {
		require.NoError(t, f.add(t.Context(), newRow(writer, number)))
		f.handed[writer]++
	}
	synctest.Wait() // a full batch is in its run
}

// requireCount requires that no row is missing, and that so many are dead letters.
func (f *fixture) requireCount(t *testing.T, handed, dead int) {
	t.Helper()
	require.NoError(t, f.dead.close())
	got, err := verify(t.Context(), f, f.deadFile, f.handed)
	require.NoError(t, err)
	require.Len(t, got.letters, dead)
	require.Equal(t, handed-dead, got.stored)
}

func TestJournal(t *testing.T) {
	t.Run("repeats a batch", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := newFixture(t)
			f.failures = 2
			f.handOver(t, 0, 0, 10)
			require.NoError(t, f.close(t.Context()))
			f.requireCount(t, 10, 0)
		})
	})
	t.Run("separates a poisoned row", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := newFixture(t)
			f.handOver(t, 0, 40, 60)
			time.Sleep(time.Second)
			synctest.Wait()
			require.Len(t, f.stored, 19)
			letters, err := readDeadLetters(f.deadFile)
			require.NoError(t, err)
			require.Equal(t, []deadLetter{{newRow(0, 50), "throttle: unfinished: refused"}}, letters)
			require.NoError(t, f.close(t.Context()))
		})
	})
	t.Run("separates it during close", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := newFixture(t)
			f.handOver(t, 0, 0, 60)
			require.NoError(t, f.close(t.Context()))
			f.requireCount(t, 60, 1)
		})
	})
	t.Run("keeps the order after a failure behind it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := newFixture(t)
			inserts := 0
			f.before = func() {
				inserts++
				if inserts == 43 { // after the batch and 41 single rows, up to the poisoned one
					f.failures = 1
				}
			}
			f.handOver(t, 0, 0, 10)
			require.NoError(t, f.batches.Flush(t.Context()))
			inserts = 0
			f.handOver(t, 0, 10, 60)
			require.NoError(t, f.close(t.Context()))
			f.requireCount(t, 60, 1)
		})
	})
}

func TestJournal_Close(t *testing.T) {
	tests := map[string]struct {
		failures int
		patience time.Duration
		dead     int
	}{
		"enough time":                {0, time.Minute, 0},
		"some failures":              {3, time.Minute, 0},
		"the store has failed":       {always, time.Minute, 100},
		"a run ends after the close": {0, 1500 * time.Millisecond, 0},
		"a run fails after it":       {always, 1500 * time.Millisecond, 100},
		"no time":                    {0, 0, 50},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				f.failures, f.hang = test.failures, time.Second
				f.handOver(t, 0, 0, 50) // a full batch, which is active now
				f.handOver(t, 1, 0, 50) // another one, which waits
				ctx, cancel := context.WithTimeout(t.Context(), test.patience)
				defer cancel()
				require.NoError(t, f.close(ctx))
				f.requireCount(t, 100, test.dead)
			})
		})
	}
}

// If a run does not end, its rows become dead letters. They may be stored all the same.
func TestJournal_Close_Hanging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.hang = time.Hour
		f.handOver(t, 0, 0, 50)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, f.close(ctx), context.DeadlineExceeded)
		f.requireCount(t, 50, 50)
		time.Sleep(f.hang)
		synctest.Wait()
		require.Len(t, f.stored, 50)
	})
}

// A failed write leaves nothing behind, so it can be repeated.
func TestFile_Insert(t *testing.T) {
	f, err := newFile(filepath.Join(t.TempDir(), "rows.txt"))
	require.NoError(t, err)
	defer f.file.Close()
	const first, second = "0 1 text1\n0 2 text2\n", "0 3 text3\n0 4 text4\n"
	require.NoError(t, f.insert(t.Context(), []row{newRow(0, 1), newRow(0, 2)}))
	for _, want := range []string{first, first + second} {
		err := f.insert(t.Context(), []row{newRow(0, 3), newRow(0, 4)})
		assert.Equal(t, want == first, err != nil)
		got, err := os.ReadFile(f.file.Name())
		require.NoError(t, err)
		assert.Equal(t, want, string(got))
	}
	require.ErrorIs(t, f.insert(t.Context(), []row{newRow(0, 49), newRow(0, 50)}), errRefused)
}

func TestCount(t *testing.T) {
	right := []row{newRow(0, 0), newRow(1, 0), newRow(1, 1), newRow(1, 2)}
	letters := []deadLetter{{newRow(0, 1), "refused"}}
	tests := map[string]struct {
		stored  []row
		letters []deadLetter
		wrong   bool
	}{
		"right":                {right, letters, false},
		"empty":                {nil, nil, true},
		"one missing":          {right[:3], letters, true},
		"one twice":            {append(slices.Clone(right), right[3]), letters, true},
		"one in both":          {append(slices.Clone(right), newRow(0, 1)), letters, true},
		"one letter twice":     {right, append(slices.Clone(letters), letters...), true},
		"wrong order":          {[]row{right[0], right[1], right[3], right[2]}, letters, true},
		"wrong text":           {append(slices.Clone(right[:3]), row{Writer: 1, Number: 2, Text: "te"}), letters, true},
		"never handed over":    {append(slices.Clone(right), newRow(2, 0)), letters, true},
		"of an unknown writer": {append(slices.Clone(right), newRow(writers, 0)), letters, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := count(test.stored, test.letters, [writers]int{2, 3})
			assert.Equal(t, test.wrong, err != nil, fmt.Sprint(err))
		})
	}
}

func TestFlags(t *testing.T) {
	flagstest.Check(t, filepath.Join(flagstest.Build(t, "."), "batch"),
		"-rows many", "-rows 0", "-rows -1", "-rows", "-patience -1s", "-patience soon", "-postgres postgres://[")
}
