package explore

// A Step is a kind of step.
type Step uint8

// The steps: first those of a process alone, then those of its messages, then what happens to
// processes, the store and the clock.
const (
	Call Step = iota
	Cancel
	Begin
	End
	EndFailed
	EndInterrupted // its context was canceled
	PlanLocal
	BeginLocal
	EndLocal
	EndLocalFailed
	Look // at the index
	Wake
	SetPolicy
	Shutdown
	Close
	Fill
	Free
	AnswerMain
	AnswerRenewal
	lastOwn

	ArriveMain // main is the claim or the finish that is out
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
		Call: "calls", Cancel: "cancels", Begin: "begins", End: "ends", EndFailed: "fails", EndInterrupted: "is interrupted",
		PlanLocal: "plans a local run", BeginLocal: "begins locally", EndLocal: "ends locally",
		EndLocalFailed: "fails locally", Look: "looks at the index", Wake: "is woken",
		SetPolicy: "sets the policy", Shutdown: "shuts down", Close: "closes", Fill: "is full", Free: "is full no more",
		AnswerMain: "gets an answer", AnswerRenewal: "gets its renewal's answer",
		ArriveMain: "reaches the store", LoseMain: "loses its message", CopyMain: "has its message copied", SlowMain: "has a slow message",
		Resend: "sends again", ArriveRenewal: "renews", LoseRenewal: "loses its renewal",
		CopyRenewal: "has its renewal copied", SlowRenewal: "has a slow renewal", ArriveCopy: "copy arrives",
		PauseProcess: "pauses", ResumeProcess: "resumes", CrashProcess: "crashes", JoinProcess: "joins",
		WipeStore: "is wiped", TakeSnapshot: "is saved", RollBack: "is rolled back",
		StepBack: "clock steps back", StepForward: "clock steps forward", Tick: "tick",
	}[s]
}

// A move is a step from one state to another. Depending on the step, of is the index of the
// copy, or how a run fails.
type move struct {
	step Step
	who  int
	of   int
}
