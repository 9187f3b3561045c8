package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairlead.io/fairlead/api/observe/flow"
	"fairlead.io/fairlead/api/observe/observer"
	"fairlead.io/fairlead/pkg/node"
	"fairlead.io/fairlead/pkg/node/control"
	"fairlead.io/fairlead/pkg/observe/filter"
	"fairlead.io/fairlead/pkg/observe/show"
	"fairlead.io/fairlead/pkg/server"
)

// defaultObserve is where a server is observed on its own machine (serve --observe-address).
const defaultObserve = "127.0.0.1:15013"

// observeTarget is who is asked.
type observeTarget struct {
	server, serverID, token string
	trustBundle, trustHash  string
}

func (t *observeTarget) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&t.server, "server", defaultObserve, "who is asked: loopback IP:PORT or unix:PATH of a server or of a node's agent, or, with --token, HOST:PORT of a server's TLS port")
	f.StringVar(&t.token, "token", "", "file with a ServiceAccount token of audience fairlead, for a TLS port")
	f.StringVar(&t.trustBundle, "trust-bundle", "", "file of roots in PEM that verify a TLS port")
	f.StringVar(&t.trustHash, "trust-hash", "", "instead: sha256:HEX of one root certificate's DER, which the server shows in its chain")
	f.StringVar(&t.serverID, "server-id", "spiffe://cluster.local/ns/fairlead-system/sa/fairlead", "the SPIFFE ID that a TLS port must prove")
}

// dial connects; done lets go.
func (t *observeTarget) dial() (conn grpc.ClientConnInterface, done func(), err error) {
	if t.token == "" {
		return t.plain()
	}
	if t.trustBundle == "" && t.trustHash == "" {
		return nil, nil, fmt.Errorf("--server=%s: a TLS port needs --trust-bundle or --trust-hash beside --token", t.server)
	}
	id, err := spiffeid.FromString(t.serverID)
	if err != nil {
		return nil, nil, fmt.Errorf("--server-id: %w", err)
	}
	trust, err := control.NewTrust(t.trustBundle, t.trustHash)
	if err != nil {
		return nil, nil, err
	}
	link := control.NewLink(control.LinkConfig{Servers: []string{t.server}, ServerID: id, Trust: trust, Token: t.token, SVID: func() *node.SVID { return nil }})
	c, err := link.Use()
	if err != nil {
		return nil, nil, err
	}
	return c, link.Close, nil
}

// plain connects to an address of this machine.
func (t *observeTarget) plain() (conn grpc.ClientConnInterface, done func(), err error) {
	target := t.server
	if path, ok := strings.CutPrefix(target, "unix:"); ok {
		target = "unix:/" + strings.TrimLeft(path, "/") // of unix:///path too, as Hubble's client has it
	} else if _, err := server.ParseAddress(target); err != nil {
		return nil, nil, fmt.Errorf("--server: %w, or a TLS port with --token and --trust-bundle", err)
	}
	c, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, nil, fmt.Errorf("--server=%s: %w", t.server, err)
	}
	return c, func() { _ = c.Close() }, nil
}

// observeFlags are the flags of observe, as written.
type observeFlags struct {
	to                           observeTarget
	either, from, dest           sides
	verdicts, reasons, protocols []string
	directions, tcp, nodes       []string
	since, until                 string
	last, first                  uint64
	all, follow, utc             bool
	format                       string
}

func (f *observeFlags) add(cmd *cobra.Command) {
	f.to.add(cmd)
	fs := cmd.Flags()
	for _, s := range []struct {
		to           *sides
		prefix, what string
	}{{&f.either, "", "either side"}, {&f.from, "from-", "who sends"}, {&f.dest, "to-", "who receives"}} {
		short := func(letter string) string {
			if s.prefix == "" {
				return letter
			}
			return ""
		}
		fs.StringSliceVarP(&s.to.namespaces, s.prefix+"namespace", short("n"), nil, "namespace of "+s.what)
		fs.StringSliceVar(&s.to.pods, s.prefix+"pod", nil, "pod of "+s.what+": NAMESPACE/NAME, or NAME in --"+s.prefix+"namespace or any; NAME may be a beginning")
		fs.StringArrayVarP(&s.to.labels, s.prefix+"label", short("l"), nil, "label selector for "+s.what+": app=web,tier in (a,b), or reserved:host, reserved:world, reserved:remote-node")
		fs.StringSliceVar(&s.to.identities, s.prefix+"identity", nil, "identity of "+s.what+": its name (TRUST-DOMAIN/ns/…), its number, or host, world, remote-node, kube-apiserver")
		fs.StringSliceVar(&s.to.workloads, s.prefix+"workload", nil, "owner of the pod of "+s.what+": NAME or KIND/NAME")
		fs.StringSliceVar(&s.to.addresses, s.prefix+"ip", nil, "address or CIDR of "+s.what)
		fs.StringSliceVar(&s.to.ports, s.prefix+"port", nil, "port of "+s.what)
	}
	fs.StringSliceVar(&f.verdicts, "verdict", nil, "FORWARDED, DROPPED or AUDIT")
	fs.StringSliceVar(&f.reasons, "drop-reason", nil, "why it was dropped, such as POLICY_DENIED")
	fs.StringSliceVar(&f.protocols, "protocol", nil, strings.Join(filter.Protocols(), ", "))
	fs.StringSliceVar(&f.directions, "direction", nil, "ingress or egress: on whose side of the connection it was decided")
	fs.StringArrayVar(&f.tcp, "tcp-flags", nil, "flags that are all set, such as SYN,ACK")
	fs.StringSliceVar(&f.nodes, "node", nil, "name of a node, with * for anything")
	fs.StringVar(&f.since, "since", "", "from when on: a duration back (10m), or a time (2026-01-02T15:04:05Z)")
	fs.StringVar(&f.until, "until", "", "until when, as --since")
	fs.Uint64Var(&f.last, "last", 0, "how many, the newest")
	fs.Uint64Var(&f.first, "first", 0, "how many, the oldest that are kept")
	fs.BoolVar(&f.all, "all", false, "all that are kept")
	fs.BoolVarP(&f.follow, "follow", "f", false, "show what comes, until interrupted")
	fs.BoolVar(&f.utc, "utc", false, "times in UTC instead of the local zone")
	fs.StringVarP(&f.format, "output", "o", f.format, "how to print: table, compact or json (an object a line, as Hubble's)")
	cmd.MarkFlagsMutuallyExclusive("last", "first", "all")
	cmd.MarkFlagsMutuallyExclusive("first", "follow")
}

// request is what the flags ask for.
func (f *observeFlags) request(now time.Time) (*observer.GetFlowsRequest, error) {
	if !slices.Contains(show.Formats(), show.Format(f.format)) {
		return nil, fmt.Errorf("-o %s: use table, compact or json", f.format)
	}
	req := &observer.GetFlowsRequest{Number: f.last, Follow: f.follow}
	if f.first > 0 {
		req.Number, req.First = f.first, true
	}
	if f.last == 0 && f.first == 0 && f.since == "" && f.until == "" && !f.follow && !f.all {
		req.Number = defaultLast
	}
	var err error
	if req.Since, err = moment("--since", f.since, now); err != nil {
		return nil, err
	}
	if req.Until, err = moment("--until", f.until, now); err != nil {
		return nil, err
	}
	if req.Whitelist, err = f.filters(); err != nil {
		return nil, err
	}
	if _, err := filter.New(req.GetWhitelist(), nil); err != nil {
		return nil, err // here rather than there: the server may be of another version
	}
	return req, nil
}

// moment reads a duration back from now, or a time.
func moment(flag, s string, now time.Time) (*timestamppb.Timestamp, error) {
	if s == "" {
		return nil, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return timestamppb.New(now.Add(-d)), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return nil, fmt.Errorf("%s=%s: use a duration back, such as 10m, or a time, such as 2026-01-02T15:04:05Z", flag, s)
	}
	return timestamppb.New(t), nil
}

// filters makes one filter of what is about no side, and of it one for each way in which either side and port can be meant.
func (f *observeFlags) filters() ([]*flow.FlowFilter, error) {
	common, err := f.common()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.from.put(common, true, "from-"), f.dest.put(common, false, "to-")); err != nil {
		return nil, err
	}
	if f.either.empty() && proto.Size(common) == 0 {
		return nil, nil
	}
	ends, ports := f.either, sides{ports: f.either.ports}
	ends.ports = nil
	list, err := eachSide([]*flow.FlowFilter{common}, &ends)
	if err != nil {
		return nil, err
	}
	return eachSide(list, &ports)
}

// common is what is about no side.
func (f *observeFlags) common() (*flow.FlowFilter, error) {
	out := &flow.FlowFilter{NodeName: f.nodes}
	for _, v := range f.verdicts {
		n, ok := flow.Verdict_value[strings.ToUpper(v)]
		if !ok {
			return nil, fmt.Errorf("--verdict=%s: use FORWARDED, DROPPED or AUDIT", v)
		}
		out.Verdict = append(out.Verdict, flow.Verdict(n))
	}
	for _, r := range f.reasons {
		n, ok := flow.DropReason_value[strings.ToUpper(r)]
		if !ok {
			return nil, fmt.Errorf("--drop-reason=%s: use a reason that flows show, such as POLICY_DENIED", r)
		}
		out.DropReasonDesc = append(out.DropReasonDesc, flow.DropReason(n))
	}
	for _, d := range f.directions {
		n := flow.TrafficDirection_value[strings.ToUpper(d)]
		if n == 0 {
			return nil, fmt.Errorf("--direction=%s: use ingress or egress", d)
		}
		out.TrafficDirection = append(out.TrafficDirection, flow.TrafficDirection(n))
	}
	for _, p := range f.protocols {
		p, err := filter.ParseProtocol(p)
		if err != nil {
			return nil, fmt.Errorf("--protocol: %w", err)
		}
		out.Protocol = append(out.Protocol, p)
	}
	for _, list := range f.tcp {
		flags, err := parseFlags(list)
		if err != nil {
			return nil, err
		}
		out.TcpFlags = append(out.TcpFlags, flags)
	}
	return out, nil
}

// parseFlags reads names with commas between them.
func parseFlags(list string) (*flow.TCPFlags, error) {
	out := &flow.TCPFlags{}
	m := out.ProtoReflect()
	for name := range strings.SplitSeq(list, ",") {
		d := m.Descriptor().Fields().ByTextName(strings.ToUpper(strings.TrimSpace(name)))
		if d == nil {
			return nil, fmt.Errorf("--tcp-flags=%s: %q is none of FIN, SYN, RST, PSH, ACK, URG, ECE, CWR", list, name)
		}
		m.Set(d, protoreflect.ValueOfBool(true))
	}
	return out, nil
}

// identityNumber reads an identity's number, its name, or what is no pod.
func identityNumber(flag, s string) (uint32, error) {
	if n, err := strconv.ParseUint(s, 10, 32); err == nil {
		return uint32(n), nil
	}
	for name, n := range map[string]uint32{"host": filter.Host, "world": filter.World, "remote-node": filter.RemoteNode, "kube-apiserver": filter.KubeAPIServer} {
		if s == name {
			return n, nil
		}
	}
	if strings.Count(s, "/") == 5 {
		return filter.Identity(s), nil
	}
	return 0, fmt.Errorf("--%sidentity=%s: use a name (TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT/HASH), a number, or host, world, remote-node, kube-apiserver", flag, s)
}
