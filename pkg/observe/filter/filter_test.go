package filter

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"fairlead.io/fairlead/api/observe/flow"
)

// denied is a SYN from a client to a database that a policy of the database's namespace denies.
const denied = `{"verdict":"DROPPED","drop_reason_desc":"POLICY_DENIED","uuid":"u1","node_name":"node-a","node_labels":["zone=a"],
"IP":{"source":"10.1.0.5","destination":"10.2.0.7","ipVersion":"IPv4"},"l4":{"TCP":{"source_port":40000,"destination_port":5432,"flags":{"SYN":true}}},
"source":{"identity":777,"namespace":"web","labels":["k8s:app=client","k8s:team=a"],"pod_name":"client-1","workloads":[{"name":"client","kind":"Deployment"}]},
"destination":{"identity":888,"namespace":"shop","labels":["k8s:app=db"],"pod_name":"db-0"},
"event_type":{"type":1,"sub_type":133},"traffic_direction":"INGRESS","is_reply":false,"interface":{"index":7,"name":"veth1"},
"ingress_denied_by":[{"name":"db","namespace":"shop","kind":"NetworkPolicy"}],"policy_log":["NetworkPolicy shop/db"]}`

// ping is an echo request over IPv6 to the world.
const ping = `{"verdict":"FORWARDED","IP":{"source":"fd00::5","destination":"2001:db8::1","ipVersion":"IPv6"},"l4":{"ICMPv6":{"type":128}},
"source":{"namespace":"web","pod_name":"client-1"},"destination":{"identity":2,"labels":["reserved:world"]}}`

func parse[T proto.Message](t testing.TB, text string, m T) T {
	t.Helper()
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return m
}

func filters(t testing.TB, list ...string) (out []*flow.FlowFilter) {
	for _, s := range list {
		out = append(out, parse(t, s, &flow.FlowFilter{}))
	}
	return out
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		filter       string
		denied, ping bool
	}{
		{`{}`, true, true},
		{`{"uuid":["u1"]}`, true, false},
		{`{"verdict":["DROPPED","AUDIT"]}`, true, false},
		{`{"verdict":["FORWARDED"]}`, false, true},
		{`{"drop_reason_desc":["POLICY_DENIED"]}`, true, false},
		{`{"drop_reason_desc":["AUTH_REQUIRED"]}`, false, false},
		{`{"source_ip":["10.1.0.0/16"]}`, true, false},
		{`{"source_ip":["10.1.0.5","fd00::/8"]}`, true, true},
		{`{"source_ip":["10.1.0.50"]}`, false, false},
		{`{"source_ip":["::ffff:10.1.0.5"]}`, true, false},
		{`{"destination_ip":["2001:db8::1"]}`, false, true},
		{`{"ip_version":["IPv6"]}`, false, true},
		{`{"source_pod":["web/"]}`, true, true},
		{`{"source_pod":["web/cli"]}`, true, true},
		{`{"source_pod":["/client"]}`, true, true},
		{`{"source_pod":["client"]}`, false, false}, // of default
		{`{"source_pod":["we/"]}`, false, false},
		{`{"destination_pod":["shop/db-0"]}`, true, false},
		{`{"destination_pod":["/"]}`, true, false}, // any pod, and the world is none
		{`{"source_label":["app=client,team in (a,b)"]}`, true, false},
		{`{"source_label":["k8s:app=client"]}`, true, false},
		{`{"source_label":["any:app"]}`, true, false},
		{`{"source_label":["other:app=client"]}`, false, false},
		{`{"source_label":["app!=client"]}`, false, true},
		{`{"source_label":["!k8s:app"]}`, false, true},
		{`{"source_label":["app=x","team=a"]}`, true, false},
		{`{"destination_label":["reserved:world"]}`, false, true},
		{`{"node_labels":["zone=a"]}`, true, false},
		{`{"source_workload":[{"name":"client"}]}`, true, false},
		{`{"source_workload":[{"name":"client","kind":"Job"}]}`, false, false},
		{`{"source_identity":[777]}`, true, false},
		{`{"destination_identity":[2,3]}`, false, true},
		{`{"protocol":["TCP"]}`, true, false},
		{`{"protocol":["icmp"]}`, false, true},
		{`{"protocol":["icmpv4","udp","sctp"]}`, false, false},
		{`{"source_port":["40000"]}`, true, false},
		{`{"destination_port":["80","5432"]}`, true, false},
		{`{"destination_port":["40000"]}`, false, false},
		{`{"tcp_flags":[{"SYN":true}]}`, true, false},
		{`{"tcp_flags":[{"SYN":true,"ACK":true}]}`, false, false},
		{`{"tcp_flags":[{"ACK":true},{"SYN":true}]}`, true, false},
		{`{"reply":[false]}`, true, false}, // of the other it is not known
		{`{"reply":[true]}`, false, false},
		{`{"traffic_direction":["INGRESS"]}`, true, false},
		{`{"event_type":[{"type":1}]}`, true, false},
		{`{"event_type":[{"type":1,"match_sub_type":true,"sub_type":130}]}`, false, false},
		{`{"interface":[{"index":7}]}`, true, false},
		{`{"interface":[{"name":"veth2"}]}`, false, false},
		{`{"node_name":["node-*"]}`, true, false},
		{`{"node_name":["default/node-a"]}`, true, false},
		{`{"node_name":["other/node-a"]}`, false, false},
		{`{"node_name":["node"]}`, false, false},
		{`{"verdict":["DROPPED"],"protocol":["udp"]}`, false, false}, // each field
	} {
		for i, text := range []string{denied, ping} {
			want, x := []bool{c.denied, c.ping}[i], parse(t, text, &flow.Flow{})
			f, err := New(filters(t, c.filter), nil)
			if err != nil {
				t.Errorf("%s: %v", c.filter, err)
				break
			}
			if f.Match(x) != want {
				t.Errorf("%s: %v for flow %d", c.filter, !want, i)
			}
			if f, err = New(nil, filters(t, c.filter)); err != nil || f.Match(x) == want {
				t.Errorf("%s as blacklist: %v for flow %d, %v", c.filter, want, i, err)
			}
		}
	}
}

func TestLists(t *testing.T) {
	x := parse(t, denied, &flow.Flow{})
	for _, c := range []struct {
		white, black []string
		want         bool
	}{
		{nil, nil, true},
		{[]string{`{"verdict":["FORWARDED"]}`, `{"protocol":["tcp"]}`}, nil, true},
		{[]string{`{"protocol":["tcp"]}`}, []string{`{"destination_port":["5432"]}`}, false},
		{nil, []string{`{"protocol":["udp"]}`, `{"verdict":["DROPPED"]}`}, false},
	} {
		f, err := New(filters(t, c.white...), filters(t, c.black...))
		if err != nil || f.Match(x) != c.want {
			t.Errorf("%v without %v: not %v (%v)", c.white, c.black, c.want, err)
		}
	}
}

// TestRefused has what cannot be kept refused by its name.
func TestRefused(t *testing.T) {
	for text, want := range map[string]string{
		`{"http_method":["GET"]}`:                       "http_method",
		`{"dns_query":["x"]}`:                           "dns_query",
		`{"source_fqdn":["x"]}`:                         "source_fqdn",
		`{"experimental":{"cel_expression":["true"]}}`:  "experimental",
		`{"source_ip":["10.0.0"]}`:                      "10.0.0",
		`{"source_ip":["10.0.0.0/33"]}`:                 "10.0.0.0/33",
		`{"source_ip":["fe80::1%eth0"]}`:                "eth0",
		`{"source_pod":[""]}`:                           "names no pod",
		`{"source_pod":["a/b/c"]}`:                      "names no pod",
		`{"source_label":["a in"]}`:                     "label selector",
		`{"source_label":[""]}`:                         "empty",
		`{"source_label":["a=b,,c=d"]}`:                 "commas",
		`{"protocol":["quic"]}`:                         "none of tcp",
		`{"destination_port":["http"]}`:                 "no number",
		`{"destination_port":["65536"]}`:                "no number",
		`{"node_name":["a/b/c"]}`:                       "pattern",
		`{"source_cluster_name":["a"],"reply":[false]}`: "source_cluster_name",
	} {
		if _, err := New(filters(t, text), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	if _, err := New(make([]*flow.FlowFilter, limit), filters(t, `{}`)); err == nil {
		t.Error("too many filters are taken")
	}
	unknown := &flow.FlowFilter{}
	if err := proto.Unmarshal([]byte{0xfa, 0x3f, 0x01, 'x'}, unknown); err != nil {
		t.Fatal(err)
	}
	if _, err := New([]*flow.FlowFilter{unknown}, nil); err == nil {
		t.Error("a field that is not known is passed over")
	}
}

func TestScope(t *testing.T) {
	for name, c := range map[string]struct {
		scope       Scope
		flow        string
		seen        bool
		has, hasNot string
	}{
		"nothing":                    {Scope{}, denied, false, "", ""},
		"all":                        {Scope{All: true}, denied, true, "client-1 db-0 app=db NetworkPolicy", ""},
		"both":                       {Scope{Namespaces: []string{"shop", "web"}}, denied, true, "client-1 db-0 app=db NetworkPolicy", ""},
		"another":                    {Scope{Namespaces: []string{"bank"}}, denied, false, "", ""},
		"the source's":               {Scope{Namespaces: []string{"web"}}, denied, true, "client-1 app=client POLICY_DENIED 10.2.0.7 5432 shop", "db-0 app=db 888 NetworkPolicy"},
		"the destination's":          {Scope{Namespaces: []string{"shop"}}, denied, true, "db-0 app=db NetworkPolicy 10.1.0.5 web", "client-1 app=client 777 Deployment"},
		"with the world":             {Scope{Namespaces: []string{"web"}}, ping, true, "client-1 reserved:world", ""},
		"the world is of nobody":     {Scope{Namespaces: []string{""}}, strings.ReplaceAll(ping, `"namespace":"web",`, ""), false, "", ""},
		"a policy of the cluster":    {Scope{Namespaces: []string{"web"}}, strings.ReplaceAll(denied, `"db","namespace":"shop","kind":"NetworkPolicy"`, `"guard"`), true, "guard", "db-0"},
		"a policy of the other side": {Scope{Namespaces: []string{"web"}}, strings.ReplaceAll(ping, `"verdict"`, `"egress_denied_by":[{"name":"no","namespace":"bank"}],"verdict"`), true, "client-1 reserved:world", "bank"},
	} {
		t.Run(name, func(t *testing.T) {
			f := parse(t, c.flow, &flow.Flow{})
			got := c.scope.Show(f)
			if (got != nil) != c.seen {
				t.Fatalf("seen: %v", got)
			}
			text := protojson.Format(got)
			for _, w := range strings.Fields(c.has) {
				if !strings.Contains(text, w) {
					t.Errorf("without %s: %s", w, text)
				}
			}
			for _, w := range strings.Fields(c.hasNot) {
				if strings.Contains(text, w) {
					t.Errorf("with %s: %s", w, text)
				}
			}
			if !proto.Equal(f, parse(t, c.flow, &flow.Flow{})) {
				t.Error("the flow itself was changed, which others see")
			}
		})
	}
}

func TestNamespaces(t *testing.T) {
	for _, c := range []struct {
		filters []string
		want    string
		ok      bool
	}{
		{nil, "", false},
		{[]string{`{}`}, "", false},
		{[]string{`{"source_pod":["shop/"]}`, `{"destination_pod":["shop/db","bank/"]}`}, "bank shop", true},
		{[]string{`{"source_pod":["shop/"]}`, `{"verdict":["DROPPED"]}`}, "", false},
		{[]string{`{"source_pod":["/web"],"destination_pod":["shop/"]}`}, "shop", true},
		{[]string{`{"source_pod":["shop/","/web"]}`}, "", false},
		{[]string{`{"source_pod":["web"]}`}, "default", true},
	} {
		got, ok := Namespaces(filters(t, c.filters...))
		if strings.Join(got, " ") != c.want && ok || ok != c.ok {
			t.Errorf("%v: %v, %v", c.filters, got, ok)
		}
	}
}

// FuzzSelector takes any text as a selector, and any as labels.
func FuzzSelector(f *testing.F) {
	for _, s := range []string{"app=web", "k8s:app in (a,b),!x", "any:a==b", "a notin (b", "reserved:world", "a:b:c=d", " ! x ", "x>5", ",", "(,)"} {
		f.Add(s, "k8s:app=web")
	}
	f.Fuzz(func(_ *testing.T, text, label string) {
		if s, err := ParseSelector(text); err == nil {
			s.Match([]string{label, label + "=x"})
		}
	})
}

// FuzzFilter takes any bytes as a request of a stranger.
func FuzzFilter(f *testing.F) {
	for _, s := range []string{denied, ping} {
		b, err := proto.Marshal(parse(f, s, &flow.Flow{}))
		if err != nil {
			f.Fatal(err)
		}
		for _, w := range []string{`{"source_ip":["10.0.0.0/8"],"node_name":["a*"]}`, `{"tcp_flags":[{"SYN":true}],"source_label":["a in (b,c)"]}`, `{"source_pod":["a/b"]}`} {
			c, err := proto.Marshal(filters(f, w)[0])
			if err != nil {
				f.Fatal(err)
			}
			f.Add(c, b)
		}
	}
	f.Fuzz(func(t *testing.T, filter, bytes []byte) {
		w, x := &flow.FlowFilter{}, &flow.Flow{}
		if proto.Unmarshal(filter, w) != nil || proto.Unmarshal(bytes, x) != nil {
			return
		}
		white, err := New([]*flow.FlowFilter{w}, nil)
		if err != nil {
			return
		}
		black, err := New(nil, []*flow.FlowFilter{w})
		if err != nil || white.Match(x) == black.Match(x) {
			t.Errorf("%v is met and not met by %v (%v)", w, x, err)
		}
		Namespaces([]*flow.FlowFilter{w})
	})
}
