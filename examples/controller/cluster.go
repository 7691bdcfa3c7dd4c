package main

import (
	"context"
	"net/http"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache/informertest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllertest"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// A cluster stores objects in this process, and tells a controller of their changes.
type cluster struct {
	client   client.Client
	informer informer
}

// An informer tells one controller of changes. It has no lock: nothing may change before the
// controller watches.
type informer struct {
	*controllertest.FakeInformer

	watched chan struct{} // closed when the controller watches
}

func (i informer) AddEventHandlerWithOptions(
	handler toolscache.ResourceEventHandler, options toolscache.HandlerOptions,
) (toolscache.ResourceEventHandlerRegistration, error) {
	defer close(i.watched)
	return i.FakeInformer.AddEventHandlerWithOptions(handler, options)
}

func newCluster() *cluster {
	return &cluster{
		client:   fake.NewClientBuilder().WithScheme(scheme.Scheme).Build(),
		informer: informer{&controllertest.FakeInformer{Synced: true}, make(chan struct{})},
	}
}

// manager returns a manager of controllers in the cluster.
func (c *cluster) manager() (ctrl.Manager, error) {
	again := true // both queues have a controller of the same name
	informers := &informertest.FakeInformers{
		Scheme: scheme.Scheme,
		InformersByGVK: map[schema.GroupVersionKind]toolscache.SharedIndexInformer{
			corev1.SchemeGroupVersion.WithKind("ConfigMap"): c.informer,
		},
	}
	return ctrl.NewManager(&rest.Config{}, ctrl.Options{
		Metrics:        server.Options{BindAddress: "0"},
		Controller:     config.Controller{SkipNameValidation: &again},
		NewCache:       func(*rest.Config, cache.Options) (cache.Cache, error) { return informers, nil },
		NewClient:      func(*rest.Config, client.Options) (client.Client, error) { return c.client, nil },
		MapperProvider: func(*rest.Config, *http.Client) (meta.RESTMapper, error) { return mapper(), nil },
	})
}

// mapper knows one resource.
func mapper() meta.RESTMapper {
	m := meta.NewDefaultRESTMapper(nil)
	m.Add(corev1.SchemeGroupVersion.WithKind("ConfigMap"), meta.RESTScopeNamespace)
	return m
}

// create stores a new object.
func (c *cluster) create(ctx context.Context, name string) (*corev1.ConfigMap, error) {
	object := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Data:       map[string]string{},
	}
	if err := c.client.Create(ctx, object); err != nil {
		return nil, err
	}
	c.informer.Add(object.DeepCopy())
	return object, nil
}

// change stores a new version of object.
func (c *cluster) change(ctx context.Context, object *corev1.ConfigMap) error {
	before := object.DeepCopy()
	object.Data["changed"] = strconv.FormatInt(time.Now().UnixNano(), 10)
	if err := c.client.Update(ctx, object); err != nil {
		return err
	}
	c.informer.Update(before, object.DeepCopy())
	return nil
}
