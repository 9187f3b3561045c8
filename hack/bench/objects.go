package main

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The synthetic mesh: deterministic, the same objects for every server under test.

type (
	object = map[string]any
	list   = []any
)

const (
	namespaces   = 20
	perService   = 10          // endpoints
	gatewayHome  = "bench-0"   // the namespace of the Gateway and its Secret
	newHome      = "bench-1"   // the namespace of Services that come and go
	gatewayName  = "edge"      //
	secretName   = "edge-cert" //
	destinations = 20          // DestinationRules
)

var (
	namespaceGVR   = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	serviceGVR     = schema.GroupVersionResource{Version: "v1", Resource: "services"}
	secretGVR      = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	podGVR         = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	nodeGVR        = schema.GroupVersionResource{Version: "v1", Resource: "nodes"}
	sliceGVR       = schema.GroupVersionResource{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"}
	virtualGVR     = schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "virtualservices"}
	destinationGVR = schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "destinationrules"}
	sidecarGVR     = schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "sidecars"}
	classGVR       = schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "gatewayclasses"}
	gatewayGVR     = schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "gateways"}
	routeGVR       = schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "httproutes"}
)

func namespaceOf(i int) string { return fmt.Sprintf("bench-%d", i%namespaces) }
func serviceName(i int) string { return fmt.Sprintf("svc-%d", i) }
func hostOf(i int) string      { return fmt.Sprintf("svc-%d.%s.svc.cluster.local", i, namespaceOf(i)) }

func meta(namespace, name string) object {
	m := object{"name": name}
	if namespace != "" {
		m["namespace"] = namespace
	}
	return m
}

func service(namespace, name, clusterIP string) object {
	spec := object{"ports": list{object{"name": "http", "port": int64(80), "targetPort": int64(8080), "protocol": "TCP"}}}
	if clusterIP != "" {
		spec["clusterIP"] = clusterIP
	}
	return object{"apiVersion": "v1", "kind": "Service", "metadata": meta(namespace, name), "spec": spec}
}

// clusterIP gives the i-th Service a fixed address in the upper half of 10.96.0.0/16, away from those that are handed out.
func clusterIP(i int) string { return fmt.Sprintf("10.96.%d.%d", 100+i/250, i%250+1) }

func endpointAddress(i, j int) string {
	k := i*perService + j
	return fmt.Sprintf("10.%d.%d.%d", 128+k/62500, (k/250)%250, k%250+1)
}

// slice is the EndpointSlice of the i-th Service; last, when given, stands in the place of its last address. With pods, the
// endpoints refer to them.
func (m *mesh) slice(i int, last string) object {
	endpoints := make(list, perService)
	for j := range perService {
		address := endpointAddress(i, j)
		if last != "" && j == perService-1 {
			address = last
		}
		e := object{"addresses": list{address}, "conditions": object{"ready": true, "serving": true}, "nodeName": nodeOf(i, j)}
		if m.pods > 0 {
			e["targetRef"] = object{"kind": "Pod", "namespace": namespaceOf(i), "name": podName(i, j)}
		}
		endpoints[j] = e
	}
	return endpointSlice(namespaceOf(i), serviceName(i), endpoints)
}

func endpointSlice(namespace, service string, endpoints list) object {
	o := object{
		"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "metadata": meta(namespace, service+"-1"),
		"ports": list{object{"name": "http", "port": int64(8080), "protocol": "TCP"}}, "endpoints": endpoints,
	}
	o["metadata"].(object)["labels"] = object{"kubernetes.io/service-name": service}
	return o
}

func virtualService(i int, mark string) object {
	to := list{object{"destination": object{"host": hostOf(i), "port": object{"number": int64(80)}}}}
	return object{
		"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": meta(namespaceOf(i), fmt.Sprintf("vs-%d", i)),
		"spec": object{"hosts": list{hostOf(i)}, "http": list{
			object{
				"match": list{object{"uri": object{"prefix": "/api"}}}, "timeout": "5s",
				"headers": object{"request": object{"set": object{"x-mark": mark}}}, "route": to,
			},
			object{"route": to},
		}},
	}
}

func destinationRule(i int, mark string) object {
	return object{
		"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": meta(namespaceOf(i), fmt.Sprintf("dr-%d", i)),
		"spec": object{"host": hostOf(i), "trafficPolicy": object{
			"tls": object{"mode": "SIMPLE", "sni": mark + ".example.com", "insecureSkipVerify": false},
		}},
	}
}

func httpRoute(i int, mark string) object {
	return object{
		"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": meta(namespaceOf(i), fmt.Sprintf("hr-%d", i)),
		"spec": object{
			"parentRefs": list{object{"name": gatewayName, "namespace": gatewayHome}},
			"hostnames":  list{fmt.Sprintf("h%d.example.com", i)},
			"rules": list{object{
				"matches": list{object{"path": object{"type": "PathPrefix", "value": "/a"}}},
				"filters": list{object{
					"type":                  "RequestHeaderModifier",
					"requestHeaderModifier": object{"set": list{object{"name": "x-mark", "value": mark}}},
				}},
				"backendRefs": list{object{"name": serviceName(i), "port": int64(80)}},
			}},
		},
	}
}

// gatewayObjects are the class of the server under test and the Gateway, with a listener for each protocol.
func gatewayObjects(class, controller string) (object, object) {
	all := object{"namespaces": object{"from": "All"}}
	return object{
		"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": meta("", class),
		"spec": object{"controllerName": controller},
	}, object{
		"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": meta(gatewayHome, gatewayName),
		"spec": object{"gatewayClassName": class, "listeners": list{
			object{"name": "http", "port": int64(80), "protocol": "HTTP", "allowedRoutes": all},
			object{
				"name": "https", "port": int64(443), "protocol": "HTTPS", "hostname": "*.example.com", "allowedRoutes": all,
				"tls": object{"mode": "Terminate", "certificateRefs": list{object{"name": secretName}}},
			},
		}},
	}
}

// gatewayLabels are the pods' that serve the Gateway.
func gatewayLabels() map[string]string {
	return map[string]string{"gateway.networking.k8s.io/gateway-name": gatewayName}
}

// gatewayService is how istiod finds them: in a cluster it makes this Service itself, from its installation's templates.
func gatewayService() (object, object) {
	name := gatewayName + "-istio"
	s := service(gatewayHome, name, "")
	selector := object{}
	for k, v := range gatewayLabels() {
		selector[k] = v
	}
	s["spec"] = object{"selector": selector, "ports": list{
		object{"name": "http", "port": int64(80), "protocol": "TCP"}, object{"name": "https", "port": int64(443), "protocol": "TCP"},
	}}
	slice := endpointSlice(gatewayHome, name, list{object{"addresses": list{"10.200.0.1"}, "conditions": object{"ready": true}}})
	slice["ports"] = list{object{"name": "http", "port": int64(80), "protocol": "TCP"}, object{"name": "https", "port": int64(443), "protocol": "TCP"}}
	return s, slice
}
