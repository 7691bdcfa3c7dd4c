// Command leader runs several replicas of a service, of which only the leader syncs. All of
// them take calls all the time: a throttler that was built paused keeps them, and runs when
// its replica becomes the leader. When the replica loses the lead, the throttler pauses, and
// the lead passes on only after the last run.
//
//	cd examples/leader && go run .            # processes of this machine elect by a file lock
//	go run . -election lease                  # by a Kubernetes Lease, in a cluster in memory
//	go run . -kubeconfig ~/.kube/config       # by a Lease in a real cluster
//
// It starts two replicas and makes calls at both. It crashes the leader during a sync, with
// kill -9, or by a cut connection to the cluster, and starts a new replica. Then it stops the
// second leader. It fails if two replicas led at the same time, if a replica synced that did
// not lead, if two syncs overlapped, or if the first sync of a new leader did not cover all
// calls that had waited:
//
//	2 replicas, elected by a file lock; the leader syncs at most once in 150ms
//
//	replica 0   █───────█────────✗
//	replica 1   · ····· ····· ···█────────█────────█────────█────────█────────█───
//	replica 2                                       ······ ···· ····· ···· ····· ·█────────█────────█───
//	            · has calls that wait   ─ leads   █ syncs   ✗ crashes   1.473s in all
//
//	calls    110   at all replicas, leader or not
//	syncs     12   of the leader only, none overlaps another
//	replica 1    led 3ms after replica 0 was killed; 17 calls had waited, its first sync covered 17
//	replica 2    led 13ms after replica 1 was stopped; 25 calls had waited, its first sync covered 25
//
// A leader that is cut off goes on until its lease is about to end, and the others wait for
// the end of the lease:
//
//	2 replicas, elected by a lease; the leader syncs at most once in 150ms
//
//	replica 0   █─█──✗──█──█──█──█──█─█──█──█──█──█──█──█──█──······················
//	replica 1   ······························································█──█──█─█──█──█─
//	replica 2                                                                       ············█──█──█─
//	            · has calls that wait   ─ leads   █ syncs   ✗ crashes   4.567s in all
//
//	calls    421   at all replicas, leader or not
//	syncs     25   of the leader only, none overlaps another
//	replica 1    led 2.971s after replica 0 was cut off; 161 calls had waited, its first sync covered 161
//	replica 2    led 139ms after replica 1 was stopped; 32 calls had waited, its first sync covered 32
//
// In a real cluster it needs permission to get, create and update leases, and leaves the
// lease throttle-example-leader behind.
//
// Copy from replica.go, and from lease.go or file.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/throttle-go/throttle/internal/flags"
)

const (
	// asReplica names the environment variable that makes this program a process of the
	// service.
	asReplica = "EXAMPLE_REPLICA"

	leaseName = "throttle-example-leader"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var err error
	if os.Getenv(asReplica) != "" {
		err = serve(ctx, newFileElection(os.Args[1]), os.Stdin, os.Stdout)
	} else {
		err = run(ctx, os.Args[1:], os.Stdout)
	}
	stop()
	flags.Exit("leader", err)
}

// A config holds the flags.
type config struct {
	election   string
	kubeconfig string
	namespace  string
	cluster    cluster // nil for an election by file lock
}

// run is the whole program.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	var c config
	set := flag.NewFlagSet("leader", flag.ContinueOnError)
	set.StringVar(&c.election, "election", "", "`kind` of election: file or lease (default: file, or lease with -kubeconfig)")
	set.StringVar(&c.kubeconfig, "kubeconfig", "", "`file` that names a cluster (default: a cluster in memory)")
	set.StringVar(&c.namespace, "namespace", "default", "with -kubeconfig, `namespace` of the lease "+leaseName)
	if err := flags.Parse(set, args, stdout, c.check); err != nil {
		return err
	}
	if c.cluster != nil {
		return c.demonstrate(ctx, "", stdout)
	}
	dir, err := os.MkdirTemp("", "leader")
	if err != nil {
		return err
	}
	return errors.Join(c.demonstrate(ctx, filepath.Join(dir, "lock"), stdout), os.RemoveAll(dir))
}

// check returns what is wrong with the values of the flags, and sets the cluster.
func (c *config) check() (err error) {
	switch {
	case c.election != "" && c.election != "file" && c.election != "lease":
		return fmt.Errorf("-election is %q, not file or lease", c.election)
	case c.election == "file" && c.kubeconfig != "":
		return errors.New("-kubeconfig needs -election lease")
	case c.namespace == "":
		return errors.New("-namespace must not be empty")
	case c.kubeconfig != "":
		c.cluster, err = openCluster(c.kubeconfig)
	case c.election == "lease":
		c.cluster = new(fakeCluster)
	}
	return err
}

// demonstrate demonstrates an election in the cluster, or by a lock of file if there is none.
func (c *config) demonstrate(ctx context.Context, file string, stdout io.Writer) error {
	d := &demonstration{record: newRecord()}
	d.start = func(ctx context.Context, number int) (*member, error) {
		if c.cluster == nil {
			return d.startProcess(number, file)
		}
		return d.startConnected(ctx, number, c.cluster, c.namespace, leaseName)
	}
	by := "a file lock"
	if c.cluster != nil {
		by = "a lease"
	}
	fmt.Fprintf(stdout, "2 replicas, elected by %s; the leader syncs at most once in %v\n\n", by, interval)
	if err := d.run(ctx); err != nil {
		return err
	}
	return d.report(stdout)
}
