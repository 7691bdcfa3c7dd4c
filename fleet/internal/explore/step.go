package explore

// This file holds the kinds of steps.

// A Step is a kind of step.
type Step uint8

// The steps: first those of a process of its own, then those of its messages, what
// befalls it, and those of the store and the clock.
const (
	Call Step = iota
	Cancel
	Begin
	End
	EndFailed
	EndBroken // as its context was cancelled
	PlanLocal
	BeginLocal
	EndLocal
	EndLocalFailed
	Look // at the index
	Wake
	SetPolicy
	Shutdown
	Close
	AnswerMain
	AnswerRenewal
	lastOwn

	ArriveMain // a claim or a finish; renewals go beside it
	LoseMain
	CopyMain
	SlowMain
	Resend
	ArriveRenewal
	LoseRenewal
	CopyRenewal
	SlowRenewal
	ArriveCopy
	lastOfMessage

	PauseProcess
	ResumeProcess
	CrashProcess
	JoinProcess
	WipeStore
	TakeSnapshot
	RollBack
	StepBack
	StepForward
	Tick
	StepCount
)

func (s Step) String() string {
	return [StepCount]string{
		Call: "calls", Cancel: "cancels", Begin: "begins", End: "ends", EndFailed: "fails", EndBroken: "breaks off",
		PlanLocal: "plans a local run", BeginLocal: "begins locally", EndLocal: "ends locally",
		EndLocalFailed: "fails locally", Look: "looks at the index", Wake: "is woken",
		SetPolicy: "sets the policy", Shutdown: "shuts down", Close: "closes",
		AnswerMain: "hears", AnswerRenewal: "hears of its lease",
		ArriveMain: "is heard", LoseMain: "is not heard", CopyMain: "is copied", SlowMain: "is slow",
		Resend: "sends again", ArriveRenewal: "renews", LoseRenewal: "does not renew",
		CopyRenewal: "renewal is copied", SlowRenewal: "renewal is slow", ArriveCopy: "copy is heard",
		PauseProcess: "pauses", ResumeProcess: "resumes", CrashProcess: "crashes", JoinProcess: "joins",
		WipeStore: "is wiped", TakeSnapshot: "is saved", RollBack: "is rolled back",
		StepBack: "clock steps back", StepForward: "clock steps forward", Tick: "tick",
	}[s]
}

// A move is a step from one state to another. What of says depends on the step: the
// copy, or how a run fails.
type move struct {
	step Step
	who  int
	of   int
}
