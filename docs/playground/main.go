//go:build !js

package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/throttle-go/throttle/internal/flags"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	flags.Exit("playground", err)
}

// A config holds the flags.
type config struct {
	addr string
	out  string
}

func parse(args []string, stdout io.Writer) (config, error) {
	var c config
	set := flag.NewFlagSet("playground", flag.ContinueOnError)
	set.StringVar(&c.addr, "addr", "localhost:8080", "address to listen on; port 0 is a free one")
	set.StringVar(&c.out, "o", "", "folder to write the page to, instead of serving it")
	return c, flags.Parse(set, args, stdout, func() error {
		_, err := net.ResolveTCPAddr("tcp", c.addr)
		return err
	})
}

// run is the whole program.
func run(ctx context.Context, args []string, stdout io.Writer) (err error) {
	c, err := parse(args, stdout)
	if err != nil {
		return err
	}
	if c.out != "" {
		return write(ctx, c.out, stdout)
	}
	listener, err := net.Listen("tcp", c.addr) // before the build, which takes a while
	if err != nil {
		return err
	}
	defer listener.Close()
	dir, err := os.MkdirTemp("", "playground")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := build(ctx, dir); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(stdout, "the playground is at %s until you interrupt this program\n", urlOf(c.addr, listener)); err != nil {
		return err
	}
	return serve(ctx, listener, os.DirFS(dir))
}

// urlOf returns the URL of what listens at addr. It has the host of addr, so that it is the URL
// to which POLICIES.md links, but the port of the listener.
func urlOf(addr string, listener net.Listener) string {
	host, _, _ := net.SplitHostPort(addr)                     // addr is valid
	_, port, _ := net.SplitHostPort(listener.Addr().String()) // likewise
	return "http://" + net.JoinHostPort(cmp.Or(host, "localhost"), port) + "/"
}

// write writes the page to dir, and prints how large it is.
func write(ctx context.Context, dir string, stdout io.Writer) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // for a web server
		return err
	}
	if err := build(ctx, dir); err != nil {
		return err
	}
	size, zipped, err := sizes(dir)
	if err != nil {
		return err
	}
	const megabyte = 1e6
	_, err = fmt.Fprintf(stdout, "the playground is in %s; %s has %.2f MB, %.2f MB of them gzipped\n",
		dir, wasmFile, float64(size)/megabyte, float64(zipped)/megabyte)
	return err
}

// serve serves the files until ctx ends.
func serve(ctx context.Context, listener net.Listener, files fs.FS) error {
	static := http.FileServerFS(files)
	server := &http.Server{
		ReadHeaderTimeout: 5 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "no-store") // the next build has the same file names
			static.ServeHTTP(w, r)
		}),
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
