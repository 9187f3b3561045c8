package convert

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/source"
)

// maxObject is the largest object, as JSON: what an API server's store takes too.
const maxObject = 3 << 19

// maxProblems is how many faults of one file are told one by one.
const maxProblems = 100

// Schemas checks custom objects as an API server does. It fills in defaults and removes unknown fields in place.
type Schemas interface {
	Check(group, kind string, obj map[string]any) (unknown, invalid []model.FieldIssue)
}

// Files converts the text of files. It may be used by several goroutines.
type Files struct {
	schemas Schemas
	kinds   []Kind
}

// NewFiles makes a converter of files; schemas may be nil, then custom objects are checked by their Go types only.
func NewFiles(schemas Schemas) *Files { return &Files{schemas, Kinds()} }

// Result is what one file holds.
type Result struct {
	Objects []Read
	// Problems are the faults that leave something out. They come in the order of the file.
	Problems []source.Problem
	// Notes are about objects that are none of Fairlead's business.
	Notes []source.Problem
}

// Read is one object of a file.
type Read struct {
	Ref model.Ref
	// Object is a pointer to a model type, as in source.Update.
	Object any
	Meta   *model.Meta
	// Spec is a hash of all but metadata and status: what a generation counts.
	Spec string
}

// file is one run over one file.
type file struct {
	*Files
	name string
	Result
}

// Convert reads all documents of a file. Nothing in data makes it fail as a whole: each fault is a Problem.
func (f *Files) Convert(name string, data []byte) Result {
	run := &file{Files: f, name: name}
	for _, c := range split(data) {
		nodes, offset, err := parse(c)
		if err != nil {
			line, msg := lineOf(err, c.line)
			run.problem(line, model.Ref{}, "%s", msg)
			continue
		}
		t := &tree{offset: offset}
		sum := sha256.Sum256(c.text)
		for _, n := range nodes {
			run.document(t, n, hex.EncodeToString(sum[:8]), false)
		}
	}
	if more := len(run.Problems) - maxProblems; more > 0 {
		run.Problems = run.Problems[:maxProblems]
		run.problem(1, model.Ref{}, "there are %d more faults in this file", more)
	}
	return run.Result
}

func (f *file) problem(line int, ref model.Ref, format string, args ...any) {
	f.Problems = append(f.Problems, source.Problem{File: f.name, Line: line, Ref: ref, Message: fmt.Sprintf(format, args...)})
}

// document reads one object, or the items of a List.
func (f *file) document(t *tree, n *yaml.Node, sum string, inList bool) {
	for hops := 0; n.Kind == yaml.AliasNode && hops < maxDepth; hops++ {
		n = n.Alias
		t.aliases++ // what the tree then reads counts as expanded
		defer func() { t.aliases-- }()
	}
	line := n.Line + t.offset
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		return
	}
	if n.Kind != yaml.MappingNode {
		f.problem(line, model.Ref{}, "a manifest is a mapping with apiVersion, kind and metadata; something else stands here")
		return
	}
	kind, items := field(n, "kind"), child(n, "items")
	if strings.HasSuffix(kind, "List") && items != nil && items.Kind == yaml.SequenceNode {
		if inList {
			f.problem(line, model.Ref{Kind: kind}, "a list stands within a list; write its items out")
			return
		}
		for _, item := range items.Content {
			f.document(t, item, sum, true)
		}
		return
	}
	t.lines = map[string]int{}
	v, err := t.value(n, "", 0)
	if err != nil {
		at, msg := lineOf(err, line)
		ref := model.Ref{Kind: kind}
		if md := child(n, "metadata"); md != nil {
			ref.Namespace, ref.Name = field(md, "namespace"), field(md, "name")
		}
		f.problem(at, ref, "%s", msg)
		return
	}
	f.object(v.(map[string]any), &model.Text{File: f.name, Line: line, Lines: t.lines}, sum)
}

// object turns one manifest into a model value.
func (f *file) object(raw map[string]any, text *model.Text, sum string) {
	k, version, ok := f.lookup(raw, text)
	if !ok {
		return
	}
	ref, ok := f.identity(k, raw, text)
	if !ok {
		return
	}
	refuse := func(path, msg string) {
		if path != "" {
			msg = path + ": " + msg
		}
		f.problem(text.LineOf(path), ref, "%s", msg)
	}
	var unknown, invalid []model.FieldIssue
	if k.Custom() && f.schemas != nil {
		unknown, invalid = f.schemas.Check(k.Group, k.Kind, raw)
	}
	data, err := json.Marshal(raw)
	if err != nil {
		refuse("", "cannot be written as JSON: "+err.Error())
		return
	}
	if len(data) > maxObject {
		refuse("", fmt.Sprintf("the object has %.1f MB; an API server takes at most %.1f MB: divide it", float64(len(data))/1e6, maxObject/1e6))
		return
	}
	obj, err := k.decode(&input{kind: k, version: version, json: data})
	issues := unknown
	if obj != nil {
		issues = append(issues, obj.GetMeta().Issues...)
	}
	var wrong *fieldError
	if errors.As(err, &wrong) && len(invalid) == 0 {
		invalid = []model.FieldIssue{{Path: badBase64(k, wrong.path, raw), Message: wrong.msg}}
	}
	if len(invalid) > 0 {
		for _, i := range issues {
			if i.Unknown { // often why another field is missing
				refuse(i.Path, i.Message)
			}
		}
		for _, i := range invalid {
			refuse(i.Path, i.Message)
		}
		return
	}
	if obj == nil {
		return
	}
	f.keep(obj, k, ref, text, issues, raw, sum)
}

// badBase64 finds the key of a Secret that its decoder could not read, and did not name.
func badBase64(k *Kind, path string, raw map[string]any) string {
	data, _ := raw["data"].(map[string]any)
	if k.Kind != "Secret" || path != "" {
		return path
	}
	for _, key := range slices.Sorted(maps.Keys(data)) {
		if v, ok := data[key].(string); ok {
			if _, err := base64.StdEncoding.DecodeString(v); err != nil {
				return join("data", key)
			}
		}
	}
	return ""
}

// keep completes the metadata, as an API server does, and adds the object to the result.
func (f *file) keep(obj object, k *Kind, ref model.Ref, text *model.Text, issues []model.FieldIssue, raw map[string]any, sum string) {
	m := obj.GetMeta()
	m.Ref, m.Issues = ref, issues
	complete(obj, raw, ref)
	spec := map[string]any{}
	for key, v := range raw {
		if key != "metadata" && key != "status" && key != "apiVersion" {
			spec[key] = v
		}
	}
	// The UIDs of pods and nodes are parts of identities, so they are taken as they are written.
	if _, pod := obj.(*model.Pod); m.UID == "" || !pod && ref.Kind != "Node" {
		m.UID = hash(ref.Group, ref.Kind, ref.Key())
	}
	m.ResourceVersion = hash(sum, text.File, fmt.Sprint(text.Line))
	m.Generation = 1
	m.Text = text
	if !k.Custom() && k.Kind != "Service" {
		m.Text = trimmed(text, issues)
	}
	data, _ := json.Marshal(spec) // raw has been marshaled before
	f.Objects = append(f.Objects, Read{Ref: ref, Object: obj, Meta: m, Spec: hash(string(data))})
}

// complete adds what a cluster's API server and kubelets would.
func complete(obj object, raw map[string]any, ref model.Ref) {
	switch o := obj.(type) {
	case *model.Pod:
		status, _ := raw["status"].(map[string]any)
		if _, told := status["conditions"]; !told {
			// Nobody probes the pods of a folder: one that has an address and says nothing else is ready.
			o.Ready = len(o.Addresses) > 0
		}
	case *model.Namespace:
		o.Labels = maps.Clone(o.Labels)
		if o.Labels == nil {
			o.Labels = map[string]string{}
		}
		o.Labels[corev1.LabelMetadataName] = ref.Name
	case *model.EndpointSlice: // its own namespace may have been left out
		for i := range o.Endpoints {
			if p := o.Endpoints[i].Pod; p != "" {
				_, name := model.SplitKey(p)
				o.Endpoints[i].Pod = model.Key(ref.Namespace, name)
			}
		}
	}
}

// trimmed keeps the lines of fields that something is wrong with: pods and slices are many, and nobody asks for others.
func trimmed(t *model.Text, issues []model.FieldIssue) *model.Text {
	out := &model.Text{File: t.File, Line: t.Line}
	for _, i := range issues {
		if out.Lines == nil {
			out.Lines = map[string]int{}
		}
		out.Lines[i.Path] = t.LineOf(i.Path)
	}
	return out
}

func hash(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:8])
}

// child gives the value of a key of a mapping node, or nil.
func child(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func field(n *yaml.Node, key string) string {
	if c := child(n, key); c != nil && c.Kind == yaml.ScalarNode {
		return c.Value
	}
	return ""
}
