package throttle_test

// This file names the rules of the reference model and counts which decided,
// so that a rule which no scenario reaches does not pass for tested.

// A modelRule names something that the model can decide. Each must decide now
// and then, or the scenarios do not test what they are meant to.
type modelRule string

const (
	ruleLeading         modelRule = "a call finds the throttle open and quiet and runs at once"
	ruleNotQuiet        modelRule = "a call finds the throttle open, but too soon after another call"
	ruleDropped         modelRule = "without the trailing edge a call is dropped"
	ruleJoins           modelRule = "a call joins those pending"
	ruleSurvives        modelRule = "calls still pend after the trailing edge was turned off"
	ruleAtOnce          modelRule = "pending calls run at once"
	ruleWindowEnd       modelRule = "pending calls run at the end of the window"
	ruleQuiet           modelRule = "pending calls run after Quiet"
	ruleMaxWait         modelRule = "pending calls run because MaxWait bounds Quiet"
	ruleDeadline        modelRule = "pending calls run because of a deadline"
	ruleMaxCalls        modelRule = "MaxCalls sets the deadline"
	ruleTrailingInside  modelRule = "trailing alone: a call inside the window runs at its end"
	ruleTrailingOutside modelRule = "trailing alone: a call outside the window runs after an Interval"
	ruleRetry           modelRule = "a failed run is retried"
	ruleRetryIn         modelRule = "a run starts when RetryIn asked for it"
	ruleRetryAtPermit   modelRule = "a retry runs at permit since the Backoff is gone"
	ruleDoubling        modelRule = "the delay has doubled"
	ruleMaxDelay        modelRule = "the delay has grown to Max"
	ruleHeld            modelRule = "a call finds the window closed by a failure alone"
	ruleEager           modelRule = "Eager lets a call pass the delay of a failure"
	ruleFromEnd         modelRule = "Interval is measured from the end"
	ruleGivesUp         modelRule = "MaxAttempts is reached"
	ruleNoBackoff       modelRule = "a failure without Backoff"
	ruleCanceledFailure modelRule = "the failure of a canceled run"
	ruleCanceledRetry   modelRule = "RetryIn from a canceled run"
	ruleNoRetryInDrain  modelRule = "no retry once Shutdown or Close began"
	rulePeriodic        modelRule = "a periodic run"
	rulePeriodicHeld    modelRule = "a periodic run that the window held back"
	ruleCoversPending   modelRule = "a retry or periodic run covers pending calls"
	ruleFlush           modelRule = "a flushed run"
	ruleBucketFull      modelRule = "a start from a full bucket"
	ruleBucketPartly    modelRule = "a start from a bucket neither full nor empty"
	ruleBucketEmpty     modelRule = "a start from an empty bucket"
	ruleTokensCut       modelRule = "SetPolicy cuts tokens"
	ruleEarlier         modelRule = "SetPolicy moves a pending run earlier"
	ruleLater           modelRule = "SetPolicy moves a pending run later"
	ruleCancelDrops     modelRule = "Cancel drops what is pending"
	ruleCloseDrops      modelRule = "Close drops what is pending"
	ruleShutdownFlushes modelRule = "Shutdown flushes what is pending"
	ruleLeaves          modelRule = "a context ends before the answer comes"
	ruleReentrant       modelRule = "the callback waits for itself"
)

var modelRules = []modelRule{
	ruleLeading, ruleNotQuiet, ruleDropped, ruleJoins, ruleSurvives, ruleAtOnce, ruleWindowEnd, ruleQuiet,
	ruleMaxWait, ruleDeadline, ruleMaxCalls, ruleTrailingInside, ruleTrailingOutside, ruleRetry, ruleRetryIn,
	ruleRetryAtPermit, ruleDoubling, ruleMaxDelay, ruleHeld, ruleEager, ruleFromEnd, ruleGivesUp,
	ruleNoBackoff, ruleCanceledFailure, ruleCanceledRetry, ruleNoRetryInDrain, rulePeriodic, rulePeriodicHeld, ruleCoversPending, ruleFlush, ruleBucketFull,
	ruleBucketPartly, ruleBucketEmpty, ruleTokensCut, ruleEarlier, ruleLater, ruleCancelDrops, ruleCloseDrops,
	ruleShutdownFlushes, ruleLeaves, ruleReentrant,
}

func (m *model) fire(rule modelRule) { m.fired[rule]++ }
