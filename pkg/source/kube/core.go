package kube

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"fairlead.io/fairlead/pkg/source/convert"
)

// coreResource is a built-in resource, read by its Go type in protobuf.
type coreResource struct {
	group, kind string
	object      runtime.Object
	lw          *cache.ListWatch
	convert     func(any) (any, error)
}

func coreResources(c kubernetes.Interface) []coreResource {
	core, all := c.CoreV1().RESTClient(), fields.Everything()
	// A finished pod leaves a watch with this selector as if it were deleted.
	running := fields.ParseSelectorOrDie("status.phase!=Succeeded,status.phase!=Failed")
	// These are the most and the largest Secrets of a cluster, and never certificates.
	secrets := fields.ParseSelectorOrDie("type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token")
	watch := func(resource string, f fields.Selector) *cache.ListWatch {
		return cache.NewListWatchFromClient(core, resource, "", f)
	}
	return []coreResource{
		{"", "Namespace", &corev1.Namespace{}, watch("namespaces", all), with(convert.Namespace)},
		{"", "Node", &corev1.Node{}, watch("nodes", all), with(convert.Node)},
		{"", "Pod", &corev1.Pod{}, watch("pods", running), with(convert.Pod)},
		{"", "Service", &corev1.Service{}, watch("services", all), with(convert.Service)},
		{"", "Secret", &corev1.Secret{}, watch("secrets", secrets), with(keptSecret)},
		{"", "ConfigMap", &corev1.ConfigMap{}, watch("configmaps", all), with(keptConfigMap)},
		{
			convert.GroupDiscovery, "EndpointSlice", &discoveryv1.EndpointSlice{},
			cache.NewListWatchFromClient(c.DiscoveryV1().RESTClient(), "endpointslices", "", all), with(convert.EndpointSlice),
		},
	}
}

// with makes a typed conversion one of any object. A nil result stays nil.
func with[P any, M any](f func(P) *M) func(any) (any, error) {
	return func(obj any) (any, error) {
		in, ok := obj.(P)
		if !ok {
			return nil, fmt.Errorf("convert object: it is a %T", obj)
		}
		if out := f(in); out != nil {
			return out, nil
		}
		return nil, nil
	}
}
