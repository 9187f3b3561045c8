package verdict

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Workload is what an identity is made of. Two pods of one Workload are one identity.
type Workload struct {
	TrustDomain, Namespace, ServiceAccount string
	Labels                                 map[string]string
	// Ports are the container ports that have a name.
	Ports []NamedPort
}

// NamedPort is a container port by its name.
type NamedPort struct {
	Name     string
	Protocol uint8 // IANA number
	Port     uint16
}

// Generated are labels that controllers make up, for a replica or a revision: no policy should depend on them, and each would make
// an identity of its own. Names that end in "/" are prefixes.
func Generated() []string {
	return []string{
		"pod-template-hash", "controller-revision-hash", "pod-template-generation", "statefulset.kubernetes.io/pod-name",
		"apps.kubernetes.io/pod-index", "controller-uid", "batch.kubernetes.io/controller-uid", "job-name", "batch.kubernetes.io/job-name",
		"batch.kubernetes.io/job-completion-index",
	}
}

// Filter says which labels count. It is configuration, equal on all servers and nodes, and never derived from the policies that
// exist: an identity must not change because a policy does.
type Filter struct {
	// Without are labels that do not count; those that end in "/" are prefixes.
	Without []string
}

// Counts tells whether a label counts.
func (f Filter) Counts(label string) bool {
	return !slices.ContainsFunc(f.Without, func(w string) bool {
		return w == label || strings.HasSuffix(w, "/") && strings.HasPrefix(label, w)
	})
}

// Apply gives the labels that count.
func (f Filter) Apply(labels map[string]string) map[string]string {
	out := make(map[string]string, len(labels))
	for k, v := range labels {
		if f.Counts(k) {
			out[k] = v
		}
	}
	return out
}

// Identity names a workload: "<trust domain>/ns/<namespace>/sa/<service account>/<hash>", where the hash is of the labels that count
// and the named ports. Whoever knows the pod can name it, without asking a server.
func (f Filter) Identity(w Workload) string {
	var lines []string
	for k, v := range w.Labels {
		if f.Counts(k) {
			lines = append(lines, fmt.Sprintf("l %q=%q", k, v))
		}
	}
	for _, p := range w.Ports {
		lines = append(lines, fmt.Sprintf("p %q %d/%d", p.Name, p.Protocol, p.Port))
	}
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(strings.Join(slices.Compact(lines), "\n")))
	return w.TrustDomain + "/ns/" + w.Namespace + "/sa/" + w.ServiceAccount + "/" + hex.EncodeToString(sum[:16])
}

// NodeIdentity names a node, as a peer.
func NodeIdentity(node string) string { return "node/" + node }
