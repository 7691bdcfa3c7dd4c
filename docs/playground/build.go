//go:build !js

package main

import (
	"bytes"
	"compress/gzip"
	"context"
	_ "embed"
	"fmt"
	"html/template"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/throttle-go/throttle/internal/timeline"
)

var (
	//go:embed page.html
	pageHTML string

	//go:embed page.css
	pageCSS string

	//go:embed page.js
	pageJS []byte
)

// The files of the page that page.html and page.js name, besides index.html.
const (
	styleFile  = "style.css"
	scriptFile = "page.js"
	wasmFile   = "playground.wasm"
	execFile   = "wasm_exec.js" // comes with Go
)

// importPath is that of this package.
const importPath = "github.com/throttle-go/throttle/docs/playground"

// build writes the page to dir. It needs the go command, and the module's source: the current
// folder is in it, or in a module that requires it.
func build(ctx context.Context, dir string) error {
	var index bytes.Buffer
	page, err := template.New("page").Parse(pageHTML)
	if err != nil {
		return err
	}
	err = page.Execute(&index, struct {
		Presets []Preset
		Groups  []Group
	}{Presets(), Groups()})
	if err != nil {
		return err
	}
	root, err := goCommand(ctx, nil, "env", "GOROOT")
	if err != nil {
		return err
	}
	execJS, err := os.ReadFile(filepath.Join(strings.TrimSpace(root), "lib", "wasm", execFile))
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		"index.html": index.Bytes(),
		styleFile:    []byte(timeline.Style + pageCSS),
		scriptFile:   pageJS,
		execFile:     execJS,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil { //nolint:gosec // for a web server
			return err
		}
	}
	absolute, err := filepath.Abs(filepath.Join(dir, wasmFile))
	if err != nil {
		return err
	}
	// The same source gives the same file, wherever the checkout is and whoever owns it.
	_, err = goCommand(ctx, []string{"GOOS=js", "GOARCH=wasm"},
		"build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", absolute, importPath)
	return err
}

// goCommand returns what the go command prints.
func goCommand(ctx context.Context, env []string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, "go", args...) //nolint:gosec // our own
	command.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}

// sizes returns the sizes of the wasm file in dir, as it is and gzipped.
func sizes(dir string) (size, zipped int, err error) {
	content, err := os.ReadFile(filepath.Join(dir, wasmFile)) //nolint:gosec // our own
	if err != nil {
		return 0, 0, err
	}
	var packed bytes.Buffer
	zip, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return 0, 0, err
	}
	if _, err := zip.Write(content); err != nil {
		return 0, 0, err
	}
	if err := zip.Close(); err != nil {
		return 0, 0, err
	}
	return len(content), packed.Len(), nil
}
