package reference

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/throttle-go/throttle"
)

// callback does what the script says.
func (r *rig) callback(ctx context.Context) error {
	r.mu.Lock()
	number := r.started
	r.started++
	r.log = append(r.log, lineStarted(number, r.elapsed()))
	r.checkLocked(r.history.start(r.elapsed()))
	tooMany := r.started > r.mostRuns
	r.mu.Unlock()
	if tooMany {
		_ = r.throttler.Close()
	}
	defer func() { // even when it panics
		r.mu.Lock()
		r.ended++
		r.history.end(r.elapsed())
		r.mu.Unlock()
	}()
	script := r.scenario.Script(number)
	r.act(ctx, script.Early)
	script.work(ctx)
	r.act(ctx, script.Late)
	return script.End(number)
}

// work waits as long as the script says. A Length of 0 needs no timer: with two timers
// of no length that two goroutines of a bubble look at, Go 1.26's race detector can crash.
func (s Script) work(ctx context.Context) {
	if s.Length == 0 {
		return
	}
	timer := time.NewTimer(s.Length)
	defer timer.Stop()
	if !s.HeedsContext {
		<-timer.C
		return
	}
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// act calls a method from inside the callback.
func (r *rig) act(ctx context.Context, act Act) {
	t, verdict := r.throttler, verdictNil
	switch act {
	case ActNone:
		return
	case ActCall:
		r.note((*history).call)
		t.Call()
	case ActCallWithin:
		r.note((*history).call)
		t.CallWithin(ActWithin)
	case ActCancel:
		r.note((*history).cancel)
		verdict = strconv.FormatBool(t.Cancel())
	case ActSetSamePolicy:
		verdict = verdictOf(t.SetPolicy(t.Policy()))
	case ActClose:
		r.note((*history).close)
		verdict = verdictOf(t.Close())
	case ActDo:
		verdict = verdictOf(t.Do(ctx))
	case ActFlush:
		verdict = verdictOf(t.Flush(ctx))
	case ActShutdown:
		verdict = verdictOf(t.Shutdown(ctx))
	case ActPause:
		r.note((*history).pause)
		t.Pause()
	case ActResume:
		r.note((*history).resume)
		t.Resume()
	case ActWait:
		verdict = verdictOf(t.Wait(ctx))
	}
	r.write(lineAct(r.elapsed(), act, verdict))
}

// A scriptedError is what a callback returns or panics with.
type scriptedError struct{ run int }

func (e scriptedError) Error() string { return verdictOfRun(e.run, false) }

// End ends the callback of run number n: it returns an error, panics, or ends the
// goroutine, as Outcome says.
func (s Script) End(n int) error {
	switch s.Outcome {
	case OutcomeSuccess:
	case OutcomeError:
		return scriptedError{n}
	case OutcomePanicsWithError:
		panic(scriptedError{n})
	case OutcomePanicsWithText:
		panic(verdictOfRun(n, true))
	case OutcomePanicsWithNil:
		panic(nil) //nolint:govet // a callback may, and gets a runtime.PanicNilError
	case OutcomeGoexit:
		runtime.Goexit()
	case OutcomeRetryIn:
		return throttle.RetryIn(s.RetryIn)
	case OutcomeWrappedRetryIn:
		return fmt.Errorf("not yet: %w", throttle.RetryIn(s.RetryIn))
	}
	return nil
}

func (r *rig) observe(run throttle.Run) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, record{
		number:      r.ended - 1,
		cause:       run.Cause,
		causeIsOpen: slices.Contains(r.openCauses, r.ended-1),
		attempt:     run.Attempt,
		coversCall:  !run.Asked.IsZero(),
		asked:       run.Asked.Sub(r.made),
		due:         run.Due.Sub(r.made),
		started:     run.Started.Sub(r.made),
		ended:       run.Ended.Sub(r.made),
		calls:       run.Calls,
		verdict:     verdictOf(run.Err),
	}.String())
	r.announcedLocked(run)
	r.checkLocked(r.history.observe(run, r.made))
}

func (r *rig) handle(err error) { r.write(lineHandled(r.elapsed(), verdictOf(err))) }

// verdictOf describes an error as the model does.
func verdictOf(err error) string {
	var (
		throttled *throttle.ThrottledError
		retry     *throttle.RetryError
		panicked  *throttle.PanicError
		invalid   *throttle.PolicyError
		scripted  scriptedError
		nilPanic  *runtime.PanicNilError
	)
	switch {
	case err == nil:
		return verdictNil
	case errors.Is(err, throttle.ErrClosed) && errors.Is(err, throttle.ErrPaused):
		return verdictPaused
	case errors.Is(err, throttle.ErrClosed) && errors.Is(err, errParentEnded):
		return verdictClosedParent
	case errors.Is(err, throttle.ErrClosed):
		return verdictClosed
	case errors.Is(err, throttle.ErrCanceled):
		return verdictCanceled
	case errors.Is(err, throttle.ErrReentrant):
		return verdictReentrant
	case errors.Is(err, throttle.ErrGoexit):
		return verdictGoexit
	case errors.As(err, &throttled) && errors.Is(err, throttle.ErrThrottled):
		return verdictThrottled(throttled.RetryAfter)
	case errors.As(err, &retry):
		return verdictRetryIn
	case errors.As(err, &nilPanic):
		return verdictNilPanic
	case errors.As(err, &panicked) && errors.As(err, &scripted):
		return verdictOfRun(scripted.run, true)
	case errors.As(err, &panicked):
		return fmt.Sprint(panicked.Value)
	case errors.As(err, &scripted):
		return verdictOfRun(scripted.run, false)
	case errors.As(err, &invalid):
		return verdictPolicy
	case errors.Is(err, context.DeadlineExceeded):
		return verdictDeadline
	case errors.Is(err, context.Canceled):
		return verdictContextEnded
	default:
		return "the unexpected error " + err.Error()
	}
}
