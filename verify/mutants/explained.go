package main

import (
	"fmt"
	"strings"
)

// This file holds the form of explained.txt: paragraphs, each the key of a mutant
// in its first line and in the others why no test can, or need, kill it. Those that
// begin with # are comments.

// parseExplained returns the reasons by the keys of the mutants.
func parseExplained(text string) (map[string]string, error) {
	explained := map[string]string{}
	for paragraph := range strings.SplitSeq(text, "\n\n") {
		paragraph = strings.TrimSpace(paragraph)
		if paragraph == "" || strings.HasPrefix(paragraph, "#") {
			continue
		}
		key, reason, _ := strings.Cut(paragraph, "\n")
		reason = strings.Join(strings.Fields(reason), " ")
		if reason == "" {
			return nil, fmt.Errorf("no reason is given for %s", key)
		}
		if explained[key] != "" {
			return nil, fmt.Errorf("explained twice: %s", key)
		}
		explained[key] = reason
	}
	return explained, nil
}
