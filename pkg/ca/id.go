package ca

import (
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// WorkloadID is spiffe://<trust domain>/ns/<namespace>/sa/<service account>. The error names what breaks the grammar of SPIFFE IDs.
func WorkloadID(td spiffeid.TrustDomain, namespace, serviceAccount string) (spiffeid.ID, error) {
	return spiffeid.FromSegments(td, "ns", namespace, "sa", serviceAccount)
}

// NodeID is spiffe://<trust domain>/node/<name>/<uid>.
func NodeID(td spiffeid.TrustDomain, n NodeRef) (spiffeid.ID, error) {
	return spiffeid.FromSegments(td, "node", n.Name, n.UID)
}

// GatewayID is spiffe://<trust domain>/ns/<namespace>/gateway/<name>.
func GatewayID(td spiffeid.TrustDomain, namespace, name string) (spiffeid.ID, error) {
	return spiffeid.FromSegments(td, "ns", namespace, "gateway", name)
}

// ParseWorkloadID gives namespace and ServiceAccount of a WorkloadID of any trust domain.
func ParseWorkloadID(id spiffeid.ID) (namespace, serviceAccount string, ok bool) {
	p := strings.Split(id.Path(), "/") // begins with an empty part
	if len(p) != 5 || p[1] != "ns" || p[3] != "sa" {
		return "", "", false
	}
	return p[2], p[4], true
}

// ParseNodeID gives the node of a NodeID of any trust domain.
func ParseNodeID(id spiffeid.ID) (NodeRef, bool) {
	p := strings.Split(id.Path(), "/")
	if len(p) != 4 || p[1] != "node" {
		return NodeRef{}, false
	}
	return NodeRef{Name: p[2], UID: p[3]}, true
}
