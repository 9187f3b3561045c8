package main

import (
	"encoding/json"
	"strings"
	"testing"

	"fairlead.io/fairlead/pkg/admin"
)

func TestConfigTables(t *testing.T) {
	for kind, test := range map[string]struct{ resource, want string }{
		"clusters":  {`{"type":"EDS","lb_policy":"LEAST_REQUEST"}`, "a|EDS|LEAST_REQUEST|ACKED|Service default/a"},
		"endpoints": {`{"endpoints":[{"priority":1,"locality":{"region":"r","zone":"z"},"lb_endpoints":[{"endpoint":{"address":{"socket_address":{"address":"::1","port_value":80}}},"health_status":"DRAINING","load_balancing_weight":5}]}]}`, "a|[::1]:80|DRAINING|5|1|r/z|ACKED"},
		"listeners": {`{"address":{"socket_address":{"address":"0.0.0.0","port_value":80}},"filter_chains":[{},{}],"default_filter_chain":{}}`, "a|0.0.0.0:80|3|ACKED|Service default/a"},
		"routes":    {`{"virtual_hosts":[{"domains":["a","b","c"],"routes":[{"match":{"path_separated_prefix":"/x","headers":[{"name":"h"}]},"route":{"weighted_clusters":{"clusters":[{"name":"v1","weight":9},{"name":"v2","weight":1}]}}}]}]}`, "a|a,b +1|/x[/*], header h|v1:9 v2:1|ACKED"},
		"scopes":    {`{"route_configuration_name":"t","key":{"fragments":[{"string_key":"mesh"},{"string_key":"10.0.0.1:80"}]}}`, "a|mesh 10.0.0.1:80|t|ACKED"},
		"secrets":   {`{"tls_certificate":{"certificate_chain":{"inline_bytes":"bm8="}}}`, "a|certificate|-|-|ACKED"},
		"peers":     {`{"identity":"td/ns/shop/sa/db/0","namespace":"shop","name":"db-0","addresses":["CgAAAQ=="],"entities":5}`, "a|shop/db-0|10.0.0.1|td/ns/shop/sa/db/0|ACKED"},
		"verdicts": {
			`{"rules":[{"direction":"DIRECTION_INGRESS","tier":"TIER_MAIN","action":"ACTION_ALLOW","peers":[{"peerSet":"pods;label:app=web"},{"entities":10},{"range":{"cidr":"10.0.0.0/8"}}],
			"ports":[{"protocol":6,"first":5432,"last":5432},{"protocol":17,"first":1,"last":9},{"protocol":132,"last":65535}],"origin":{"kind":"NetworkPolicy","namespace":"shop","name":"db","rule":"ingress[0]"}}]}`,
			"a|ingress network|allow|pods;label:app=web, world|host, 10.0.0.0/8|tcp/5432, udp/1-9, sctp|NetworkPolicy shop/db ingress[0]|ACKED",
		},
	} {
		s := admin.Served{Name: "a", Acked: true, Origins: []string{"Service default/a"}, Resource: json.RawMessage(test.resource)}
		rows := printers[kind].rows(&s)
		if len(rows) != 1 || strings.Join(rows[0], "|") != test.want || len(rows[0]) != len(printers[kind].head) {
			t.Errorf("%s: %q, want %q", kind, rows, test.want)
		}
		gone := admin.Served{Name: "a", Resource: json.RawMessage("null")}
		if rows := printers[kind].rows(&gone); len(rows) != 1 || len(rows[0]) != len(printers[kind].head) {
			t.Errorf("%s that is gone: %q", kind, rows)
		}
	}
	if len(printers) != len(admin.Kinds) {
		t.Errorf("%d printers for %d kinds", len(printers), len(admin.Kinds))
	}
}
