// Package attest says which pod is at the other end of a Unix socket's connection: connection → process → cgroup → pod UID.
//
// What is trusted is the kernel's word about a process that is proven to be alive: the process that called connect() is held by
// a pidfd, all that is read under its number is used only if it still lives afterwards, so a number that was given to another
// process is never taken for it. Its cgroup says which pod it is of, and is the truth; its namespaces, where they say anything,
// must not contradict it: they must be those of the pod's sandbox, or the node's where the sandbox is in them (hostNetwork,
// hostPID). Nothing that a process says about itself is used: no name, no argument, no environment, no path below its pod's own
// cgroup.
//
// What a pod may do without being taken for another one: make cgroups below its own with any name, run containers of its own,
// fork, pass the connection on (it gives its own identity away then). What is not defended against: a process that may write to
// the node's cgroups and enter another pod's namespaces too (CAP_SYS_ADMIN and the node's cgroup filesystem mounted, or
// hostPID with CAP_SYS_PTRACE) is the node: it could as well read the other pod's memory. With the one but not the other, the
// cgroup and the network namespace disagree, and it is refused.
//
// It stands in front of workloadapi; see package node for the line.
package attest

import (
	"context"
	"errors"
	"net"
)

// Attestor tells who is at the other end of a connection. Implementations are safe for concurrent use.
type Attestor interface {
	// Attest looks at an accepted connection of a Unix socket. The Caller must be closed. Errors are of the kinds below.
	Attest(ctx context.Context, conn *net.UnixConn) (*Caller, error)
}

var (
	// ErrGone says that the process has ended.
	ErrGone = errors.New("the calling process has ended")
	// ErrNoPod says that the process runs on the node, outside any pod.
	ErrNoPod = errors.New("the calling process runs in no pod")
	// ErrOfNode says that a process of the node is in the cgroup of a pod that has a process namespace of its own: a runtime's
	// helper, or one that was moved there.
	ErrOfNode = errors.New("the calling process is the node's and was put into a pod's cgroup")
	// ErrStatic says that the pod is one that kubelet runs from a file. Its cgroup has the hash of the file, and the API server
	// lets it name no ServiceAccount, so there is no identity for it.
	ErrStatic = errors.New("the calling process is of a static pod, which has no ServiceAccount; run it as a DaemonSet if it needs an identity")
	// ErrAmbiguous says that the kernel names more than one pod, or one in some hierarchies only.
	ErrAmbiguous = errors.New("the calling process cannot be told to be of one pod")
	// ErrMoved says that the process is not where it was when it was attested.
	ErrMoved = errors.New("the calling process has moved to another pod or network")
)

// Caller is a process of a pod. It is safe for concurrent use.
type Caller struct {
	// PodUID is the pod's UID, as it is in the API.
	PodUID string
	// PID is the process's number in the agent's namespace. It is for logs: nothing may be looked up by it.
	PID   int
	proof Proof
}

// Proof is what a Caller rests on.
type Proof interface {
	// Alive gives ErrGone when the process has ended, ErrMoved when it is of another pod now.
	Alive() error
	// Gone is closed when the process has ended, or Close was called.
	Gone() <-chan struct{}
	Close()
}

// NewCaller is for implementations of Attestor.
func NewCaller(podUID string, pid int, proof Proof) *Caller {
	return &Caller{PodUID: podUID, PID: pid, proof: proof}
}

// Alive looks again whether the process lives and is of the same pod.
func (c *Caller) Alive() error {
	if c.proof == nil {
		return ErrGone
	}
	return c.proof.Alive()
}

// Gone is closed when the process has ended, or the Caller.
func (c *Caller) Gone() <-chan struct{} { return c.proof.Gone() }

// Close gives the process free.
func (c *Caller) Close() {
	if c.proof != nil {
		c.proof.Close()
	}
}
