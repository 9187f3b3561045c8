package convert

import (
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.io/fairlead/pkg/model"
)

// Namespace converts a v1 Namespace.
func Namespace(o *corev1.Namespace) *model.Namespace {
	return &model.Namespace{Meta: metaOf(o, model.Ref{Kind: "Namespace"}, "v1")}
}

// Node converts a v1 Node.
func Node(o *corev1.Node) *model.Node {
	n := &model.Node{Meta: metaOf(o, model.Ref{Kind: "Node"}, "v1")}
	n.Locality = model.Locality{
		Region:  o.Labels[corev1.LabelTopologyRegion],
		Zone:    o.Labels[corev1.LabelTopologyZone],
		SubZone: o.Labels["topology.istio.io/subzone"],
	}
	for i, a := range o.Status.Addresses {
		if a.Type == corev1.NodeInternalIP || a.Type == corev1.NodeExternalIP {
			n.Addresses = append(n.Addresses, addrs(&n.Meta, "status.addresses["+strconv.Itoa(i)+"].address", []string{a.Address})...)
		}
	}
	for _, c := range o.Status.Conditions {
		if c.Type == corev1.NodeReady {
			n.Ready = c.Status == corev1.ConditionTrue
		}
	}
	return n
}

// Pod converts a v1 Pod, or gives nil for one that has finished: its address may already be another pod's.
func Pod(o *corev1.Pod) *model.Pod {
	if o.Status.Phase == corev1.PodSucceeded || o.Status.Phase == corev1.PodFailed {
		return nil
	}
	p := &model.Pod{
		Meta: metaOf(o, model.Ref{Kind: "Pod"}, "v1"),
		Node: o.Spec.NodeName, ServiceAccount: o.Spec.ServiceAccountName, HostNetwork: o.Spec.HostNetwork,
	}
	_, p.Static = o.Annotations[corev1.MirrorPodAnnotationKey]
	p.Annotations = nil // as many and as large as in no other kind, and nothing else reads them
	if p.ServiceAccount == "" && !p.Static {
		p.ServiceAccount = "default"
	}
	ips := make([]string, 0, 2)
	for _, ip := range o.Status.PodIPs {
		ips = append(ips, ip.IP)
	}
	if len(ips) == 0 && o.Status.PodIP != "" {
		ips = append(ips, o.Status.PodIP)
	}
	p.Addresses = addrs(&p.Meta, "status.podIPs", ips)
	for _, c := range o.Status.Conditions {
		if c.Type == corev1.PodReady {
			p.Ready = c.Status == corev1.ConditionTrue
		}
	}
	p.Ports, p.Workload = containerPorts(&o.Spec), workload(o)
	return p
}

// workload names what owns a pod: of a ReplicaSet that a Deployment made, the Deployment.
func workload(o *corev1.Pod) string {
	owner := metav1.GetControllerOf(o)
	if owner == nil || owner.Kind == "Node" {
		return ""
	}
	if hash := o.Labels["pod-template-hash"]; owner.Kind == "ReplicaSet" && hash != "" {
		if name, ok := strings.CutSuffix(owner.Name, "-"+hash); ok {
			return "Deployment/" + name
		}
	}
	return owner.Kind + "/" + owner.Name
}

// containerPorts are the ports with a name, of sidecars (init containers that go on) too.
func containerPorts(s *corev1.PodSpec) []model.ContainerPort {
	var out []model.ContainerPort
	add := func(c *corev1.Container) {
		for _, p := range c.Ports {
			if p.Name == "" || p.ContainerPort <= 0 || p.ContainerPort > 65535 {
				continue
			}
			protocol := string(p.Protocol)
			if protocol == "" {
				protocol = string(corev1.ProtocolTCP)
			}
			out = append(out, model.ContainerPort{Name: p.Name, Protocol: protocol, Number: uint16(p.ContainerPort)})
		}
	}
	for i := range s.Containers {
		add(&s.Containers[i])
	}
	for i := range s.InitContainers {
		if c := &s.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			add(c)
		}
	}
	return out
}

// Secret converts a v1 Secret. An API server has already moved stringData into data; in a file it still stands there,
// and wins.
func Secret(o *corev1.Secret) *model.Secret {
	s := &model.Secret{Meta: metaOf(o, model.Ref{Kind: "Secret"}, "v1"), Type: string(o.Type), Data: o.Data}
	if s.Type == "" {
		s.Type = string(corev1.SecretTypeOpaque)
	}
	if len(o.StringData) > 0 {
		s.Data = make(model.SecretData, len(o.Data)+len(o.StringData))
		for k, v := range o.Data {
			s.Data[k] = v
		}
		for k, v := range o.StringData {
			s.Data[k] = []byte(v)
		}
	}
	return s
}

// ConfigMap converts a v1 ConfigMap.
func ConfigMap(o *corev1.ConfigMap) *model.ConfigMap {
	return &model.ConfigMap{Meta: metaOf(o, model.Ref{Kind: "ConfigMap"}, "v1"), Data: o.Data}
}
