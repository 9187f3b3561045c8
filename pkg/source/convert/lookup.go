package convert

import (
	"fmt"
	"slices"
	"strings"

	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	kfield "k8s.io/apimachinery/pkg/util/validation/field"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/source"
)

// lookup finds the kind of a manifest. What is not read is a note when it is none of our business (a Deployment in a
// folder of manifests) and a Problem when somebody counts on it.
func (f *file) lookup(raw map[string]any, text *model.Text) (k *Kind, version string, ok bool) {
	apiVersion, _ := raw["apiVersion"].(string)
	kind, _ := raw["kind"].(string)
	if apiVersion == "" || kind == "" {
		f.problem(text.Line, model.Ref{Kind: kind}, "a manifest needs apiVersion and kind; %s is missing or is no text", missing(apiVersion))
		return nil, "", false
	}
	group, version, _ := cutLast(apiVersion)
	for i := range f.kinds {
		if k = &f.kinds[i]; k.Group == group && k.Kind == kind {
			if !slices.Contains(k.Versions, version) {
				f.problem(text.LineOf("apiVersion"), refOf(group, kind, raw), "%s is read in %s, not in version %q", kind, versions(k), version)
				return nil, "", false
			}
			return k, version, true
		}
	}
	ref := refOf(group, kind, raw)
	if msg := f.unread(group, kind); msg != "" {
		f.problem(text.LineOf("kind"), ref, "%s", msg)
	} else {
		f.Notes = append(f.Notes, source.Problem{File: f.name, Line: text.Line, Ref: ref, Message: kind + " of " + apiVersion + " is not read by Fairlead"})
	}
	return nil, "", false
}

func missing(apiVersion string) string {
	if apiVersion == "" {
		return "apiVersion"
	}
	return "kind"
}

func versions(k *Kind) string {
	var out []string
	for _, v := range k.Versions {
		out = append(out, strings.TrimPrefix(k.Group+"/"+v, "/"))
	}
	return strings.Join(out, ", ")
}

// unread explains why a kind that is not read matters, or gives "".
func (f *file) unread(group, kind string) string {
	name := strings.TrimSuffix(kind+"."+group, ".")
	switch group {
	case GroupIstioSecurity, GroupCilium, GroupNetworkPolicy:
		return name + " is not supported: nothing enforces it"
	}
	ours := group == GroupFairlead || group == GroupIstio || group == GroupGateway
	if group == "" && slices.Contains(idleCore(), kind) {
		return ""
	}
	if ours || group == "" {
		if slices.Contains(known(group), kind) {
			return name + " is not supported: it has no effect"
		}
		msg := "there is no kind " + name
		if near := model.Nearest(kind, f.names(group), 4); near != "" {
			msg += fmt.Sprintf("; do you mean %s?", near)
		}
		return msg
	}
	for _, g := range []string{GroupFairlead, GroupIstio, GroupGateway, GroupDiscovery, GroupNetworking} {
		if slices.Contains(f.names(g), kind) && model.Nearest(group, []string{g}, 4) != "" {
			return fmt.Sprintf("there is no group %s; do you mean %s?", group, g)
		}
	}
	return ""
}

func (f *file) names(group string) []string {
	var out []string
	for _, k := range f.kinds {
		if k.Group == group {
			out = append(out, k.Kind)
		}
	}
	return out
}

// idleCore are the kinds of the core group that say nothing about traffic.
func idleCore() []string {
	return []string{
		"ServiceAccount", "PersistentVolume", "PersistentVolumeClaim", "Endpoints", "Event", "LimitRange", "ResourceQuota",
		"ReplicationController", "PodTemplate", "Binding", "ComponentStatus",
	}
}

// known are kinds that exist in the groups that we read, and are not read.
func known(group string) []string {
	switch group {
	case GroupGateway:
		return []string{"GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute", "BackendTLSPolicy", "ListenerSet"}
	case GroupIstio:
		return []string{"Sidecar", "EnvoyFilter", "WorkloadGroup", "ProxyConfig"}
	}
	return nil
}

func cutLast(apiVersion string) (group, version string, found bool) {
	if i := strings.LastIndexByte(apiVersion, '/'); i >= 0 {
		return apiVersion[:i], apiVersion[i+1:], true
	}
	return "", apiVersion, false
}

func refOf(group, kind string, raw map[string]any) model.Ref {
	md, _ := raw["metadata"].(map[string]any)
	name, _ := md["name"].(string)
	namespace, _ := md["namespace"].(string)
	return model.Ref{Group: group, Kind: kind, Namespace: namespace, Name: name}
}

// identity checks metadata as an API server does, and puts objects that name no namespace into "default".
func (f *file) identity(k *Kind, raw map[string]any, text *model.Text) (model.Ref, bool) {
	ref := refOf(k.Group, k.Kind, raw)
	switch {
	case k.Cluster:
		ref.Namespace = ""
	case ref.Namespace == "":
		ref.Namespace = "default"
	}
	ok := true
	refuse := func(path, msg string) {
		f.problem(text.LineOf(path), ref, "%s: %s", path, msg)
		ok = false
	}
	md, _ := raw["metadata"].(map[string]any)
	if ref.Name == "" {
		refuse("metadata.name", "the object needs a name (generateName is not enough in a file)")
		return ref, false
	}
	check := validation.IsDNS1123Subdomain
	switch k.Kind {
	case "Service":
		check = validation.IsDNS1035Label
	case "Namespace":
		check = validation.IsDNS1123Label
	}
	for _, msg := range check(ref.Name) {
		refuse("metadata.name", fmt.Sprintf("%q: %s", ref.Name, msg))
	}
	if !k.Cluster {
		for _, msg := range validation.IsDNS1123Label(ref.Namespace) {
			refuse("metadata.namespace", fmt.Sprintf("%q: %s", ref.Namespace, msg))
		}
	}
	labels := map[string]string{}
	given, _ := md["labels"].(map[string]any)
	for key, v := range given {
		labels[key], _ = v.(string) // another type is found when the object is decoded
	}
	for _, e := range metav1validation.ValidateLabels(labels, kfield.NewPath("metadata", "labels")) {
		refuse("metadata.labels", e.ErrorBody())
	}
	return ref, ok
}
