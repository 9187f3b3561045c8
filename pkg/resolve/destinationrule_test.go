package resolve_test

import (
	"strings"
	"testing"
	"time"

	"fairlead.io/fairlead/pkg/model"
)

// rule is a DestinationRule of the namespace prod.
func rule(name, spec string) string { return ruleIn("prod", name, spec) }

func ruleIn(namespace, name, spec string) string {
	return "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: " + name + ", namespace: " + namespace + "}\nspec: " + spec
}

func maxConnections(c *model.Cluster) uint32 {
	if c.Policy.Pool.MaxConnections == nil {
		return 0
	}
	return *c.Policy.Pool.MaxConnections
}

func limit(n string) string {
	return "trafficPolicy: {connectionPool: {tcp: {maxConnections: " + n + "}}}"
}

func TestWhichRuleShapesAHost(t *testing.T) {
	const elsewhere = "fairlead-system"
	for name, c := range map[string]struct {
		rules []string
		want  uint32
	}{
		"short name":           {[]string{rule("r", "{host: reviews, "+limit("1")+"}")}, 1},
		"name and namespace":   {[]string{rule("r", "{host: reviews.prod, "+limit("1")+"}")}, 1},
		"full name":            {[]string{rule("r", "{host: reviews.prod.svc.cluster.local, "+limit("1")+"}")}, 1},
		"wildcard":             {[]string{rule("r", "{host: '*.prod.svc.cluster.local', "+limit("1")+"}")}, 1},
		"all":                  {[]string{rule("r", "{host: '*', "+limit("1")+"}")}, 1},
		"most specific":        {[]string{rule("a", "{host: '*.cluster.local', "+limit("1")+"}"), rule("b", "{host: reviews, "+limit("2")+"}")}, 2},
		"root namespace":       {[]string{ruleIn(elsewhere, "r", "{host: '*.local', "+limit("1")+"}")}, 1},
		"own before root":      {[]string{ruleIn(elsewhere, "r", "{host: reviews.prod, "+limit("1")+"}"), rule("w", "{host: '*', "+limit("2")+"}")}, 2},
		"root, private":        {[]string{ruleIn(elsewhere, "r", "{host: '*.local', exportTo: ['.'], "+limit("1")+"}")}, 0},
		"client's namespace":   {[]string{ruleIn("client", "r", "{host: reviews.prod.svc.cluster.local, "+limit("1")+"}")}, 0},
		"older wins":           {[]string{rule("z", "{host: reviews, "+limit("1")+"}"), rule("a", "{host: reviews, "+limit("2")+"}")}, 1},
		"for nobody":           {[]string{rule("r", "{host: reviews, exportTo: ['~'], "+limit("1")+"}")}, 0},
		"for some clients":     {[]string{rule("r", "{host: reviews, workloadSelector: {matchLabels: {a: b}}, "+limit("1")+"}")}, 0},
		"port instead of host": {[]string{rule("r", "{host: reviews, trafficPolicy: {connectionPool: {tcp: {maxConnections: 1}}, portLevelSettings: [{port: {number: 80}}]}}")}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDestinations(t, append([]string{reviews}, c.rules...)...)
			if got := maxConnections(d.cluster(reviewsHTTP)); got != c.want {
				t.Errorf("maxConnections %d, want %d", got, c.want)
			}
		})
	}
}

func TestSubsetsInherit(t *testing.T) {
	d := newDestinations(t, reviews, rule("r", `{host: reviews,
	  trafficPolicy: {loadBalancer: {simple: RANDOM}, connectionPool: {tcp: {maxConnections: 1}}, portLevelSettings: [{port: {number: 81}, loadBalancer: {simple: ROUND_ROBIN}}]},
	  subsets: [{name: a}, {name: b, trafficPolicy: {connectionPool: {tcp: {maxConnections: 2}}}},
	            {name: c, trafficPolicy: {portLevelSettings: [{port: {number: 80}, connectionPool: {tcp: {maxConnections: 3}}}]}}]}`))
	base := strings.TrimSuffix(reviewsHTTP, "80")
	for name, want := range map[string]struct {
		lb  model.LBKind
		max uint32
	}{
		"80": {model.LBRandom, 1}, "80/a": {model.LBRandom, 1}, "80/b": {model.LBRandom, 2}, "80/c": {"", 3},
		"81": {model.LBRoundRobin, 0}, "81/a": {model.LBRoundRobin, 0}, "81/b": {model.LBRoundRobin, 2}, "81/c": {model.LBRoundRobin, 0},
		"82/c": {model.LBRandom, 1},
	} {
		c := d.cluster(base + name)
		if c.Policy.LB.Kind != want.lb || maxConnections(c) != want.max {
			t.Errorf("%s: %q %d, want %q %d", name, c.Policy.LB.Kind, maxConnections(c), want.lb, want.max)
		}
	}
	d.accepted(d.rules, "prod/r@istio")
}

func TestRulesForOneHostAreMerged(t *testing.T) {
	d := newDestinations(t, reviews,
		rule("first", "{host: reviews, "+limit("1")+", subsets: [{name: a}]}"),
		rule("second", "{host: reviews.prod.svc.cluster.local, "+limit("2")+", subsets: [{name: a}, {name: b}]}"))
	if got := maxConnections(d.cluster(reviewsHTTP + "/b")); got != 1 {
		t.Errorf("the subset of the second rule has the first one's policy: %d", got)
	}
	if c := d.cluster(reviewsHTTP); len(c.Origins) != 3 {
		t.Errorf("origins: %v", c.Origins)
	}
	d.accepted(d.rules, "prod/first@istio")
	d.said(d.rules, "prod/second@istio", "spec.trafficPolicy", "DestinationRule prod/first")
	d.said(d.rules, "prod/second@istio", "spec.subsets[0]", "DestinationRule prod/first")
}

// TestSecurityFailsClosed: what a rule asks for and cannot have makes a cluster to which nothing is sent.
func TestSecurityFailsClosed(t *testing.T) {
	wild := `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wild, namespace: prod}
spec: {hosts: ["*.wild.test"], ports: [{number: 443, name: tls}]}
`
	for name, c := range map[string]struct{ spec, path, text string }{
		"the mesh's own":       {"{host: reviews, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}", "spec.trafficPolicy.tls.mode", "ISTIO_MUTUAL"},
		"unknown mode":         {"{host: reviews, trafficPolicy: {tls: {mode: STRICT}}}", "spec.trafficPolicy.tls.mode", "STRICT"},
		"no such Secret":       {"{host: reviews, trafficPolicy: {tls: {mode: SIMPLE, credentialName: gone}}}", "spec.trafficPolicy.tls.credentialName", "prod/gone"},
		"Secret of another":    {"{host: reviews, trafficPolicy: {tls: {mode: SIMPLE, credentialName: other/ca}}}", "spec.trafficPolicy.tls.credentialName", "another namespace"},
		"no key pair":          {"{host: reviews, trafficPolicy: {tls: {mode: MUTUAL, credentialName: broken}}}", "spec.trafficPolicy.tls.credentialName", "cannot be used"},
		"bad bundle":           {"{host: reviews, trafficPolicy: {tls: {mode: SIMPLE, credentialName: broken}}}", "spec.trafficPolicy.tls.credentialName", "cannot be used"},
		"mutual without":       {"{host: reviews, trafficPolicy: {tls: {mode: MUTUAL}}}", "spec.trafficPolicy.tls.mode", "needs credentialName"},
		"files and Secret":     {"{host: reviews, trafficPolicy: {tls: {mode: SIMPLE, credentialName: ca, caCertificates: /x}}}", "spec.trafficPolicy.tls.credentialName", "excludes"},
		"wildcard server name": {"{host: reviews, trafficPolicy: {tls: {mode: SIMPLE, sni: '*.x.test'}}}", "spec.trafficPolicy.tls.sni", "wildcard"},
		"tunnel":               {"{host: reviews, trafficPolicy: {tunnel: {targetHost: x, targetPort: 1}}}", "spec.trafficPolicy.tunnel", "not supported"},
		"PROXY version":        {"{host: reviews, trafficPolicy: {proxyProtocol: {version: V3}}}", "spec.trafficPolicy.proxyProtocol.version", "V1 and V2"},
		"no name to verify":    {"{host: '*.wild.test', trafficPolicy: {tls: {mode: SIMPLE}}}", "spec.trafficPolicy.tls", "tls.sni"},
		"for some clients":     {"{host: reviews, workloadSelector: {matchLabels: {a: b}}, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}", "spec.workloadSelector", "plaintext"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDestinations(t, fieldWorld, wild, rule("it", c.spec), `
apiVersion: v1
kind: Secret
metadata: {name: broken, namespace: prod}
stringData: {tls.crt: bad, tls.key: bad, ca.crt: bad}
`)
			cluster := reviewsHTTP
			if strings.Contains(c.spec, "wild") {
				cluster = "svc/prod/*.wild.test/443"
			}
			if got := d.cluster(cluster); got.Policy.Refused == "" {
				t.Errorf("the cluster sends: %+v", got.Policy)
			}
			if got := d.said(d.rules, "prod/it@istio", c.path, c.text); got.Status || got.Warning {
				t.Errorf("condition: %+v", got)
			}
		})
	}
}

func TestCredentialAppearsAndGoes(t *testing.T) {
	d := newDestinations(t, reviews, rule("it", "{host: reviews, trafficPolicy: {tls: {mode: SIMPLE, credentialName: ca}}}"))
	if d.cluster(reviewsHTTP).Policy.Refused == "" {
		t.Fatal("nothing may be sent without the CA")
	}
	d.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ca, namespace: prod}\ndata:\n  ca.crt: |\n" + indented(testCA))
	c := d.cluster(reviewsHTTP)
	if c.Policy.Refused != "" || c.Policy.TLS.ValidationName != "ca/ConfigMap/prod/ca" {
		t.Errorf("with the CA: %+v", c.Policy)
	}
	d.accepted(d.rules, "prod/it@istio")
	d.remove(model.Ref{Kind: "ConfigMap", Namespace: "prod", Name: "ca"})
	if d.cluster(reviewsHTTP).Policy.Refused == "" {
		t.Error("nothing may be sent after the CA is gone")
	}
}

func TestServerNames(t *testing.T) {
	se := `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: x, namespace: prod}
spec: {hosts: [x.test], resolution: DNS, subjectAltNames: [entry.test], ports: [{number: 80, name: http}, {number: 443, name: tls}]}
`
	d := newDestinations(t, se, rule("it", "{host: x.test, trafficPolicy: {tls: {mode: SIMPLE}}}"))
	web, tcp := d.cluster("svc/prod/x.test/80").Policy.TLS, d.cluster("svc/prod/x.test/443").Policy.TLS
	if web.SNI != "" || tcp.SNI != "x.test" || web.SubjectAltNames[0] != "entry.test" {
		t.Errorf("http %+v, tls %+v", web, tcp)
	}
	d = newDestinations(t, se, rule("it", "{host: x.test, trafficPolicy: {tls: {mode: SIMPLE, sni: y.test, subjectAltNames: [rule.test]}}}"))
	if web = d.cluster("svc/prod/x.test/80").Policy.TLS; web.SNI != "y.test" || len(web.SubjectAltNames) != 1 || web.SubjectAltNames[0] != "rule.test" {
		t.Errorf("the rule's names: %+v", web)
	}
}

func TestRuleMistakesAreNamed(t *testing.T) {
	for _, c := range []struct{ spec, path, text string }{
		{"{host: nowhere}", "spec.host", "there is no Service"},
		{"{host: '*foo.test'}", "spec.host", "whole label"},
		{"{host: ratings.other.svc.cluster.local}", "spec.host", "in other namespaces"},
		{"{host: reviews, trafficPolicy: {connectionPool: {tcp: {connectTimeout: 10x}}}}", "spec.trafficPolicy.connectionPool.tcp.connectTimeout", "10x"},
		{"{host: reviews, trafficPolicy: {connectionPool: {tcp: {connectTimeout: 0s}}}}", "spec.trafficPolicy.connectionPool.tcp.connectTimeout", "at least 1ms"},
		{"{host: reviews, trafficPolicy: {connectionPool: {tcp: {maxConnections: -1}}}}", "spec.trafficPolicy.connectionPool.tcp.maxConnections", "negative"},
		{"{host: reviews, trafficPolicy: {loadBalancer: {simple: BEST}}}", "spec.trafficPolicy.loadBalancer.simple", "BEST"},
		{"{host: reviews, trafficPolicy: {loadBalancer: {consistentHash: {}}}}", "spec.trafficPolicy.loadBalancer.consistentHash", "exactly one"},
		{"{host: reviews, trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 100}}}}}", "spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize", "prime"},
		{"{host: reviews, trafficPolicy: {loadBalancer: {simple: RANDOM, warmup: {duration: 1s}}}}", "spec.trafficPolicy.loadBalancer.warmup", "no effect"},
		{"{host: reviews, trafficPolicy: {loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {b: 90}}]}}}}", "spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0]", "sum to 100"},
		{"{host: reviews, trafficPolicy: {loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}]}}}}", "spec.trafficPolicy.loadBalancer.localityLbSetting", "outlierDetection"},
		{"{host: reviews, trafficPolicy: {outlierDetection: {maxEjectionPercent: 101}}}", "spec.trafficPolicy.outlierDetection.maxEjectionPercent", "0 to 100"},
		{"{host: reviews, subsets: [{name: a}, {name: a}]}", "spec.subsets[1].name", "already defined"},
		{"{host: reviews, subsets: [{name: a/b}]}", "spec.subsets[0].name", "slash"},
		{"{host: reviews, subsets: [{name: a, trafficPolicy: {portLevelSettings: [{}]}}]}", "spec.subsets[0].trafficPolicy.portLevelSettings[0].port.number", "needed"},
	} {
		d := newDestinations(t, reviews, strings.ReplaceAll(reviews, "name: reviews, namespace: prod", "name: ratings, namespace: other"), rule("it", c.spec))
		d.said(d.rules, "prod/it@istio", c.path, c.text)
		if got := d.cluster(reviewsHTTP).Policy.Refused; got != "" {
			t.Errorf("%s: a mistake that is not about security stops traffic: %s", c.spec, got)
		}
	}
}

func TestSessionAffinityIsKept(t *testing.T) {
	d := newDestinations(t, strings.Replace(reviews, "selector:", "sessionAffinity: ClientIP\n  selector:", 1))
	if lb := d.cluster(reviewsHTTP).Policy.LB; lb.Hash == nil || !lb.Hash.SourceIP {
		t.Errorf("balancer: %+v", lb)
	}
	d.apply(rule("r", "{host: reviews, trafficPolicy: {connectionPool: {tcp: {connectTimeout: 3s}}}}"))
	c := d.cluster(reviewsHTTP)
	if c.Policy.LB.Hash == nil || *c.Policy.Pool.ConnectTimeout != 3*time.Second {
		t.Errorf("with a rule that chooses no balancer: %+v", c.Policy)
	}
	d.apply(rule("r", "{host: reviews, trafficPolicy: {loadBalancer: {simple: RANDOM}}}"))
	if lb := d.cluster(reviewsHTTP).Policy.LB; lb.Hash != nil || lb.Kind != model.LBRandom {
		t.Errorf("with a rule that chooses one: %+v", lb)
	}
}
