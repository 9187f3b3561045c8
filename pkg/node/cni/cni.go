// Package cni holds a pod back until its traffic is judged: a chained CNI plugin that asks the node's agent to attach the pod, and
// waits until its policy is in the kernel.
//
//	kubelet → container runtime → bridge, ptp, … → Plugin ── Unix socket ─► Server ─► agent
//
// It is the last of a chain, and changes nothing of what the plugins before it have done. What a node needs to boot is exempt by
// namespace: it is attached when the agent finds it, and nobody waits.
package cni

import (
	"net/netip"
	"time"
)

// PluginName is the "type" of the plugin in a CNI configuration, and the name of its binary.
const PluginName = "fairlead-cni"

// Config is the plugin's part of a CNI configuration.
type Config struct {
	// Socket is where the agent answers.
	Socket string `json:"socket"`
	// Exempt are namespaces whose pods are not held back.
	Exempt []string `json:"exempt,omitempty"`
	// Wait bounds how long ADD waits, in milliseconds.
	Wait int64 `json:"waitMilliseconds,omitempty"`
}

// DefaultWait is within what container runtimes and the kubelet give a sandbox (minutes), after which they try again.
const DefaultWait = 20 * time.Second

// DefaultExempt are the namespaces that a node boots with: the control plane's, DNS, proxies and CNI plugins, and ours.
func DefaultExempt() []string { return []string{"kube-system", "fairlead-system"} }

// Request is what the agent is asked, about one interface of one pod.
type Request struct {
	// Command is ADD, DEL or CHECK.
	Command        string `json:"command"`
	Namespace      string `json:"namespace"`
	Name           string `json:"name"`
	UID            string `json:"uid"`
	Interface      string `json:"interface"`
	NetNS          string `json:"netns,omitempty"`
	WaitNanosecond int64  `json:"wait,omitempty"`
	// Addresses are those that the plugins before it have given the pod.
	Addresses []netip.Addr `json:"addresses,omitempty"`
}

// Answer is the agent's; an empty Error is success.
type Answer struct {
	Error string `json:"error,omitempty"`
}
