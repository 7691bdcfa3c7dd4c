package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

// A config is the content of a configuration file. It never changes: a reload makes a
// new one.
type config struct {
	Version  int    `json:"version"`
	Greeting string `json:"greeting"`
}

// load reads the configuration, and returns it only if it is valid.
func load(file string) (*config, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var c config
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&c); err != nil {
		return nil, fmt.Errorf("invalid configuration: %w", err)
	}
	if c.Greeting == "" {
		return nil, errors.New("invalid configuration: no greeting")
	}
	return &c, nil
}
