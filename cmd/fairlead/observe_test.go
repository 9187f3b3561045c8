package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairlead.io/fairlead/api/observe/flow"
	"fairlead.io/fairlead/api/observe/observer"
	"fairlead.io/fairlead/pkg/observe/filter"
)

// TestObserveRequest reads what flags ask for, in the text form of a request without spaces.
func TestObserveRequest(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct{ args, want string }{
		{"", "number:20"},
		{"--last 3", "number:3"},
		{"--first 3", "number:3first:true"},
		{"--all", ""},
		{"--follow", "follow:true"},
		{"--follow --last 2", "number:2follow:true"},
		{"--since 10m", "since:{seconds:1767225000}"},
		{"--since 2026-01-01T00:00:00Z --until 2026-01-01T01:00:00+01:00", "since:{seconds:1767225600}until:{seconds:1767225600}"},
		{"--all --verdict dropped --verdict AUDIT", "whitelist:{verdict:DROPPEDverdict:AUDIT}"},
		{"--all --drop-reason policy_denied --direction ingress --protocol TCP --node a*", `whitelist:{traffic_direction:INGRESSdrop_reason_desc:POLICY_DENIEDprotocol:"tcp"node_name:"a*"}`},
		{"--all --tcp-flags syn,ack --tcp-flags RST", "whitelist:{tcp_flags:{SYN:trueACK:true}tcp_flags:{RST:true}}"},
		{"--all -n shop", `whitelist:{source_pod:"shop/"}whitelist:{destination_pod:"shop/"}`},
		{"--all --pod db", `whitelist:{source_pod:"/db"}whitelist:{destination_pod:"/db"}`},
		{"--all -n a,b --pod db,c/x", `whitelist:{source_pod:"a/db"source_pod:"b/db"source_pod:"c/x"}whitelist:{destination_pod:"a/db"destination_pod:"b/db"destination_pod:"c/x"}`},
		{"--all --pod web/x -l app=a,tier", `whitelist:{source_pod:"web/x"source_label:"app=a,tier"}whitelist:{destination_pod:"web/x"destination_label:"app=a,tier"}`},
		{"--all --pod web/x --port 80", `whitelist:{source_pod:"web/x"source_port:"80"}whitelist:{source_pod:"web/x"destination_port:"80"}` +
			`whitelist:{destination_pod:"web/x"source_port:"80"}whitelist:{destination_pod:"web/x"destination_port:"80"}`},
		{"--all --from-pod web/x --to-port 80", `whitelist:{source_pod:"web/x"destination_port:"80"}`},
		{"--all --from-pod web/x -n shop", `whitelist:{source_pod:"web/x"destination_pod:"shop/"}`},
		{"--all --from-identity world --to-identity 70000", "whitelist:{source_identity:2destination_identity:70000}"},
		{"--all --to-identity cluster.local/ns/a/sa/b/00", fmt.Sprintf("whitelist:{destination_identity:%d}", filter.Identity("cluster.local/ns/a/sa/b/00"))},
		{"--all --from-ip 10.0.0.0/8 --to-workload Deployment/db", `whitelist:{source_ip:"10.0.0.0/8"destination_workload:{name:"db"kind:"Deployment"}}`},
		{"--verdict DROPPED -f -n a", `follow:truewhitelist:{source_pod:"a/"verdict:DROPPED}whitelist:{destination_pod:"a/"verdict:DROPPED}`},
	} {
		cmd := observeCommand()
		var f observeFlags
		cmd.ResetFlags()
		f.format = "table"
		f.add(cmd)
		if err := cmd.ParseFlags(strings.Fields(c.args)); err != nil {
			t.Errorf("%s: %v", c.args, err)
			continue
		}
		req, err := f.request(now)
		if err != nil {
			t.Errorf("%s: %v", c.args, err)
			continue
		}
		got := strings.ReplaceAll(prototext.MarshalOptions{}.Format(req), " ", "")
		if got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.args, got, c.want)
		}
	}
}

func TestObserveRefuses(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--verdict maybe", "use FORWARDED, DROPPED or AUDIT"},
		{"--drop-reason no", "such as POLICY_DENIED"},
		{"--direction up", "use ingress or egress"},
		{"--protocol http", "none of tcp, udp"},
		{"--tcp-flags SYN,LOUD", `"LOUD" is none of FIN, SYN`},
		{"--since yesterday", "use a duration back, such as 10m"},
		{"--since -5m", "use a duration back"},
		{"--namespace a/b", "use the name of a namespace"},
		{"--pod a/b/c", "write namespace/name"},
		{"--identity me", "use a name (TRUST-DOMAIN/ns"},
		{"--label a=b=c", "label selector"},
		{"--ip 10.0.0", "no address"},
		{"--port http", "no number from 0 to 65535"},
		{"--from-pod a/x --to-pod b/y --namespace c", "use those alone"},
		{"-o yaml", "use table, compact or json"},
		{"--first 1 --follow", "[first follow]"},
		{"--last 1 --all", "[all last]"},
		{"--server 10.0.0.1:15012", "a TLS port with --token and --trust-bundle"},
		{"--server 10.0.0.1:15012 --token x", "needs --trust-bundle or --trust-hash"},
		{"--server unix:/no/such/socket", "name a server or the socket of a node's agent with --server"},
		{"more", "unknown command"},
	} {
		code, _, errs := fairlead(t, "", append([]string{"observe"}, strings.Fields(c.args)...)...)
		if code != 1 || !strings.Contains(errs, c.want) {
			t.Errorf("observe %s: code %d, %q; want %q", c.args, code, errs, c.want)
		}
	}
}

// flowsOf answers with two flows, or an error where the request has a verdict that says so.
type flowsOf struct {
	observer.UnimplementedObserverServer
}

func (flowsOf) GetFlows(req *observer.GetFlowsRequest, stream grpc.ServerStreamingServer[observer.GetFlowsResponse]) error {
	if w := req.GetWhitelist(); len(w) > 0 && len(w[0].GetVerdict()) > 0 {
		return status.Error(codes.PermissionDenied, "flows of namespace shop are not for you")
	}
	for i, name := range []string{"client-1", "client-2"} {
		if err := stream.Send(&observer.GetFlowsResponse{NodeName: "node-a", Time: timestamppb.New(time.Unix(int64(i), 0)), ResponseTypes: &observer.GetFlowsResponse_Flow{Flow: &flow.Flow{
			Verdict: flow.Verdict_FORWARDED, Source: &flow.Endpoint{Namespace: "web", PodName: name}, Destination: &flow.Endpoint{Namespace: "shop", PodName: "db-0"},
			TrafficDirection: flow.TrafficDirection_INGRESS,
		}}}); err != nil {
			return err
		}
	}
	return nil
}

func TestObserve(t *testing.T) {
	dir, err := os.MkdirTemp("", "fl")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s, ended := grpc.NewServer(), make(chan struct{})
	observer.RegisterObserverServer(s, flowsOf{})
	go func() {
		_ = s.Serve(l) // ended by Stop
		close(ended)
	}()
	defer func() { s.Stop(); <-ended }()
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"--utc", 0, "TIME                 NODE    SOURCE        DESTINATION  DIRECTION  VERDICT    POLICY  SUMMARY\n" +
			"Jan  1 00:00:00.000  node-a  web/client-1  shop/db-0    ingress    FORWARDED  -       -\n" +
			"Jan  1 00:00:01.000  node-a  web/client-2  shop/db-0    ingress    FORWARDED  -       -\n"},
		{"--utc -f", 0, "Jan  1 00:00:00.000: web/client-1 -> shop/db-0 ingress FORWARDED ()\nJan  1 00:00:01.000: web/client-2 -> shop/db-0 ingress FORWARDED ()\n"},
		{"-o json", 0, `{"flow":{"verdict":"FORWARDED","source":{"namespace":"web","pod_name":"client-1"},"destination":{"namespace":"shop","pod_name":"db-0"},"traffic_direction":"INGRESS"},"node_name":"node-a","time":"1970-01-01T00:00:00Z"}` + "\n"},
		{"--verdict DROPPED", 1, "error: flows of namespace shop are not for you\n"},
	} {
		code, out, errs := fairlead(t, "", append([]string{"observe", "--server", "unix://" + path}, strings.Fields(c.args)...)...)
		if code != c.code || !strings.HasPrefix(out+errs, c.want) {
			t.Errorf("observe %s: code %d\n%s%s", c.args, code, out, errs)
		}
	}
}
