package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/verdict"
)

// The reasons of notes.
const (
	ReasonUnsupported = "UnsupportedValue"
	ReasonInvalid     = "InvalidValue"
	// ReasonNotEnforced is of an object that nobody obeys, as nothing says whom it is about: the one thing that cannot fail closed.
	ReasonNotEnforced = "NotEnforced"
	// ReasonNoEffect is of what selects nobody here.
	ReasonNoEffect = "NoEffect"
	// ReasonKernelIdentity says who knows a principal.
	ReasonKernelIdentity = "IdentityByKernel"
)

// notHost is everybody but the node that the pod runs on, whose kubelet must reach it.
const notHost = verdict.World | verdict.Pods | verdict.RemoteNode

// author collects what is told to the author of an object.
type author struct {
	notes  []Note
	issues []model.FieldIssue
	told   map[string]bool // paths of issues
}

func newAuthor(m *model.Meta) *author { return &author{issues: m.Issues, told: map[string]bool{}} }

func (a *author) refuse(reason, path, format string, args ...any) {
	a.note(Note{Refused: true, Reason: reason, Path: path, Message: fmt.Sprintf(format, args...)})
}

func (a *author) warn(reason, path, format string, args ...any) {
	a.note(Note{Reason: reason, Path: path, Message: fmt.Sprintf(format, args...)})
}

func (a *author) note(n Note) {
	if !slices.Contains(a.notes, n) {
		a.notes = append(a.notes, n)
	}
}

// broken tells whether the reader of the object stumbled at a field or below it. What was there is not known, and a rule that says
// less matches more.
func (a *author) broken(path string) bool {
	found := false
	for _, i := range a.issues {
		if i.Path != path && !strings.HasPrefix(i.Path, path+".") && !strings.HasPrefix(i.Path, path+"[") {
			continue
		}
		found = true
		if !a.told[i.Path] {
			a.told[i.Path] = true
			what := i.Message
			if i.Unknown {
				what = "no such field, so what it stands in is not obeyed; check its name and its place"
			}
			a.refuse(ReasonInvalid, i.Path, "%s", what)
		}
	}
	return found
}

// stray tells whether the reader stumbled at a field itself or at one that it has, but not further down, or does not know where:
// then nobody knows what the object says as a whole.
func (a *author) stray(path string) bool {
	found := false
	for _, i := range a.issues {
		rest, below := strings.CutPrefix(i.Path, path+".")
		nowhere := !i.Unknown && !strings.HasPrefix(i.Path, "spec")
		if i.Path == path || nowhere || below && !strings.ContainsAny(rest, ".[") {
			found = a.broken(i.Path) || found
		}
	}
	return found
}

// requirements reads a label selector; not ok is one that does not say what its author meant.
func (a *author) requirements(s *metav1.LabelSelector, path string) (out []Requirement, ok bool) {
	if s == nil {
		return nil, true
	}
	ok = !a.broken(path)
	out, err := Requirements(s)
	if err != nil {
		a.refuse(ReasonInvalid, path, "%v", err)
	}
	return out, ok && err == nil
}

// prefix reads a CIDR or an address.
func prefix(s string) (netip.Prefix, error) {
	if p, err := parsePrefix(s); err == nil {
		return p, nil
	}
	addr, err := netip.ParseAddr(s)
	if err != nil || addr.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("%q is neither a CIDR nor an address", s)
	}
	addr = addr.Unmap()
	return netip.PrefixFrom(addr, addr.BitLen()), nil
}

func everything() []verdict.Ports { return []verdict.Ports{verdict.AnyPort} }
