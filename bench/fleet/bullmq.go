//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/throttle-go/throttle/internal/testkit/servers"
)

// bullMQFiles hold a node program that debounces with BullMQ, and the versions that it needs.
//
//go:embed bullmq/package.json bullmq/package-lock.json bullmq/*.mjs
var bullMQFiles embed.FS

// A bullMQ holds the figures of BullMQ, as bullmq/debounce.mjs prints them. Times are in
// milliseconds.
type bullMQ struct {
	Version     string `json:"bullmq"`
	Node        string `json:"node"`
	Processes   int    `json:"processes"` // that call
	Workers     int    `json:"workers"`
	Concurrency int    `json:"concurrency"` // runs at the same time in each worker
	Quiet       int    `json:"quiet"`

	Burst struct {
		Keys     int     `json:"keys"`
		Calls    int     `json:"calls"`
		Runs     int     `json:"runs"`
		Missed   int     `json:"missed"`              // keys without a run after the last call
		Messages float64 `json:"messagesPerThousand"` // of all processes, per thousand calls
		Commands float64 `json:"commandsPerThousand"` // that Redis executes, in scripts too
		Lateness spread  `json:"lateness"`            // of a key's last run: after the last call, beyond the quiet time
	} `json:"burst"`

	// Again holds what became of calls that came as a job became active, or while it was.
	Again []struct {
		Keep       bool   `json:"keepLastIfActive"` // an option of BullMQ
		Moment     string `json:"moment"`           // of the call: due, start or middle
		Calls      int    `json:"calls"`
		Lost       int    `json:"lost"`       // no run began after the call
		Overlapped int    `json:"overlapped"` // its run began before the active one ended
		Wait       spread `json:"wait"`       // from the call to its run
	} `json:"again"`

	CallerKilled struct {
		Calls int `json:"calls"`
		Ran   int `json:"ran"`
	} `json:"callerKilled"`

	WorkerKilled *struct { // nil if left out
		RanAgain bool    `json:"ranAgain"`
		After    float64 `json:"after"` // from the kill to the next run
	} `json:"workerKilled"`

	Errors map[string]int `json:"errors"` // that BullMQ reported, counted
}

type spread struct {
	Min float64 `json:"min"` // below 0 in Lateness if a run began early
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// measureBullMQ runs bullmq/debounce.mjs with arguments on the Redis server at redisAddr.
// The error wraps [servers.ErrNotInstalled] if node, npm or the packages are missing.
func measureBullMQ(ctx context.Context, redisAddr string, arguments ...string) (b bullMQ, err error) {
	host, port, err := net.SplitHostPort(redisAddr)
	if err != nil {
		return b, err
	}
	node, err := exec.LookPath("node")
	if err != nil {
		return b, fmt.Errorf("node %w: %w", servers.ErrNotInstalled, err)
	}
	folder, err := installBullMQ(ctx)
	if err != nil {
		return b, err
	}
	var stdout, stderr bytes.Buffer
	program := exec.CommandContext(ctx, node, append([]string{"debounce.mjs", "--host", host, "--port", port}, arguments...)...)
	program.Dir, program.Stdout, program.Stderr = folder, &stdout, &stderr
	program.WaitDelay = 5 * time.Second // its child processes end when they notice that it has
	if err := program.Run(); err != nil {
		return b, fmt.Errorf("debounce.mjs: %w: %s", err, stderr.Bytes()[max(0, stderr.Len()-2000):])
	}
	if err := json.Unmarshal(stdout.Bytes(), &b); err != nil {
		return b, fmt.Errorf("debounce.mjs: %w: %s", err, stdout.Bytes())
	}
	return b, nil
}

// installBullMQ returns a folder in the user's cache with the program and its packages. The
// folder's name is a hash of the files, so it is complete and current if it exists.
func installBullMQ(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	cache = filepath.Join(cache, "throttle-bench")
	files, err := fs.Sub(bullMQFiles, "bullmq")
	if err != nil {
		return "", err
	}
	hash, err := hashFiles(files)
	if err != nil {
		return "", err
	}
	folder := filepath.Join(cache, "bullmq-"+hash)
	if _, err := os.Stat(folder); err == nil {
		return folder, nil
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		return "", fmt.Errorf("npm %w: %w", servers.ErrNotInstalled, err)
	}
	if err := os.MkdirAll(cache, 0o750); err != nil {
		return "", err
	}
	draft, err := os.MkdirTemp(cache, "draft")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(draft) }()
	if err := os.CopyFS(draft, files); err != nil {
		return "", err
	}
	install := exec.CommandContext(ctx, npm, "ci", "--ignore-scripts", "--prefer-offline", "--fetch-retries=1", "--no-audit", "--no-fund")
	install.Dir, install.WaitDelay = draft, 5*time.Second
	if output, err := install.CombinedOutput(); err != nil {
		return "", fmt.Errorf("bullmq %w: npm ci: %w: %s", servers.ErrNotInstalled, err, output)
	}
	if err := os.Rename(draft, folder); err != nil && !errors.Is(err, fs.ErrExist) { // another process was faster
		return "", err
	}
	return folder, nil
}

func hashFiles(files fs.FS) (string, error) {
	names, err := fs.Glob(files, "*")
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(hash, "%s %d\n%s", name, len(text), text)
	}
	return hex.EncodeToString(hash.Sum(nil)[:8]), nil
}

func printBullMQ(w io.Writer, b bullMQ) {
	section(w, fmt.Sprintf("BullMQ %s in its debounce mode: %d processes call, %d workers of concurrency %d run, quiet %d ms",
		b.Version, b.Processes, b.Workers, b.Concurrency, b.Quiet),
		"messages: what the processes send to Redis, per thousand calls. commands: what Redis executes, in scripts too. missed: keys",
		"without a run after the last call. late: the last run began that many milliseconds after the quiet time.",
		"A worker waits in BZPOPMIN, whose timeout an idle Redis notices up to 100 ms late: with hz 500 the median is about 2 ms.")
	align(w, b.burstRows(), 0)
	section(w, "BullMQ: calls that come as a job becomes active, or while it is",
		"lost: no run begins after the call. overlapped: its run begins before the active one ends. keep: with keepLastIfActive.")
	align(w, b.againRows(), 1)
	section(w, "BullMQ after kill -9")
	align(w, b.killRows(), 1)
}

func (b bullMQ) burstRows() [][]string {
	u := b.Burst
	return [][]string{
		{"keys", "calls", "messages", "commands", "runs", "missed", "late min", "p50", "p99", "max"},
		{
			strconv.Itoa(u.Keys), strconv.Itoa(u.Calls), whole(u.Messages), whole(u.Commands), strconv.Itoa(u.Runs), strconv.Itoa(u.Missed),
			whole(u.Lateness.Min), whole(u.Lateness.P50), whole(u.Lateness.P99), whole(u.Lateness.Max),
		},
	}
}

func (b bullMQ) againRows() [][]string {
	rows := [][]string{{"call", "calls", "lost", "overlapped", "wait p50 ms", "max ms"}}
	for _, a := range b.Again {
		call := map[string]string{"due": "when it is due", "start": "as it begins to run", "middle": "in the middle of its run"}[a.Moment]
		if a.Keep {
			call += ", keep"
		}
		rows = append(rows, []string{
			call, strconv.Itoa(a.Calls), strconv.Itoa(a.Lost), strconv.Itoa(a.Overlapped), whole(a.Wait.P50), whole(a.Wait.Max),
		})
	}
	return rows
}

func (b bullMQ) killRows() [][]string {
	rows := [][]string{
		{"killed", "times", "ran", "after ms"},
		{"a caller, as its call is answered", strconv.Itoa(b.CallerKilled.Calls), strconv.Itoa(b.CallerKilled.Ran), "-"},
	}
	if k := b.WorkerKilled; k != nil {
		ran, after := "0", "-"
		if k.RanAgain {
			ran, after = "1", whole(k.After)
		}
		rows = append(rows, []string{"a worker, in the middle of a run", "1", ran, after})
	}
	return rows
}
