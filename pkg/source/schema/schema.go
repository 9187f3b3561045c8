package schema

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"strings"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	"fairlead.io/fairlead/crds"
	"fairlead.io/fairlead/pkg/model"
)

//go:embed gateway-api/*.json network-policy-api/*.json
var foreign embed.FS

// Set holds the schemas of all custom kinds. A kind's schema is read and its rules are compiled when the kind is first
// met. It may be used by several goroutines.
type Set struct {
	mu    sync.Mutex
	kinds map[string]*kind // by file
}

// New gives all schemas.
func New() *Set { return &Set{kinds: map[string]*kind{}} }

// kind is what checking one kind needs.
type kind struct {
	once       sync.Once
	err        error
	structural *structural.Structural
	validator  validation.SchemaValidator
	rules      *cel.Validator // nil when the kind has none
}

// plurals of the kinds that there are schemas for.
var plurals = map[string]string{
	"GatewayClass": "gatewayclasses", "Gateway": "gateways", "HTTPRoute": "httproutes", "ReferenceGrant": "referencegrants",
	"VirtualService": "virtualservices", "DestinationRule": "destinationrules", "ServiceEntry": "serviceentries",
	"WorkloadEntry": "workloadentries", "Sidecar": "sidecars", "AuthorizationPolicy": "authorizationpolicies",
	"ClusterNetworkPolicy": "clusternetworkpolicies", "CiliumNetworkPolicy": "ciliumnetworkpolicies",
	"CiliumClusterwideNetworkPolicy": "ciliumclusterwidenetworkpolicies",
}

// Check fills in the defaults of an object and removes unknown fields, which it names, and its status, which is no input.
// invalid is why an API server would refuse the object. A kind without a schema passes as it is.
func (s *Set) Check(group, kindName string, obj map[string]any) (unknown, invalid []model.FieldIssue) {
	k := s.kind(group, kindName)
	if k == nil {
		return nil, nil
	}
	if k.err != nil {
		return nil, []model.FieldIssue{{Message: k.err.Error()}}
	}
	delete(obj, "status")
	for _, path := range pruning.PruneWithOptions(obj, k.structural, true, structural.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}) {
		unknown = append(unknown, model.FieldIssue{Path: path, Unknown: true, Message: "no such field; it is ignored: check its name and its place"})
	}
	defaulting.PruneNonNullableNullsWithoutDefaults(obj, k.structural)
	defaulting.Default(obj, k.structural)
	errs := validation.ValidateCustomResource(nil, obj, k.validator)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, k.structural, obj)...)
	if len(errs) == 0 && k.rules != nil {
		errs, _ = k.rules.Validate(context.Background(), nil, k.structural, obj, nil, celconfig.RuntimeCELCostBudget)
	}
	for _, e := range errs {
		invalid = append(invalid, model.FieldIssue{Path: path(e), Message: message(e)})
	}
	return unknown, invalid
}

func path(e *field.Error) string {
	if e.Field == "<nil>" {
		return ""
	}
	return e.Field
}

// message says what an API server says, and what to do where that is not plain: YAML reads yes, no, on, off, y and n without
// quotes as true and false.
func message(e *field.Error) string {
	msg := e.ErrorBody()
	for _, t := range []string{"boolean", "integer", "number"} {
		if strings.HasSuffix(msg, `must be of type string: "`+t+`"`) {
			return msg + "; put quotes around it"
		}
	}
	return msg
}

func (s *Set) kind(group, name string) *kind {
	plural := plurals[name]
	if plural == "" {
		return nil
	}
	file, files := "fairlead.io_"+plural+".yaml", fs.FS(crds.Files)
	switch group {
	case model.GatewayAPIGroup:
		file, files = "gateway-api/"+plural+".json", foreign
	case model.NetworkPolicyGroup:
		file, files = "network-policy-api/"+plural+".json", foreign
	case model.CiliumGroup:
		file = "compat/cilium.io_" + plural + ".yaml"
	}
	s.mu.Lock()
	k := s.kinds[file]
	if k == nil {
		k = &kind{}
		s.kinds[file] = k
	}
	s.mu.Unlock()
	k.once.Do(func() {
		if k.err = k.load(files, file); k.err != nil {
			k.err = fmt.Errorf("load schema of %s: %w", name, k.err)
		}
	})
	return k
}

func (k *kind) load(files fs.FS, name string) error {
	text, err := fs.ReadFile(files, name)
	if err != nil {
		return err
	}
	v1 := &apiextv1.JSONSchemaProps{}
	if strings.HasSuffix(name, ".json") {
		err = json.Unmarshal(text, v1)
	} else {
		var crd apiextv1.CustomResourceDefinition
		if err = yaml.Unmarshal(text, &crd); err == nil && len(crd.Spec.Versions) > 0 && crd.Spec.Versions[0].Schema != nil {
			v1 = crd.Spec.Versions[0].Schema.OpenAPIV3Schema
		}
	}
	if err != nil {
		return err
	}
	props := &apiextensions.JSONSchemaProps{}
	if err := apiextv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(v1, props, nil); err != nil {
		return err
	}
	if k.structural, err = structural.NewStructural(props); err != nil {
		return err
	}
	if err := defaulting.PruneDefaults(k.structural); err != nil {
		return err
	}
	if k.validator, _, err = validation.NewSchemaValidator(props); err != nil {
		return err
	}
	k.rules = cel.NewValidator(k.structural, true, celconfig.PerCallLimit)
	return nil
}
