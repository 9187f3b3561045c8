package main

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fairlead.io/fairlead/integration/loadclient"
)

const podsPerNode = 100

func podName(i, j int) string { return fmt.Sprintf("svc-%d-%d", i, j) }

// nodeOf is the Node of the j-th endpoint of the i-th Service.
func nodeOf(i, j int) string { return fmt.Sprintf("node-%d", (i*perService+j)/podsPerNode) }

func node(name string) object {
	m := meta("", name)
	m["labels"] = object{"kubernetes.io/hostname": name, "topology.kubernetes.io/region": "r", "topology.kubernetes.io/zone": "z"}
	return object{"apiVersion": "v1", "kind": "Node", "metadata": m}
}

func pod(namespace, name, app, node, address string) object {
	m := meta(namespace, name)
	m["labels"] = object{"app": app, "version": "v1"}
	return object{
		"apiVersion": "v1", "kind": "Pod", "metadata": m,
		"spec": object{
			"nodeName": node, "serviceAccountName": "default", "automountServiceAccountToken": false,
			"containers": list{object{"name": "app", "image": "app", "ports": list{object{"containerPort": int64(8080)}}}},
		},
		"status": object{
			"phase": "Running", "podIP": address, "podIPs": list{object{"ip": address}},
			"conditions": list{object{"type": "Ready", "status": "True"}},
		},
	}
}

// createPod makes a running Pod, which takes two writes: the API server drops the first one's status.
func (m *mesh) createPod(ctx context.Context, o object) error {
	status := o["status"]
	u := &unstructured.Unstructured{Object: o}
	pods := m.resource(podGVR, u.GetNamespace())
	made, err := pods.Create(ctx, u, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	made.Object["status"] = status
	_, err = pods.UpdateStatus(ctx, made, metav1.UpdateOptions{})
	return err
}

// scope puts each client's Node into the mesh, with one Pod, and a Sidecar into each namespace, so that the Pods of a namespace
// see the Services of their own and of the next one: a tenth of all.
func (m *mesh) scope(ctx context.Context, clients int) error {
	err := writeAll(ctx, "sidecars", namespaces, func(ctx context.Context, i int) error {
		return m.create(ctx, sidecarGVR, object{
			"apiVersion": "networking.istio.io/v1", "kind": "Sidecar", "metadata": meta(namespaceOf(i), "scope"),
			"spec": object{"egress": list{object{"hosts": list{"./*", namespaceOf(i+1) + "/*"}}}},
		})
	})
	if err != nil {
		return err
	}
	return writeAll(ctx, "nodes with a pod", clients, func(ctx context.Context, i int) error {
		name := loadclient.EnvoyNode(i).GetId()
		if err := m.create(ctx, nodeGVR, node(name)); err != nil {
			return err
		}
		return m.createPod(ctx, pod(namespaceOf(i), name, "load", name, fmt.Sprintf("10.253.%d.%d", i/250, i%250+1)))
	})
}
