package resolve

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.io/fairlead/pkg/model"
)

func TestPreflight(t *testing.T) {
	exact := func(s string) *model.StringMatch { return &model.StringMatch{Value: s} }
	regex := func(s string) *model.StringMatch { return &model.StringMatch{Kind: model.MatchRegex, Value: s} }
	header := func(name string, v *model.StringMatch, invert bool) model.HeaderMatch {
		return model.HeaderMatch{Name: name, Value: *v, Invert: invert}
	}
	const asked = "access-control-request-method"
	origin := model.HeaderMatch{Name: "origin", Value: model.StringMatch{Kind: model.MatchPresent}}
	other := header("x-a", exact("1"), false)
	for name, c := range map[string]struct {
		match model.RouteMatch
		want  []model.HeaderMatch // nil: no route for preflights
	}{
		"no method":              {model.RouteMatch{}, nil},
		"a method":               {model.RouteMatch{Method: exact("PUT")}, []model.HeaderMatch{header(asked, exact("PUT"), false), origin}},
		"OPTIONS itself":         {model.RouteMatch{Method: exact("OPTIONS")}, nil},
		"OPTIONS among others":   {model.RouteMatch{Method: regex("GET|OPTIONS")}, nil},
		"several methods":        {model.RouteMatch{Method: regex("GET|PUT")}, []model.HeaderMatch{header(asked, regex("GET|PUT"), false), origin}},
		"a prefix":               {model.RouteMatch{Method: &model.StringMatch{Kind: model.MatchPrefix, Value: "P"}}, []model.HeaderMatch{header(asked, &model.StringMatch{Kind: model.MatchPrefix, Value: "P"}, false), origin}},
		"any case":               {model.RouteMatch{Method: &model.StringMatch{Value: "options", IgnoreCase: true}}, nil},
		"other headers stay":     {model.RouteMatch{Method: exact("PUT"), Headers: []model.HeaderMatch{other}}, []model.HeaderMatch{other, header(asked, exact("PUT"), false), origin}},
		"a method as a header":   {model.RouteMatch{Headers: []model.HeaderMatch{header(":method", exact("PUT"), false)}}, []model.HeaderMatch{header(asked, exact("PUT"), false), origin}},
		"not a method":           {model.RouteMatch{Headers: []model.HeaderMatch{header(":method", exact("PUT"), true)}}, nil},
		"not OPTIONS":            {model.RouteMatch{Headers: []model.HeaderMatch{header(":method", exact("OPTIONS"), true)}}, []model.HeaderMatch{header(asked, exact("OPTIONS"), true), origin}},
		"a header and the field": {model.RouteMatch{Method: regex(".*"), Headers: []model.HeaderMatch{header(":method", exact("PUT"), false)}}, []model.HeaderMatch{header(asked, regex(".*"), false), header(asked, exact("PUT"), false), origin}},
	} {
		t.Run(name, func(t *testing.T) {
			rt := model.Route{Name: "r", Match: c.match, Forward: &model.Forward{}, CORS: &model.CORS{}}
			before := rt.Match
			got, ok := preflight(&rt)
			if ok != (c.want != nil) {
				t.Fatalf("a route for preflights: %v", ok)
			}
			if !cmp.Equal(before, rt.Match) {
				t.Errorf("the route itself changed: %+v", rt.Match)
			}
			if !ok {
				return
			}
			if d := cmp.Diff(c.want, got.Match.Headers); d != "" {
				t.Error(d)
			}
			if got.Match.Method == nil || *got.Match.Method != *exact("OPTIONS") || got.CORS != rt.CORS {
				t.Errorf("%+v", got)
			}
		})
	}
	for name, rt := range map[string]model.Route{
		"no policy":      {Match: model.RouteMatch{Method: exact("PUT")}, Forward: &model.Forward{}},
		"answers itself": {Match: model.RouteMatch{Method: exact("PUT")}, CORS: &model.CORS{}, Direct: &model.DirectResponse{Status: 500}},
	} {
		if got, ok := preflight(&rt); ok {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
