package policy

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	policyv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	ciliumv2 "fairlead.io/fairlead/api/cilium/v2"
	"fairlead.io/fairlead/api/v1alpha1"
)

// TestFieldsAreHonouredOrRefused lists every field of the kinds: a field that a new version of an API brings is in no list, and
// fails here. A field that is refused has a case in testdata whose author is told of it by its name.
func TestFieldsAreHonouredOrRefused(t *testing.T) {
	peers := func(section, way string) string {
		return prefixed(section, way+"Endpoints", way+"CIDR", way+"CIDRSet.cidr", way+"CIDRSet.except", way+"Entities")
	}
	notPeers := func(section, way string) string {
		return prefixed(section, way+"Requires", way+"CIDRSet.cidrGroupRef", way+"CIDRSet.cidrGroupSelector", way+"Nodes",
			way+"Groups.aws.labels", way+"Groups.aws.securityGroupsIds", way+"Groups.aws.securityGroupsNames", way+"Groups.aws.region")
	}
	ports := func(section string) string {
		return prefixed(section, "toPorts.ports.port", "toPorts.ports.endPort", "toPorts.ports.protocol", "icmps.fields.family", "icmps.fields.type")
	}
	proxied := func(section string) string {
		return prefixed(section, "toPorts.terminatingTLS.secret.namespace", "toPorts.terminatingTLS.secret.name", "toPorts.terminatingTLS.trustedCA",
			"toPorts.terminatingTLS.certificate", "toPorts.terminatingTLS.privateKey", "toPorts.originatingTLS.secret.namespace",
			"toPorts.originatingTLS.secret.name", "toPorts.originatingTLS.trustedCA", "toPorts.originatingTLS.certificate",
			"toPorts.originatingTLS.privateKey", "toPorts.serverNames", "toPorts.listener.envoyConfig.kind", "toPorts.listener.envoyConfig.name",
			"toPorts.listener.name", "toPorts.listener.priority", "toPorts.rules.http.path", "toPorts.rules.http.method", "toPorts.rules.http.host",
			"toPorts.rules.http.headers", "toPorts.rules.http.headerMatches.mismatch", "toPorts.rules.http.headerMatches.name",
			"toPorts.rules.http.headerMatches.secret.namespace", "toPorts.rules.http.headerMatches.secret.name",
			"toPorts.rules.http.headerMatches.value", "toPorts.rules.kafka.role", "toPorts.rules.kafka.apiKey", "toPorts.rules.kafka.apiVersion",
			"toPorts.rules.kafka.clientID", "toPorts.rules.kafka.topic", "toPorts.rules.dns.matchName", "toPorts.rules.dns.matchPattern",
			"toPorts.rules.l7proto", "toPorts.rules.l7", "authentication.mode")
	}
	services := func(section string) string {
		return prefixed(section, "toServices.k8sService.serviceName", "toServices.k8sService.namespace",
			"toServices.k8sServiceSelector.selector", "toServices.k8sServiceSelector.namespace")
	}
	for _, c := range []struct {
		spec              any
		honoured, refused string
	}{
		{
			policyv1alpha2.ClusterNetworkPolicySpec{}, `tier priority subject.namespaces subject.pods.namespaceSelector subject.pods.podSelector
			ingress.name ingress.action ingress.from.namespaces ingress.from.pods.namespaceSelector ingress.from.pods.podSelector
			egress.name egress.action egress.to.namespaces egress.to.pods.namespaceSelector egress.to.pods.podSelector
			egress.to.nodes egress.to.networks ` + protocolFields("ingress.") + protocolFields("egress."), `egress.to.domainNames`,
		},
		{
			ciliumv2.Rule{},
			`endpointSelector enableDefaultDeny.ingress enableDefaultDeny.egress labels.key labels.value labels.source description ` +
				peers("ingress", "from") + peers("ingressDeny", "from") + peers("egress", "to") + peers("egressDeny", "to") +
				ports("ingress") + ports("ingressDeny") + ports("egress") + ports("egressDeny") + services("egress") + services("egressDeny"),
			`nodeSelector log.value egress.toFQDNs.matchName egress.toFQDNs.matchPattern ` + notPeers("ingress", "from") + notPeers("ingressDeny", "from") +
				notPeers("egress", "to") + notPeers("egressDeny", "to") + proxied("ingress") + proxied("egress"),
		},
		{
			v1alpha1.AuthorizationPolicySpec{},
			`selector.matchLabels action rules.from.source.principals rules.from.source.notPrincipals
			rules.from.source.namespaces rules.from.source.notNamespaces rules.from.source.serviceAccounts rules.from.source.notServiceAccounts
			rules.from.source.trustDomains rules.from.source.notTrustDomains rules.from.source.ipBlocks rules.from.source.notIpBlocks
			rules.to.operation.ports rules.to.operation.notPorts rules.when.key rules.when.values rules.when.notValues`,
			`targetRef.group targetRef.kind targetRef.name targetRef.namespace targetRefs.group targetRefs.kind targetRefs.name targetRefs.namespace
			provider.name rules.from.source.requestPrincipals rules.from.source.notRequestPrincipals
			rules.from.source.remoteIpBlocks rules.from.source.notRemoteIpBlocks rules.to.operation.hosts rules.to.operation.notHosts
			rules.to.operation.methods rules.to.operation.notMethods rules.to.operation.paths rules.to.operation.notPaths`,
		},
	} {
		var got []string
		leaves(reflect.TypeOf(c.spec), "", &got)
		want := append(strings.Fields(c.honoured), strings.Fields(c.refused)...)
		for _, f := range got {
			if !slices.Contains(want, f) {
				t.Errorf("%T: field %s is neither honoured nor refused", c.spec, f)
			}
		}
		for _, f := range want {
			if !slices.Contains(got, f) {
				t.Errorf("%T: field %s is listed and does not exist", c.spec, f)
			}
		}
		told := toldPaths(t)
		for _, f := range strings.Fields(c.refused) {
			// Deny sections share their peers with the others.
			if f = strings.Replace(f, "Deny.", ".", 1); !slices.ContainsFunc(told, func(path string) bool { return toldOf(path, f) }) {
				t.Errorf("%T: nobody is told that %s is refused", c.spec, f)
			}
		}
	}
}

// toldOf tells whether a note's path names a field, or the object that it is a part of.
func toldOf(path, field string) bool {
	_, path, _ = strings.Cut(path, ".")
	for field != "" {
		if path == field {
			return true
		}
		cut := strings.LastIndex(field, ".")
		if cut < 0 || !strings.Contains(field[:cut], ".") && field[:cut] != "targetRef" && field[:cut] != "targetRefs" && field[:cut] != "provider" {
			return false
		}
		field = field[:cut]
	}
	return false
}

// toldPaths are the paths of all notes in testdata, without indexes.
func toldPaths(t *testing.T) (out []string) {
	t.Helper()
	index := regexp.MustCompile(`\[\d+\]`)
	files, err := filepath.Glob("testdata/*/*.out")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(text), "\n") {
			parts := strings.SplitN(strings.TrimSpace(line), ": ", 3)
			if len(parts) < 3 || !strings.HasPrefix(parts[0], "refused ") && !strings.HasPrefix(parts[0], "warning ") {
				continue
			}
			path := index.ReplaceAllString(parts[1], "")
			out = append(out, path)
		}
	}
	return out
}

func prefixed(section string, fields ...string) string {
	out := ""
	for _, f := range fields {
		out += section + "." + f + " "
	}
	return out
}

func protocolFields(section string) string {
	out := section + "protocols.destinationNamedPort "
	for _, p := range []string{"tcp", "udp", "sctp"} {
		out += prefixed(section+"protocols."+p+".destinationPort", "number", "range.start", "range.end")
	}
	return out
}

// leaves lists the fields of a type that hold values, by their JSON path. Lists stand for their elements; label selectors and types
// of other packages count as one value.
func leaves(t reflect.Type, path string, out *[]string) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	ours := strings.Contains(t.PkgPath(), "network-policy-api") || t.PkgPath() == "k8s.io/api/networking/v1" ||
		strings.HasPrefix(t.PkgPath(), "fairlead.io/fairlead/api")
	if t == reflect.TypeFor[metav1.LabelSelector]() || t.Kind() != reflect.Struct || !ours {
		*out = append(*out, path)
		return
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		next := path
		if name != "" {
			next = strings.TrimPrefix(path+"."+name, ".")
		}
		leaves(f.Type, next, out)
	}
}
