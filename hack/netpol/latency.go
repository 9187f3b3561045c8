package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"fairlead.io/fairlead/integration/cluster"
)

// latency measures what an edit of a policy takes from the beginning of its write to the API server to the first packet that it
// decides otherwise, on another node.
func latency() *cobra.Command {
	var o options
	var samples, pods, policies int
	cmd := &cobra.Command{
		Use:   "latency",
		Short: "From the write of a policy to its enforcement, under load",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			o.fairlead, o.logs = true, cmd.Flag("logs").Value.String()
			r, err := start(cmd.Context(), o, o.cni[0], o.proxy[0])
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, r.cluster.Down(false)) }()
			return r.latency(cmd.Context(), samples, pods, policies)
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.cni, "cni", []string{"bridge"}, "network of the pods")
	f.StringSliceVar(&o.proxy, "proxy", []string{"nftables"}, "mode of kube-proxy")
	f.String("logs", ".", "folder for files")
	f.IntVar(&samples, "samples", 200, "how many edits")
	f.IntVar(&pods, "pods", 40, "pods of the load, each with labels of its own")
	f.IntVar(&policies, "policies", 500, "policies of the load, each of which selects a tenth of its pods")
	return cmd
}

// bench is a server that is selected by the policy that is edited, and a client on the other node.
const bench = `
{apiVersion: v1, kind: Namespace, metadata: {name: bench}}
---
apiVersion: v1
kind: Pod
metadata: {name: server, namespace: bench, labels: {app: server}}
spec:
  nodeName: FIRST
  terminationGracePeriodSeconds: 1
  containers: [{name: probe, image: "fairlead.test/probe:1", imagePullPolicy: Never, args: [echo, ":5353"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: bench, labels: {app: client}}
spec:
  nodeName: SECOND
  terminationGracePeriodSeconds: 1
  containers: [{name: probe, image: "fairlead.test/probe:1", imagePullPolicy: Never, args: [serve]}]
`

const loadPod = `
---
apiVersion: v1
kind: Pod
metadata: {name: load-NUMBER, namespace: bench, labels: {app: load, tenth: "TENTH", number: "NUMBER"}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: probe, image: "fairlead.test/probe:1", imagePullPolicy: Never, args: [serve]}]
`

const loadPolicy = `
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: load-NUMBER, namespace: bench}
spec:
  podSelector: {matchLabels: {tenth: "TENTH"}}
  policyTypes: [Ingress, Egress]
  ingress: [{from: [{podSelector: {matchLabels: {number: "PEER"}}}, {ipBlock: {cidr: 192.0.2.OCTET/32}}], ports: [{port: PORT}]}]
  egress: [{to: [{podSelector: {matchLabels: {app: load}}}], ports: [{port: PORT, protocol: UDP}]}]
`

// world is all that is there before the first edit.
func world(c *cluster.Cluster, pods, policies int) string {
	var b strings.Builder
	b.WriteString(strings.NewReplacer("FIRST", c.Nodes[0].Name, "SECOND", c.Nodes[1].Name).Replace(bench))
	number := func(text string, i int) {
		b.WriteString(strings.NewReplacer("NUMBER", strconv.Itoa(i), "TENTH", strconv.Itoa(i%10), "PEER", strconv.Itoa(i%max(pods, 1)),
			"OCTET", strconv.Itoa(i%256), "PORT", strconv.Itoa(1000+i)).Replace(text))
	}
	for i := range pods {
		number(loadPod, i)
	}
	for i := range policies {
		number(loadPolicy, i)
	}
	return b.String()
}

func (r *rig) latency(ctx context.Context, samples, pods, policies int) error {
	c := r.cluster
	if err := c.Apply(ctx, world(c, pods, policies)); err != nil {
		return err
	}
	if _, err := c.Kubectl(ctx, "", "wait", "-n", "bench", "--for=condition=Ready", "--timeout=5m", "pod", "--all"); err != nil {
		return err
	}
	config, err := c.Config()
	if err != nil {
		return err
	}
	transport, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	defer transport.CloseIdleConnections()
	client, err := kubernetes.NewForConfigAndClient(config, transport)
	if err != nil {
		return err
	}
	return measure(ctx, c, client, samples)
}

// turn is what the probe prints; see integration/cluster/images/probe.
type turn struct {
	Sent int64
	Open bool
}

// observer follows what a client on the other node is answered.
type observer struct {
	turns chan turn
	end   func()
}

func observe(ctx context.Context, c *cluster.Cluster) (*observer, error) {
	address, err := c.Kubectl(ctx, "", "get", "pod", "-n", "bench", "server", "-o", "jsonpath={.status.podIP}")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	cmd := c.KubectlCommand(ctx, "exec", "-i", "-n", "bench", "client", "--", "/probe", "watch", address+":5353")
	stdin, err := cmd.StdinPipe()
	if err == nil {
		var stdout io.Reader
		if stdout, err = cmd.StdoutPipe(); err == nil {
			if err = cmd.Start(); err == nil {
				o := &observer{turns: make(chan turn), end: func() { _ = stdin.Close(); cancel(); _ = cmd.Wait() }}
				go o.read(ctx, stdout)
				return o, nil
			}
		}
	}
	cancel()
	return nil, err
}

func (o *observer) read(ctx context.Context, out io.Reader) {
	defer close(o.turns)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var t turn
		if json.Unmarshal(lines.Bytes(), &t) != nil {
			continue
		}
		select {
		case o.turns <- t:
		case <-ctx.Done():
			return
		}
	}
}

// next is when the first packet was sent that was decided otherwise.
func (o *observer) next(open bool) (time.Time, error) {
	select {
	case t, ok := <-o.turns:
		switch {
		case !ok:
			return time.Time{}, errors.New("the client has ended")
		case t.Open != open:
			return time.Time{}, fmt.Errorf("answers have turned to %v by themselves", t.Open)
		}
		return time.Unix(0, t.Sent), nil
	case <-time.After(30 * time.Second):
		return time.Time{}, fmt.Errorf("no packet is decided otherwise within 30 s: want open %v", open)
	}
}

func measure(ctx context.Context, c *cluster.Cluster, client kubernetes.Interface, samples int) error {
	o, err := observe(ctx, c)
	if err != nil {
		return err
	}
	defer o.end()
	if _, err := o.next(true); err != nil {
		return err
	}
	took := map[bool][]time.Duration{}
	for i := range samples {
		open := i%2 == 1
		begin := time.Now()
		if err := edit(ctx, client, i, open); err != nil {
			return err
		}
		at, err := o.next(open)
		if err != nil {
			return fmt.Errorf("sample %d: %w", i, err)
		}
		took[open] = append(took[open], at.Sub(begin))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(50+i%7*13) * time.Millisecond): // not in step with anything
		}
	}
	show("denied", took[false])
	show("allowed", took[true])
	show("both", append(took[false], took[true]...))
	return nil
}

// edit writes the policy of the server, which lets the client in or not.
func edit(ctx context.Context, client kubernetes.Interface, i int, open bool) error {
	app := "nobody"
	if open {
		app = "client"
	}
	policy := &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "server", Namespace: "bench"},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "server"}},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
			Ingress: []networkingv1.NetworkPolicyIngressRule{{
				From: []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}}},
			}},
		},
	}
	var err error
	if i == 0 {
		_, err = client.NetworkingV1().NetworkPolicies("bench").Create(ctx, policy, metav1.CreateOptions{})
	} else {
		_, err = client.NetworkingV1().NetworkPolicies("bench").Update(ctx, policy, metav1.UpdateOptions{})
	}
	return err
}

func show(what string, all []time.Duration) {
	if len(all) == 0 {
		return
	}
	slices.Sort(all)
	at := func(part float64) time.Duration {
		return all[min(len(all)-1, int(part*float64(len(all))))].Round(100 * time.Microsecond)
	}
	fmt.Printf("%-8s %d samples: p50 %v, p90 %v, p99 %v, worst %v\n", what, len(all), at(0.5), at(0.9), at(0.99), at(1))
}
