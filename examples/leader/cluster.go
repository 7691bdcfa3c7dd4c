package main

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/testing"
	"k8s.io/client-go/tools/clientcmd"
)

// A cluster connects replicas to an API server. A connection breaks when cut is set.
type cluster interface {
	connect(cut *atomic.Bool) (kubernetes.Interface, error)
}

var errCut = errors.New("no connection to the API server")

// A realCluster is a cluster that runs already.
type realCluster struct{ config *rest.Config }

// openCluster returns the cluster of a kubeconfig file.
func openCluster(kubeconfig string) (*realCluster, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	return &realCluster{config}, nil
}

func (c *realCluster) connect(cut *atomic.Bool) (kubernetes.Interface, error) {
	config := rest.CopyConfig(c.config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return cuttable{cut, next} })
	return kubernetes.NewForConfig(config)
}

// A cuttable carries requests until it is cut.
type cuttable struct {
	cut  *atomic.Bool
	next http.RoundTripper
}

func (c cuttable) RoundTrip(request *http.Request) (*http.Response, error) {
	if c.cut.Load() {
		return nil, errCut
	}
	return c.next.RoundTrip(request)
}

// A fakeCluster has leases in memory, and nothing else. Unlike the fake clientset by itself,
// and like a real API server, it refuses to update a lease that has changed since it was
// read. Without that, two replicas could take the same lease.
type fakeCluster struct {
	mu sync.Mutex // guards the fields below

	// +checklocks:mu
	leases map[string]*coordinationv1.Lease // by name
	// +checklocks:mu
	version int // of the lease that was stored last
}

func (c *fakeCluster) connect(cut *atomic.Bool) (kubernetes.Interface, error) {
	client := new(fake.Clientset)
	client.AddReactor("*", "leases", func(action testing.Action) (handled bool, answer runtime.Object, err error) {
		if cut.Load() {
			return true, nil, errCut
		}
		lease, err := c.do(action)
		if err != nil {
			return true, nil, err // without a typed nil
		}
		return true, lease, nil
	})
	return client, nil
}

func (c *fakeCluster) do(action testing.Action) (*coordinationv1.Lease, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	resource := action.GetResource().GroupResource()
	if get, ok := action.(testing.GetActionImpl); ok {
		lease, ok := c.leases[get.Name]
		if !ok {
			return nil, apierrors.NewNotFound(resource, get.Name)
		}
		return lease.DeepCopy(), nil
	}
	sent, ok := action.(interface{ GetObject() runtime.Object })
	if !ok {
		return nil, fmt.Errorf("the fake cluster does not %s leases", action.GetVerb())
	}
	lease, ok := sent.GetObject().(*coordinationv1.Lease)
	if !ok {
		return nil, fmt.Errorf("%T is no lease", sent.GetObject())
	}
	stored, exists := c.leases[lease.Name]
	switch {
	case action.GetVerb() == "create" && exists:
		return nil, apierrors.NewAlreadyExists(resource, lease.Name)
	case action.GetVerb() != "create" && (!exists || stored.ResourceVersion != lease.ResourceVersion):
		return nil, apierrors.NewConflict(resource, lease.Name, errors.New("it has changed"))
	default:
		return c.storeLocked(lease.DeepCopy()), nil
	}
}

// +checklocks:c.mu
func (c *fakeCluster) storeLocked(lease *coordinationv1.Lease) *coordinationv1.Lease {
	c.version++
	lease.ResourceVersion = strconv.Itoa(c.version)
	if c.leases == nil {
		c.leases = make(map[string]*coordinationv1.Lease)
	}
	c.leases[lease.Name] = lease
	return lease.DeepCopy()
}
