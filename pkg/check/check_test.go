package check

import (
	"context"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"fairlead.io/fairlead/pkg/bootstrap"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/process"
	"fairlead.io/fairlead/pkg/report"
	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/source"
	"fairlead.io/fairlead/pkg/source/files"
)

func ref(name string) model.Ref { return model.Ref{Kind: "Service", Namespace: "default", Name: name} }

func encode(t *testing.T, name string, m proto.Message) *snapshot.Resource {
	t.Helper()
	r, err := snapshot.Encode(name, m, 1, ref(name))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func pack(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// listener takes its routes from the table of that name, on a port that is taken already.
func listener(t *testing.T, table string, port uint32) *listenerv3.Listener {
	ads := &corev3.ConfigSource{ResourceApiVersion: corev3.ApiVersion_V3, ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}}
	hcm := &hcmv3.HttpConnectionManager{
		StatPrefix:     "x",
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{RouteConfigName: table, ConfigSource: ads}},
		HttpFilters:    []*hcmv3.HttpFilter{{Name: "router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(t, &routerv3.Router{})}}},
	}
	return &listenerv3.Listener{
		Name: "web",
		Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: "127.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
		}}},
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name: "hcm", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(t, hcm)},
		}}}},
	}
}

func routes(name, regex string) *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{Name: name, VirtualHosts: []*routev3.VirtualHost{{
		Name: "v", Domains: []string{"*"}, Routes: []*routev3.Route{{
			Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: regex}}},
			Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 200}},
		}},
	}}}
}

// What --mode validate does not see, a broken route table behind RDS, is found and belongs to its object; and no port is
// opened: the listener's is taken.
func TestEnvoyNamesTheObjectsOfWhatItRefuses(t *testing.T) {
	dir, err := process.CacheDir(os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	path, err := process.Find(dir, "envoy-"+bootstrap.EnvoyVersion, "envoy")
	if err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	web := listener(t, "table", uint32(taken.Addr().(*net.TCPAddr).Port))
	good := &clusterv3.Cluster{Name: "good", ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for regex, bad := range map[string]bool{"/[a-z]+": false, "/[a-": true} {
		src := snapshot.NewStatic()
		snap := src.Update(1, []*snapshot.Resource{encode(t, "web", web), encode(t, "good", good), encode(t, "table", routes("table", regex))})
		refused, err := Envoy(ctx, path, snap)
		if err != nil {
			t.Fatalf("%s: %v", regex, err)
		}
		if len(refused[ref("good")])+len(refused[ref("web")]) > 0 {
			t.Errorf("%s: good objects are blamed: %+v", regex, refused)
		}
		got := refused[ref("table")]
		if bad != (len(got) == 1) || bad && (!strings.Contains(got[0].Message, "missing ]") || got[0].Type != "RouteConfiguration") {
			t.Errorf("%s: refused %+v", regex, got)
		}
	}
}

func TestEnvoyThatCannotRunIsAnError(t *testing.T) {
	snap := snapshot.NewStatic().Update(1, nil)
	if _, err := Envoy(t.Context(), "/bin/false", snap); err == nil || !strings.Contains(err.Error(), "envoy exited") {
		t.Errorf("error %v", err)
	}
}

func TestPageJoinsWhatEverybodySays(t *testing.T) {
	text := &model.Text{File: "a.yaml", Line: 1, Lines: map[string]int{"spec.ports[0]": 7}}
	object := func(name string, issues ...model.FieldIssue) source.Update {
		s := &model.Service{}
		s.Ref, s.Text, s.Issues = ref(name), text, issues
		return source.Update{Ref: s.Ref, Object: s}
	}
	read := files.Contents{
		Updates:  []source.Update{object("issue", model.FieldIssue{Path: "spec.ports[0].x", Message: "no such field", Unknown: true}), object("status"), object("refused")},
		Problems: []source.Problem{{File: "b.yaml", Line: 2, Message: "broken"}},
		Notes:    []source.Problem{{File: "c.yaml", Line: 3, Message: "not mine"}},
	}
	statuses := []*model.ObjectStatus{{Ref: ref("status"), Conditions: []model.Condition{
		{Type: "Accepted", Status: true, Message: "accepted"},
		{Type: "ResolvedRefs", Path: "spec.a", Message: "spec.a: one; spec.ports[0]: two"},
		{Type: "Programmed", Message: "see the other conditions"},
	}}}
	page := Page(read, statuses, map[model.Ref][]report.Rejection{ref("refused"): {{Type: "Cluster", Resource: "c", Message: "no"}}})
	var got []string
	for _, f := range Findings(&page, read.Notes) {
		got = append(got, strings.Join([]string{f.File, string(f.Severity), f.Object.Name, f.Path, f.Message, string(rune('0' + f.Line))}, "|"))
	}
	want := []string{
		"a.yaml|error|refused||Envoy refuses Cluster c: no|1", "a.yaml|error|status|spec.a|one|1", "a.yaml|error|status|spec.ports[0]|two|7",
		"a.yaml|warning|issue|spec.ports[0].x|no such field|7", "b.yaml|error|||broken|2", "c.yaml|note|||not mine|3",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
