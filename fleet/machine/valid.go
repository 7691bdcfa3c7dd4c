package machine

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxID is how many bytes an identifier may have. They are ASCII letters, digits and
// hyphens.
const MaxID = 64

func (c Claim) validate() error {
	return errors.Join(
		checkID(c.ID),
		checkSpan("Age", max(c.Age, 0)),
		checkSpan("First", max(c.First, 0)),
		checkNumber("By", int64(c.By)),
		checkBelow("Seen", c.Seen),
		checkSpan("Spacing", c.Spacing),
		checkSpan("Quiet", c.Quiet),
		checkSpan("MaxWait", c.MaxWait),
		checkSpan("Lease", c.Lease-time.Microsecond),
		checkText("Policy", c.Policy),
	)
}

func (f Finish) validate() error {
	return errors.Join(
		checkNumber("Token", f.Token),
		checkSpan("Delay", f.Delay),
		checkNumber("Failures", int64(f.Failures)),
		checkText("Message", f.Outcome.Message),
	)
}

// Validate checks a state that was read from a store. It returns one error that joins
// everything that no operation can have left there. An engine need not detect all of it,
// but must not pass on the numbers of such a state.
func (s *State) Validate() error {
	errs := []error{
		checkNumber("Acknowledged", s.Acknowledged),
		checkNumber("Token", s.Token),
		checkNumber("Granted", int64(s.Granted)),
		checkNumber("Next", int64(s.Next)),
		checkSpan("Span", s.Span),
		checkNumber("Limit", int64(s.Limit)),
		checkNumber("Until", int64(s.Until)),
		checkSpan("Lease", s.Lease),
		checkText("Policy", s.Policy),
		checkNumber("Failures", int64(s.Failures)),
		checkNumber("Last.From", s.Last.From),
		checkNumber("Last.Through", s.Last.Through),
		checkNumber("Last.Token", s.Last.Token),
		checkText("Last.Message", s.Last.Outcome.Message),
	}
	if s.Acknowledged > s.Taken || s.Taken > s.Requested || s.Requested > MaxNumber {
		errs = append(errs, fmt.Errorf("generations %d, %d, %d are not in order", s.Acknowledged, s.Taken, s.Requested))
	}
	if s.Owner != "" {
		errs = append(errs, checkID(s.Owner))
	}
	if len(s.IDs) > MaxIDs {
		errs = append(errs, fmt.Errorf("%d identifiers are more than %d", len(s.IDs), MaxIDs))
	}
	for _, r := range s.IDs {
		errs = append(errs, checkID(r.ID), checkNumber("IDs.At", int64(r.At)))
	}
	return errors.Join(errs...)
}

func checkID(id string) error {
	const allowed = "0123456789-ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	if id == "" || len(id) > MaxID || strings.Trim(id, allowed) != "" {
		return fmt.Errorf("identifier %q is not 1 to %d letters, digits or hyphens", id, MaxID)
	}
	return nil
}

func checkNumber(field string, n int64) error {
	if n < 0 || n > MaxNumber {
		return fmt.Errorf("%s %d is not from 0 to %d", field, n, int64(MaxNumber))
	}
	return nil
}

// checkBelow is checkNumber for a number whose successor must be valid, too.
func checkBelow(field string, n int64) error {
	if n == MaxNumber {
		return fmt.Errorf("%s %d is the highest number", field, n)
	}
	return checkNumber(field, n)
}

func checkSpan(field string, d time.Duration) error {
	if d < 0 || d > MaxSpan {
		return fmt.Errorf("%s %v is not from 0 to %v", field, d, MaxSpan)
	}
	return nil
}

func checkText(field, text string) error {
	if len(text) > MaxText || !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return fmt.Errorf("%s %.40q is not at most %d bytes of UTF-8 without NUL", field, text, MaxText)
	}
	return nil
}
