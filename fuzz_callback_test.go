package throttle_test

// This file is what the harness gives its throttler, and so what it learns from
// it: the callback that does as scripted, the observer, the error handler, and
// errors in the model's words.

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"time"

	"github.com/throttle-go/throttle"
)

// callback does what the script says.
func (r *rig) callback(ctx context.Context) error {
	r.mu.Lock()
	number := r.started
	r.started++
	r.diary = append(r.diary, lineStarted(number, r.elapsed()))
	r.checkLocked(r.history.start(r.elapsed()))
	r.mu.Unlock()
	defer func() { // even when it panics
		r.mu.Lock()
		r.ended++
		r.history.end(r.elapsed())
		r.mu.Unlock()
	}()
	script := r.scenario.script(number)
	r.act(ctx, script.early)
	timer := time.NewTimer(script.length)
	defer timer.Stop()
	switch {
	case script.length == 0:
	case script.heedsContext:
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	default:
		<-timer.C
	}
	r.act(ctx, script.late)
	return script.outcome.happen(number, script.retryIn)
}

// act calls a method from inside the callback.
func (r *rig) act(ctx context.Context, act modelAct) {
	t, verdict := r.throttler, verdictNil
	switch act {
	case actNone:
		return
	case actCall:
		r.note((*history).call)
		t.Call()
	case actCallWithin:
		r.note((*history).call)
		t.CallWithin(actWithin)
	case actCancel:
		r.note((*history).cancel)
		verdict = strconv.FormatBool(t.Cancel())
	case actSetSamePolicy:
		verdict = verdictOf(t.SetPolicy(t.Policy()))
	case actClose:
		r.note((*history).close)
		verdict = verdictOf(t.Close())
	case actDo:
		verdict = verdictOf(t.Do(ctx))
	case actFlush:
		verdict = verdictOf(t.Flush(ctx))
	case actShutdown:
		verdict = verdictOf(t.Shutdown(ctx))
	}
	r.write(lineAct(r.elapsed(), act, verdict))
}

// A scriptedError is what a callback returns or panics with.
type scriptedError struct{ run int }

func (e scriptedError) Error() string { return verdictOfRun(e.run, false) }

// happen ends the callback.
func (o modelOutcome) happen(run int, retryIn time.Duration) error {
	switch o {
	case outcomeSuccess:
	case outcomeError:
		return scriptedError{run}
	case outcomePanicsWithError:
		panic(scriptedError{run})
	case outcomePanicsWithText:
		panic(verdictOfRun(run, true))
	case outcomePanicsWithNil:
		panic(nil) //nolint:govet // a callback may, and gets a runtime.PanicNilError
	case outcomeGoexit:
		runtime.Goexit()
	case outcomeRetryIn:
		return throttle.RetryIn(retryIn)
	case outcomeWrappedRetryIn:
		return fmt.Errorf("not yet: %w", throttle.RetryIn(retryIn))
	}
	return nil
}

func (r *rig) observe(run throttle.Run) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.diary = append(r.diary, modelRecord{
		number:     r.ended - 1,
		cause:      run.Cause,
		attempt:    run.Attempt,
		coversCall: !run.Asked.IsZero(),
		asked:      run.Asked.Sub(r.made),
		due:        run.Due.Sub(r.made),
		started:    run.Started.Sub(r.made),
		ended:      run.Ended.Sub(r.made),
		calls:      run.Calls,
		verdict:    verdictOf(run.Err),
	}.String())
	r.checkLocked(r.history.observe(run, r.made))
}

func (r *rig) handle(err error) { r.write(lineHandled(r.elapsed(), verdictOf(err))) }

// verdictOf puts an error into the model's words.
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
