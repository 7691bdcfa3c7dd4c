// Package asked looks in the error of a callback for what the callback asks for: to run
// again, or to finish the rest of a batch.
package asked

// For returns the error of type E by which err asks for something; the zero E if there is
// none. It is errors.As, except that it does not look into what Served returns.
func For[E error](err error) (found E) {
	switch e := err.(type) { //nolint:errorlint // it walks the tree itself
	case nil, *servedError:
		return found
	case E:
		return e
	case interface{ As(target any) bool }:
		if e.As(&found) {
			return found
		}
	}
	var none E
	switch e := err.(type) { //nolint:errorlint // see above
	case interface{ Unwrap() error }:
		return For[E](e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			if found = For[E](inner); any(found) != any(none) {
				return found
			}
		}
	}
	return none
}

// Served returns err, whose request has been served, as the waiters of its run get it: if
// another callback returns it, it asks for nothing there. errors.As still finds the request.
func Served(err error) error { return &servedError{err} }

// A servedError is what Served returns.
type servedError struct{ err error }

func (e *servedError) Error() string { return e.err.Error() }
func (e *servedError) Unwrap() error { return e.err }
