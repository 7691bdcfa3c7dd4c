package reference

// A Rule names something that the model can decide. Tests count how often each rule
// decided: a rule that no scenario reaches is not tested.
type Rule string

const (
	ruleLeading         Rule = "a call finds the throttle open and quiet and runs at once"
	ruleNotQuiet        Rule = "a call finds the throttle open, but too soon after another call"
	ruleDropped         Rule = "without the trailing edge a call is dropped"
	ruleJoins           Rule = "a call joins those pending"
	ruleSurvives        Rule = "calls are still pending after the trailing edge was turned off"
	ruleAtOnce          Rule = "pending calls run at once"
	ruleWindowEnd       Rule = "pending calls run at the end of the window"
	ruleQuiet           Rule = "pending calls run after Quiet"
	ruleMaxWait         Rule = "pending calls run because MaxWait bounds Quiet"
	ruleDeadline        Rule = "pending calls run because of a deadline"
	ruleMaxCalls        Rule = "MaxCalls sets the deadline"
	ruleTrailingInside  Rule = "trailing alone: a call inside the window runs at its end"
	ruleTrailingOutside Rule = "trailing alone: a call outside the window runs after an Interval"
	ruleRetry           Rule = "a failed run is retried"
	ruleRetryIn         Rule = "a run starts when RetryIn asked for it"
	ruleRetryAtPermit   Rule = "a retry runs at permit since the Backoff is gone"
	ruleDoubling        Rule = "the delay has doubled"
	ruleMaxDelay        Rule = "the delay has grown to Max"
	ruleJitter          Rule = "Jitter has shortened the delay"
	ruleRest            Rule = "MaxLoad alone holds off a run"
	rulePeriodJitter    Rule = "Jitter has shortened MaxInterval"
	ruleKeepsDraw       Rule = "SetPolicy keeps what Jitter has drawn"
	ruleHeld            Rule = "a call finds the window closed by a failure alone"
	ruleEager           Rule = "Eager lets a call pass the delay of a failure"
	ruleFromEnd         Rule = "Interval is measured from the end"
	ruleGivesUp         Rule = "MaxAttempts is reached"
	ruleNoBackoff       Rule = "a failure without Backoff"
	ruleCanceledFailure Rule = "the failure of a canceled run"
	ruleCanceledRetry   Rule = "RetryIn from a canceled run"
	ruleNoRetryInDrain  Rule = "no retry once Shutdown or Close began"
	rulePeriodic        Rule = "a periodic run"
	rulePeriodicHeld    Rule = "a periodic run that the window held back"
	ruleCoversPending   Rule = "a retry or periodic run covers pending calls"
	ruleFlush           Rule = "a flushed run"
	ruleBucketFull      Rule = "a start from a full bucket"
	ruleBucketPartly    Rule = "a start from a bucket neither full nor empty"
	ruleBucketEmpty     Rule = "a start from an empty bucket"
	ruleTokensCut       Rule = "SetPolicy cuts tokens"
	ruleEarlier         Rule = "SetPolicy moves a pending run earlier"
	ruleLater           Rule = "SetPolicy moves a pending run later"
	ruleCancelDrops     Rule = "Cancel drops what is pending"
	ruleCloseDrops      Rule = "Close drops what is pending"
	ruleShutdownFlushes Rule = "Shutdown flushes what is pending"
	ruleLeaves          Rule = "a context ends before the answer comes"
	ruleReentrant       Rule = "the callback waits for itself"

	ruleResume             Rule = "Resume starts what came due during the pause"
	ruleFlushPaused        Rule = "a Flush stands until Resume"
	ruleRetryPaused        Rule = "a retry stands until Resume"
	ruleBuiltPaused        Rule = "built paused: the first MaxInterval counts from New"
	ruleDroppedPaused      Rule = "without the trailing edge a call is dropped during a pause"
	rulePauseInDrain       Rule = "Pause drops what Shutdown waits for"
	ruleShutdownDrops      Rule = "Shutdown of a paused throttler drops what is pending"
	ruleShutdownDropsRetry Rule = "Shutdown of a paused throttler drops a waiting retry"
	ruleWaits              Rule = "Wait waits for the active run"
	ruleWaitsForNothing    Rule = "Wait does not wait for a pending run"
	ruleAnnounced          Rule = "a run tells when it will be repeated"
	ruleAnnouncesOther     Rule = "a run tells that a call or MaxInterval repeats it earlier"
)

// Rules returns all of them.
func Rules() []Rule {
	return []Rule{
		ruleLeading, ruleNotQuiet, ruleDropped, ruleJoins, ruleSurvives, ruleAtOnce, ruleWindowEnd, ruleQuiet,
		ruleMaxWait, ruleDeadline, ruleMaxCalls, ruleTrailingInside, ruleTrailingOutside, ruleRetry, ruleRetryIn,
		ruleRetryAtPermit, ruleDoubling, ruleMaxDelay, ruleJitter, ruleRest, rulePeriodJitter, ruleKeepsDraw, ruleHeld, ruleEager, ruleFromEnd, ruleGivesUp,
		ruleNoBackoff, ruleCanceledFailure, ruleCanceledRetry, ruleNoRetryInDrain, rulePeriodic, rulePeriodicHeld,
		ruleCoversPending, ruleFlush, ruleBucketFull, ruleBucketPartly, ruleBucketEmpty, ruleTokensCut,
		ruleEarlier, ruleLater, ruleCancelDrops, ruleCloseDrops, ruleShutdownFlushes, ruleLeaves, ruleReentrant,
		ruleResume, ruleFlushPaused, ruleRetryPaused, ruleBuiltPaused, ruleDroppedPaused, rulePauseInDrain,
		ruleShutdownDrops, ruleShutdownDropsRetry, ruleWaits, ruleWaitsForNothing, ruleAnnounced, ruleAnnouncesOther,
	}
}

func (m *model) fire(rule Rule) { m.fired[rule]++ }
