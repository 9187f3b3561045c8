package kube

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"fairlead.io/fairlead/pkg/source/convert"
)

// coreResource is a built-in resource, read by its Go type in protobuf.
type coreResource struct {
	group, kind string
	object      runtime.Object
	from        listed
	lw          *cache.ListWatch
	convert     func(any) (any, error)
}

// listed is what a list or a watch is about.
type listed struct {
	resource schema.GroupVersionResource
	selector fields.Selector
}

func coreResources(c kubernetes.Interface) []coreResource {
	core, all := corev1.SchemeGroupVersion, fields.Everything()
	// A finished pod leaves a watch with this selector as if it were deleted.
	running := fields.ParseSelectorOrDie("status.phase!=Succeeded,status.phase!=Failed")
	// These are the most and the largest Secrets of a cluster, and never certificates.
	secrets := fields.ParseSelectorOrDie("type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token")
	resource := func(gv schema.GroupVersion, kind, plural string, object runtime.Object, f fields.Selector, conv func(any) (any, error)) coreResource {
		client := c.CoreV1().RESTClient()
		switch gv.Group {
		case convert.GroupDiscovery:
			client = c.DiscoveryV1().RESTClient()
		case convert.GroupNetworking:
			client = c.NetworkingV1().RESTClient()
		}
		return coreResource{gv.Group, kind, object, listed{gv.WithResource(plural), f}, cache.NewListWatchFromClient(client, plural, "", f), conv}
	}
	return []coreResource{
		resource(core, "Namespace", "namespaces", &corev1.Namespace{}, all, with(convert.Namespace)),
		resource(core, "Node", "nodes", &corev1.Node{}, all, with(convert.Node)),
		resource(core, "Pod", "pods", &corev1.Pod{}, running, with(convert.Pod)),
		resource(core, "Service", "services", &corev1.Service{}, all, with(convert.Service)),
		resource(core, "Secret", "secrets", &corev1.Secret{}, secrets, with(keptSecret)),
		resource(core, "ConfigMap", "configmaps", &corev1.ConfigMap{}, all, with(keptConfigMap)),
		resource(discoveryv1.SchemeGroupVersion, "EndpointSlice", "endpointslices", &discoveryv1.EndpointSlice{}, all, with(convert.EndpointSlice)),
		resource(networkingv1.SchemeGroupVersion, "NetworkPolicy", "networkpolicies", &networkingv1.NetworkPolicy{}, all, with(convert.NetworkPolicy)),
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
