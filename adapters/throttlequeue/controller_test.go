package throttlequeue_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache/informertest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/adapters/throttlequeue"
)

// A cluster is a manager with a controller of ConfigMaps, on controller-runtime's fakes.
type cluster struct {
	client    client.Client
	informers *informertest.FakeInformers
	work      time.Duration // of a reconciliation

	mu sync.Mutex // guards the fields below
	// +checklocks:mu
	changed map[string]time.Time // first change that no reconciliation has seen
	// +checklocks:mu
	seen map[string]string // resource version
	// +checklocks:mu
	active map[string]bool
	// +checklocks:mu
	reconciled int
	// +checklocks:mu
	longest time.Duration // from a change until a reconciliation that sees it
}

// startCluster starts a manager. A nil construct leaves the controller its own queue.
func startCluster(
	t *testing.T, construct throttlequeue.Constructor[reconcile.Request],
) (c *cluster, stop func()) {
	t.Helper()
	c = &cluster{
		client:    fake.NewClientBuilder().WithScheme(scheme.Scheme).Build(),
		informers: &informertest.FakeInformers{Scheme: scheme.Scheme},
		work:      5 * time.Millisecond,
		changed:   make(map[string]time.Time),
		seen:      make(map[string]string),
		active:    make(map[string]bool),
	}
	m, err := manager.New(&rest.Config{}, manager.Options{
		Metrics:  server.Options{BindAddress: "0"},
		NewCache: func(*rest.Config, cache.Options) (cache.Cache, error) { return c.informers, nil },
		NewClient: func(*rest.Config, client.Options) (client.Client, error) {
			return c.client, nil
		},
		MapperProvider: func(*rest.Config, *http.Client) (meta.RESTMapper, error) { return meta.NewDefaultRESTMapper(nil), nil },
	})
	require.NoError(t, err)
	again := true
	maps, err := controller.New("configmaps", m, controller.Options{
		Reconciler:              reconcile.Func(c.reconcile),
		NewQueue:                construct,
		MaxConcurrentReconciles: 4,
		SkipNameValidation:      &again,
	})
	require.NoError(t, err)
	require.NoError(t, maps.Watch(source.Kind[client.Object](c.informers, &corev1.ConfigMap{}, &handler.EnqueueRequestForObject{})))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Start(ctx) }()
	synctest.Wait()
	return c, func() {
		cancel()
		require.NoError(t, <-ended)
	}
}

func (c *cluster) reconcile(ctx context.Context, r reconcile.Request) (reconcile.Result, error) {
	var object corev1.ConfigMap
	err := c.client.Get(ctx, r.NamespacedName, &object)
	if err != nil {
		return reconcile.Result{}, err
	}
	c.mu.Lock()
	if c.active[r.Name] {
		err = fmt.Errorf("%s is reconciled twice at a time", r.Name)
	}
	c.active[r.Name] = true
	c.reconciled++
	c.seen[r.Name] = object.ResourceVersion
	if since, ok := c.changed[r.Name]; ok {
		c.longest = max(c.longest, time.Since(since))
		delete(c.changed, r.Name)
	}
	c.mu.Unlock()

	time.Sleep(c.work)

	c.mu.Lock()
	defer c.mu.Unlock()
	c.active[r.Name] = false
	return reconcile.Result{}, err
}

func (c *cluster) figures() (reconciled int, longest time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reconciled, c.longest
}

// change stores object, and tells the informers.
func (c *cluster) change(t *testing.T, object *corev1.ConfigMap) {
	t.Helper()
	informer, err := c.informers.FakeInformerFor(t.Context(), object)
	require.NoError(t, err)
	before := object.DeepCopy()
	if before.ResourceVersion == "" {
		require.NoError(t, c.client.Create(t.Context(), object))
	} else {
		object.Data["n"] += "+"
		require.NoError(t, c.client.Update(t.Context(), object))
	}
	c.mu.Lock()
	if _, ok := c.changed[object.Name]; !ok {
		c.changed[object.Name] = time.Now()
	}
	c.mu.Unlock()
	if before.ResourceVersion == "" {
		informer.Add(object.DeepCopy())
	} else {
		informer.Update(before, object.DeepCopy())
	}
}

// churn changes objects again and again, each now and then in a burst, for ten seconds.
func (c *cluster) churn(t *testing.T) (changes int) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	objects := make([]*corev1.ConfigMap, 50)
	for i := range objects {
		objects[i] = &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("object-%d", i)},
			Data:       map[string]string{},
		}
		c.change(t, objects[i])
	}
	for range 100 {
		busy := objects[random.IntN(len(objects))]
		for range 1 + random.IntN(20) {
			c.change(t, busy)
			changes++
			time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
		}
	}
	time.Sleep(time.Minute)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, object := range objects {
		assert.Equal(t, object.ResourceVersion, c.seen[object.Name], "the last change of %s is lost", object.Name)
	}
	assert.Empty(t, c.changed)
	return changes + len(objects)
}

// TestController runs a controller with and without a policy. It reports how many
// reconciliations the policy saves, and for how long it holds an object at most.
func TestController(t *testing.T) {
	const maxWait = time.Second
	reconciled := make(map[string]int)
	for _, c := range []struct {
		name      string
		construct func(*testing.T) throttlequeue.Constructor[reconcile.Request]
		longest   time.Duration
	}{
		{"its own queue", func(*testing.T) throttlequeue.Constructor[reconcile.Request] { return nil }, 100 * time.Millisecond},
		{"held", func(t *testing.T) throttlequeue.Constructor[reconcile.Request] {
			construct, err := throttlequeue.New[reconcile.Request](throttle.Debounce(100*time.Millisecond, maxWait))
			require.NoError(t, err)
			return construct
		}, maxWait + 100*time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cluster, stop := startCluster(t, c.construct(t))
				changes := cluster.churn(t)
				stop()
				count, longest := cluster.figures()
				reconciled[c.name] = count
				assert.LessOrEqual(t, longest, c.longest)
				t.Logf("%d changes, %d reconciliations, longest hold %v", changes, count, longest)
			})
		})
	}
	assert.Less(t, reconciled["held"], reconciled["its own queue"]/5)
}
