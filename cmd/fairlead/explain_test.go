package main

import (
	"encoding/json"
	"strings"
	"testing"

	"fairlead.io/fairlead/pkg/explain"
)

// TestExplain asks about the pods, the node and the policies of testdata/explain.yaml.
func TestExplain(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--from pod/web/client-1 --to pod/shop/db-0:5432", `
DENIED: pod/web/client-1 (10.1.0.5) -> pod/shop/db-0 (10.2.0.7) tcp/5432

egress of pod/web/client-1:
  network: allowed: no policy is against it
  mesh: allowed: no policy is against it

ingress of pod/shop/db-0:
  network: denied: isolated by NetworkPolicy shop/all, NetworkPolicy shop/db, and no rule allows it
`},
		{"--from pod/web/client-1 --to pod/shop/db-0:9187", "ALLOWED: pod/web/client-1 (10.1.0.5) -> pod/shop/db-0 (10.2.0.7) tcp/9187"},
		{"--from pod/web/client-1 --to pod/shop/db-0:9187", "\n  network: allowed: NetworkPolicy shop/db ingress[1] (allow, main)\n"},
		{"--from pod/web/client-1 --to pod/shop/db-0:9187 --protocol udp", "DENIED: "},
		{"--from pod/web/client-1 --to pod/shop/db-0:5432", "\n    does not match: NetworkPolicy shop/db ingress[0] (allow, main)\n"},
		{"--from pod/web/client-1 --to 10.2.0.7:9187", "ALLOWED: pod/web/client-1 (10.1.0.5) -> pod/shop/db-0 (10.2.0.7) tcp/9187"},
		{"--from node/node-a --to pod/shop/db-0:1", "ALLOWED: node/node-a (10.0.0.1)"}, // its own node
		{"--from 8.8.8.8 --to pod/shop/db-0:9187", "DENIED: 8.8.8.8 -> pod/shop/db-0"},
		{"--from pod/shop/db-0 --to 8.8.8.8 --protocol icmp", "ALLOWED: pod/shop/db-0 (10.2.0.7) -> 8.8.8.8 icmp type 8 code 0"},
		{"--from pod/shop/db-0 --to pod/shop/db-0:1", "note: an end that speaks to itself is not judged"},
		{"--from 8.8.8.8 --to 9.9.9.9:53", "neither end is a pod or a node that policies select"},
		{"--from pod/web/nobody --to 9.9.9.9:53", "error: from: there is no pod/web/nobody"},
		{"--from pod/web/client-1 --to [fd00::1]:53", "error: the ends have no addresses of one IP family"},
		{"--from pod/web/client-1 --to pod/shop/db-0", `error: to: "pod/shop/db-0" has no port; write pod/shop/db-0:PORT`},
		{"--from client-1 --to pod/shop/db-0:1", `error: from: "client-1" is none of pod/NAMESPACE/NAME`},
		{"--from pod/web/client-1 --to pod/shop/db-0:99999", "error: to: port"},
		{"--from pod/web/client-1 --to pod/shop/db-0:1 --protocol quic", "error: protocol"},
	} {
		_, out, errs := fairlead(t, "", append([]string{"explain", "-f", "testdata/explain.yaml"}, strings.Fields(c.args)...)...)
		if !strings.Contains("\n"+out+errs, c.want) {
			t.Errorf("explain %s:\n%s%s\nwithout:%s", c.args, out, errs, c.want)
		}
	}
	_, out, errs := fairlead(t, "", "explain", "-f", "testdata/explain.yaml", "--from", "pod/web/client-1", "--to", "pod/shop/db-0:5432", "-o", "json")
	var a explain.Answer
	if err := json.Unmarshal([]byte(out), &a); err != nil || a.Verdict != "DENIED" || len(a.Sides) != 2 || a.Sides[1].Families[0].Because != "isolation" || len(a.Sides[1].Families[0].By) != 2 {
		t.Errorf("%v: %s%s", err, out, errs)
	}
}
