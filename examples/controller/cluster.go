package main

import (
	"context"
	"net/http"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache/informertest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// A cluster stores objects in this process, and tells a controller of their changes.
type cluster struct {
	client    client.Client
	informers *informertest.FakeInformers
}

func newCluster() *cluster {
	return &cluster{
		client:    fake.NewClientBuilder().WithScheme(scheme.Scheme).Build(),
		informers: &informertest.FakeInformers{Scheme: scheme.Scheme},
	}
}

// manager returns a manager of controllers in the cluster.
func (c *cluster) manager() (ctrl.Manager, error) {
	again := true // both queues have a controller of the same name
	return ctrl.NewManager(&rest.Config{}, ctrl.Options{
		Metrics:        server.Options{BindAddress: "0"},
		Controller:     config.Controller{SkipNameValidation: &again},
		NewCache:       func(*rest.Config, cache.Options) (cache.Cache, error) { return c.informers, nil },
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
	informer, err := c.informers.FakeInformerFor(ctx, object)
	if err != nil {
		return nil, err
	}
	if err := c.client.Create(ctx, object); err != nil {
		return nil, err
	}
	informer.Add(object.DeepCopy())
	return object, nil
}

// change stores a new version of object.
func (c *cluster) change(ctx context.Context, object *corev1.ConfigMap) error {
	informer, err := c.informers.FakeInformerFor(ctx, object)
	if err != nil {
		return err
	}
	before := object.DeepCopy()
	object.Data["changed"] = strconv.FormatInt(time.Now().UnixNano(), 10)
	if err := c.client.Update(ctx, object); err != nil {
		return err
	}
	informer.Update(before, object.DeepCopy())
	return nil
}
