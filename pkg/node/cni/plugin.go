package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"
)

// Main runs the plugin as the CNI specification tells it, by the environment and by standard input. It ends the process with 1 after
// an error, which is printed as CNI wants it.
func Main(about string) {
	skel.PluginMainFuncs(skel.CNIFuncs{Add: add, Del: del, Check: check}, version.All, about)
}

// netConf is the plugin's configuration as the runtime gives it.
type netConf struct {
	types.PluginConf
	Config
}

// podArgs are CNI_ARGS as container runtimes give them.
type podArgs struct {
	types.CommonArgs
	K8S_POD_NAMESPACE, K8S_POD_NAME, K8S_POD_UID types.UnmarshallableString //nolint:revive // the names of the arguments
}

// call is one invocation.
type call struct {
	conf   netConf
	pod    podArgs
	result *current.Result
}

func read(args *skel.CmdArgs) (*call, error) {
	c := &call{}
	if err := json.Unmarshal(args.StdinData, &c.conf); err != nil {
		return nil, types.NewError(types.ErrDecodingFailure, "read configuration", err.Error())
	}
	c.pod.IgnoreUnknown = true
	if err := types.LoadArgs(args.Args, &c.pod); err != nil {
		return nil, types.NewError(types.ErrInvalidEnvironmentVariables, "read CNI_ARGS", err.Error())
	}
	if c.conf.RawPrevResult == nil {
		return c, nil
	}
	if err := version.ParsePrevResult(&c.conf.PluginConf); err != nil {
		return nil, types.NewError(types.ErrDecodingFailure, "read prevResult", err.Error())
	}
	var err error
	if c.result, err = current.NewResultFromResult(c.conf.PrevResult); err != nil {
		return nil, types.NewError(types.ErrDecodingFailure, "read prevResult", err.Error())
	}
	return c, nil
}

// add waits until the pod's traffic is judged.
func add(args *skel.CmdArgs) error {
	c, err := read(args)
	if err != nil {
		return err
	}
	if c.result == nil {
		return types.NewError(types.ErrInvalidNetworkConfig, PluginName+" is to be chained after the plugin that connects the pod", "there is no prevResult")
	}
	if !c.exempt() {
		if err := c.ask("ADD", args); err != nil {
			return err
		}
	}
	return types.PrintResult(c.conf.PrevResult, c.conf.CNIVersion)
}

// check asks whether the pod's traffic is judged.
func check(args *skel.CmdArgs) error {
	c, err := read(args)
	if err != nil || c.exempt() {
		return err
	}
	return c.ask("CHECK", args)
}

// del tells the agent, and never fails: it finds out by itself, and a pod must be able to go when the agent is not there.
func del(args *skel.CmdArgs) error {
	if c, err := read(args); err == nil && !c.exempt() {
		_ = c.ask("DEL", args)
	}
	return nil
}

// exempt tells whether the pod is not held back. What is no pod of Kubernetes is none of ours.
func (c *call) exempt() bool {
	return c.pod.K8S_POD_NAME == "" || slices.Contains(c.conf.Exempt, string(c.pod.K8S_POD_NAMESPACE))
}

func (c *call) ask(command string, args *skel.CmdArgs) error {
	wait := time.Duration(c.conf.Wait) * time.Millisecond
	if wait <= 0 {
		wait = DefaultWait
	}
	req := Request{
		Command: command, Namespace: string(c.pod.K8S_POD_NAMESPACE), Name: string(c.pod.K8S_POD_NAME), UID: string(c.pod.K8S_POD_UID),
		Interface: args.IfName, NetNS: args.Netns, WaitNanosecond: int64(wait), Addresses: c.addresses(),
	}
	// The agent may not see the path, but this process.
	if f, err := os.Open(args.Netns); err == nil {
		defer f.Close()
		req.NetNS = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd())
	}
	ctx, cancel := context.WithTimeout(context.Background(), wait+2*time.Second)
	defer cancel()
	if err := Ask(ctx, c.conf.Socket, req); err != nil {
		pod := req.Namespace + "/" + req.Name
		return types.NewError(types.ErrTryAgainLater, "pod "+pod+" is held back: "+err.Error(),
			"until the agent of the node judges its traffic; exempt its namespace in the agent's --cni-exempt if the node cannot boot without it")
	}
	return nil
}

// addresses are those of the interface in the pod.
func (c *call) addresses() (out []netip.Addr) {
	if c.result == nil {
		return nil
	}
	for _, ip := range c.result.IPs {
		if a, ok := netip.AddrFromSlice(ip.Address.IP); ok {
			out = append(out, a.Unmap())
		}
	}
	return out
}

// Ask asks the agent, and gives its refusal as an error.
func Ask(ctx context.Context, socket string, req Request) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("the agent does not answer at %s: %w", socket, err)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	var answer Answer
	err = json.NewEncoder(conn).Encode(req)
	if err == nil {
		err = json.NewDecoder(conn).Decode(&answer)
	}
	if err != nil {
		return fmt.Errorf("ask the agent at %s: %w", socket, err)
	}
	if answer.Error != "" {
		return errors.New(strings.TrimSpace(answer.Error))
	}
	return nil
}
