package report

import (
	"testing"

	"fairlead.io/fairlead/pkg/model"
)

func TestOneConditionOfSeveralFaultsIsTakenApart(t *testing.T) {
	text := &model.Text{File: "a.yaml", Line: 1, Lines: map[string]int{"spec.rules[0]": 10, "spec.rules[1].backendRefs[0]": 20}}
	for message, want := range map[string][]part{
		"spec.rules[0].x: a; b: c":                             {{"spec.rules[0].x", "a; b: c", 10}},
		"spec.rules[0].x: a; spec.rules[1].backendRefs[0]: b":  {{"spec.rules[0].x", "a", 10}, {"spec.rules[1].backendRefs[0]", "b", 20}},
		"a; spec.rules[1].backendRefs[0].name: b; change it":   {{"spec.rules[0].x", "a", 10}, {"spec.rules[1].backendRefs[0].name", "b; change it", 20}},
		"a; spec.rules[1] is wrong; see spec.rules[0]: or not": {{"spec.rules[0].x", "a; spec.rules[1] is wrong; see spec.rules[0]: or not", 10}},
	} {
		got := split(&model.Condition{Path: "spec.rules[0].x", Message: message}, text)
		if len(got) != len(want) {
			t.Errorf("%q: %+v, want %+v", message, got, want)
			continue
		}
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("%q: part %d is %+v, want %+v", message, i, got[i], want[i])
			}
		}
	}
}

// Some of Gateway API's conditions are bad when true.
func TestPolarity(t *testing.T) {
	for _, test := range []struct {
		c   Condition
		bad bool
	}{
		{Condition{Type: "Accepted", Status: true}, false},
		{Condition{Type: "Accepted"}, true},
		{Condition{Type: "Conflicted", Status: true}, true},
		{Condition{Type: "Conflicted"}, false},
		{Condition{Type: "PartiallyInvalid", Status: true}, true},
	} {
		if test.c.Bad() != test.bad {
			t.Errorf("%+v: bad %v, want %v", test.c, test.c.Bad(), test.bad)
		}
	}
}

func TestFindingsSayEachThingOnce(t *testing.T) {
	text := &model.Text{File: "a.yaml", Line: 3}
	refused := model.Condition{Type: "Accepted", Path: "spec.parentRefs[0]", Message: "no"}
	o := Of(&model.ObjectStatus{Ref: model.Ref{Kind: "HTTPRoute", Name: "r"}, Parents: []model.ParentStatus{
		{Parent: model.Ref{Kind: "Gateway", Name: "a"}, Conditions: []model.Condition{refused}},
		{Parent: model.Ref{Kind: "Gateway", Name: "b"}, Conditions: []model.Condition{refused, {Type: "Programmed", Message: "see Accepted"}}},
	}}, text)
	page := Page{Objects: []Object{o}, Problems: []Problem{{File: "a.yaml", Line: 1, Message: "x"}}}
	got := page.Findings()
	if len(got) != 2 || got[0].Message != "x" || got[1].Line != 3 || got[1].Severity != Error || got[1].Path != "spec.parentRefs[0]" {
		t.Errorf("findings %+v", got)
	}
}
