package main

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// A lease that has changed since it was read is not updated.
func TestFakeCluster_Conflict(t *testing.T) {
	client, err := new(fakeCluster).connect(new(atomic.Bool))
	require.NoError(t, err)
	leases := client.CoordinationV1().Leases("default")
	_, err = leases.Get(t.Context(), leaseName, metav1.GetOptions{})
	require.True(t, apierrors.IsNotFound(err), err)
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: leaseName}}
	read, err := leases.Create(t.Context(), lease, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = leases.Create(t.Context(), lease, metav1.CreateOptions{})
	require.True(t, apierrors.IsAlreadyExists(err), err)
	_, err = leases.Update(t.Context(), read, metav1.UpdateOptions{})
	require.NoError(t, err)
	_, err = leases.Update(t.Context(), read, metav1.UpdateOptions{})
	require.True(t, apierrors.IsConflict(err), err)
}

// serveCluster serves the leases of a cluster by HTTP, and returns a kubeconfig file.
func serveCluster(t *testing.T, c *fakeCluster) (kubeconfig string) {
	t.Helper()
	resource := coordinationv1.SchemeGroupVersion.WithResource("leases")
	answer := func(w http.ResponseWriter, action clienttesting.Action) {
		lease, err := c.do(action)
		var object any = lease
		w.Header().Set("Content-Type", "application/json")
		var status apierrors.APIStatus
		if errors.As(err, &status) {
			failure := status.Status()
			failure.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
			object = failure
			w.WriteHeader(int(failure.Code))
		} else {
			lease.SetGroupVersionKind(coordinationv1.SchemeGroupVersion.WithKind("Lease"))
		}
		_ = json.NewEncoder(w).Encode(object)
	}
	decode := func(request *http.Request) *coordinationv1.Lease {
		body, _ := io.ReadAll(request.Body)
		lease := new(coordinationv1.Lease)
		_, _, _ = scheme.Codecs.UniversalDeserializer().Decode(body, nil, lease)
		return lease
	}
	const path = "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+path+"/{name}", func(w http.ResponseWriter, r *http.Request) {
		answer(w, clienttesting.NewGetAction(resource, r.PathValue("namespace"), r.PathValue("name")))
	})
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
		answer(w, clienttesting.NewCreateAction(resource, r.PathValue("namespace"), decode(r)))
	})
	mux.HandleFunc("PUT "+path+"/{name}", func(w http.ResponseWriter, r *http.Request) {
		answer(w, clienttesting.NewUpdateAction(resource, r.PathValue("namespace"), decode(r)))
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)

	config := clientcmdapi.NewConfig()
	config.Clusters["test"] = &clientcmdapi.Cluster{Server: server.URL}
	config.Contexts["test"] = &clientcmdapi.Context{Cluster: "test"}
	config.CurrentContext = "test"
	kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	text, err := clientcmd.Write(*config)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(kubeconfig, text, 0o600))
	return kubeconfig
}
