package reference

import (
	"fmt"
	"time"
)

const (
	verdictNil          = "nil"
	verdictCanceled     = "ErrCanceled"
	verdictClosed       = "ErrClosed"
	verdictClosedParent = "ErrClosed, because the parent context ended"
	verdictPaused       = "ErrClosed and ErrPaused"
	verdictReentrant    = "ErrReentrant"
	verdictGoexit       = "ErrGoexit"
	verdictNilPanic     = "panic with nil"
	verdictRetryIn      = "*RetryError"
	verdictPolicy       = "*PolicyError"
	verdictDeadline     = "context.DeadlineExceeded"
	verdictContextEnded = "context.Canceled"
)

func verdictThrottled(after time.Duration) string {
	return "*ThrottledError, retry after " + instantText(after)
}

func verdictOfRun(n int, panicked bool) string {
	if panicked {
		return fmt.Sprintf("panic of run %d", n)
	}
	return fmt.Sprintf("error of run %d", n)
}

// instantText describes an instant. More than a century away is "far", because it does not
// matter where exactly a sum saturates.
func instantText(at time.Duration) string {
	if at > 100*365*24*time.Hour {
		return "far"
	}
	return at.String()
}

func lineStarted(run int, at time.Duration) string {
	return fmt.Sprintf("%v: run %d starts", at, run)
}

func lineHandled(at time.Duration, verdict string) string {
	return fmt.Sprintf("%v: the error handler gets %s", at, verdict)
}

func lineAnswer(at time.Duration, name, verdict string) string {
	return fmt.Sprintf("%v: %s returns %s", at, name, verdict)
}

func lineAct(at time.Duration, act Act, verdict string) string {
	return fmt.Sprintf("%v: the callback's %v returns %s", at, act, verdict)
}

func (r record) String() string {
	asked := "no call"
	if r.coversCall {
		asked = "asked " + r.asked.String()
	}
	cause := string(r.cause)
	if r.causeIsOpen {
		cause = "open"
	}
	return fmt.Sprintf("%v: run %d ends: cause %s, attempt %d, %s, due %v, started %v, calls %d, %s",
		r.ended, r.number, cause, r.attempt, asked, r.due, r.started, r.calls, r.verdict)
}

// stats predicts what Stats returns.
func (m *model) stats() summary {
	s := summary{
		Runs: m.runs, Failures: m.failed, Panics: m.panics, Dropped: m.dropped, Calls: m.calls,
		Pending: m.pending(), Running: m.active != nil, Paused: m.paused,
		LastStart: "none", LastDuration: m.lastDuration, LastError: m.lastVerdict, Next: "none",
	}
	if m.runs > 0 {
		s.LastStart = instantText(m.lastStart)
	}
	if m.active != nil {
		s.Next = "open" // a lower bound, which other tests check
	} else if from, to, ok := m.dueBetween(); ok && to.at < never {
		s.Next = instantText(to.at)
		if from.at < to.at {
			s.Next = "from " + instantText(from.at) + " to " + s.Next
		}
	}
	return s
}

// A summary describes a throttle.Stats.
type summary struct {
	Runs, Failures, Panics, Dropped, Calls uint64
	Pending, Running, Paused               bool
	LastStart                              string
	LastDuration                           time.Duration
	LastError                              string
	Next                                   string
}

func (s summary) String() string {
	type plain summary // without this method
	return fmt.Sprintf("stats: %+v", plain(s))
}
