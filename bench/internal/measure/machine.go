package measure

import (
	"fmt"
	"os"
	"regexp"
	"runtime"
	"time"
)

// A Machine says where and when figures were measured.
type Machine struct {
	CPU      string
	Cores    int
	Procs    int    // GOMAXPROCS
	Platform string // GOOS/GOARCH
	Go       string
	Date     string
}

// DescribeMachine describes this machine.
func DescribeMachine(now time.Time) Machine {
	return Machine{
		CPU:      cpu(),
		Cores:    runtime.NumCPU(),
		Procs:    runtime.GOMAXPROCS(0),
		Platform: runtime.GOOS + "/" + runtime.GOARCH,
		Go:       runtime.Version(),
		Date:     now.UTC().Format(time.DateOnly),
	}
}

// cpu returns the name of the processor, if the system has Linux's /proc/cpuinfo.
func cpu() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown CPU"
	}
	found := regexp.MustCompile(`(?m)^(?:model name|Model|cpu model)\s*:\s*(.+)$`).FindSubmatch(text)
	if found == nil {
		return "unknown CPU"
	}
	return string(found[1])
}

func (m Machine) String() string {
	return fmt.Sprintf("%s, %d cores, GOMAXPROCS %d, %s, %s, %s", m.CPU, m.Cores, m.Procs, m.Platform, m.Go, m.Date)
}
