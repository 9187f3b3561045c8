package resolve

import (
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
)

// conflictsAmong finds the listeners of one Gateway that are not distinct. All of them lose: "the implementation MUST NOT
// pick one conflicting Listener as the winner" (Gateway API, GatewaySpec.listeners). Protocols that are not supported
// take no part.
func conflictsAmong(listeners []gatewayv1.Listener) map[int]*model.Condition {
	out := map[int]*model.Condition{}
	for i := range listeners {
		for j := range listeners {
			if i == j || listeners[i].Port != listeners[j].Port || !serves(&listeners[i]) || !serves(&listeners[j]) {
				continue
			}
			path := "spec.listeners[" + strconv.Itoa(i) + "]"
			port, other := strconv.Itoa(int(listeners[i].Port)), string(listeners[j].Name)
			var c model.Condition
			switch {
			case listeners[i].Protocol != listeners[j].Protocol:
				c = refuse(gatewayv1.ListenerConditionConflicted, gatewayv1.ListenerReasonProtocolConflict, path+".protocol",
					"listener "+other+" has protocol "+string(listeners[j].Protocol)+" on port "+port+" too; one port carries one protocol")
			case hostOf(&listeners[i]) == hostOf(&listeners[j]):
				c = refuse(gatewayv1.ListenerConditionConflicted, gatewayv1.ListenerReasonHostnameConflict, path+".hostname",
					"listener "+other+" has the same hostname on port "+port+"; give each a hostname of its own")
			default:
				continue
			}
			if out[i] == nil {
				out[i] = &c
			}
		}
	}
	return out
}

// overlapping names the listeners on whose TLS the one at i overlaps: a client that reuses a connection for another
// host then gets the TLS of the listener that the connection was made to. The API wants it said, and serves both.
func overlapping(listeners []gatewayv1.Listener, i int) []string {
	var out []string
	l := &listeners[i]
	for j := range listeners {
		o := &listeners[j]
		if i == j || l.Port != o.Port || l.Protocol != gatewayv1.HTTPSProtocolType || o.Protocol != gatewayv1.HTTPSProtocolType {
			continue
		}
		a, b := anyHost(hostOf(l)), anyHost(hostOf(o))
		if covers(a, b) || covers(b, a) {
			out = append(out, string(o.Name))
		}
	}
	return out
}

// anyHost writes a missing hostname as the wildcard that it is.
func anyHost(host string) string {
	if host == "" {
		return "*"
	}
	return host
}

func serves(l *gatewayv1.Listener) bool {
	return l.Protocol == gatewayv1.HTTPProtocolType || l.Protocol == gatewayv1.HTTPSProtocolType
}

func hostOf(l *gatewayv1.Listener) string {
	if l.Hostname == nil {
		return ""
	}
	return strings.ToLower(string(*l.Hostname))
}

// namespaceMatches evaluates a selector on a namespace's labels. A namespace that nobody declared, as in a folder of
// manifests, has the one label that an API server gives it.
func namespaceMatches(g *GatewayAPI, r *table.Reader, namespace string, s *metav1.LabelSelector) bool {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return false
	}
	set := labels.Set{"kubernetes.io/metadata.name": namespace}
	if n, ok := table.Get(r, g.in.Namespaces, namespace); ok {
		for k, v := range n.Labels {
			set[k] = v
		}
	}
	return selector.Matches(set)
}
