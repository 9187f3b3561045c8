package translate_test

import (
	"fmt"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/translate"
)

// summary is one line of an assignment: "priority region/zone*weight: addresses", a draining one with "!".
func summary(t *testing.T, e *model.ClusterEndpoints, from model.Locality) string {
	t.Helper()
	m := translate.Endpoints(e, from)
	if err := m.ValidateAll(); err != nil {
		t.Errorf("Envoy would refuse it: %v", err)
	}
	var out []string
	for _, g := range m.Endpoints {
		l := model.Locality{Region: g.GetLocality().GetRegion(), Zone: g.GetLocality().GetZone(), SubZone: g.GetLocality().GetSubZone()}
		s := fmt.Sprintf("%d %s*%d:", g.Priority, l, g.GetLoadBalancingWeight().GetValue())
		for _, lb := range g.LbEndpoints {
			mark := ""
			if lb.HealthStatus == corev3.HealthStatus_DRAINING {
				mark = "!"
			}
			s += " " + mark + lb.GetEndpoint().Address.GetSocketAddress().Address
		}
		out = append(out, s)
	}
	return strings.Join(out, "\n")
}

func zone(l, address string, weight uint32) model.ClusterEndpoint {
	p := append(strings.Split(l, "/"), "", "")
	return model.ClusterEndpoint{Address: address, Port: 80, Weight: weight, Locality: model.Locality{Region: p[0], Zone: p[1]}}
}

func TestEndpointsByLocality(t *testing.T) {
	list := []model.ClusterEndpoint{zone("r1/a", "10.0.0.1", 0), zone("r1/a", "10.0.0.2", 3), zone("r1/b", "10.0.0.3", 0), zone("r2/c", "10.0.0.4", 0), zone("r3/d", "10.0.0.5", 0)}
	list[1].Draining = true
	labelled := append([]model.ClusterEndpoint(nil), list...)
	labelled[4].Labels = map[string]string{"version": "v1"}
	labelled[2].Labels = map[string]string{"version": "v1"}
	const plain = "0 r1/a*4: 10.0.0.1 !10.0.0.2\n0 r1/b*1: 10.0.0.3\n0 r2/c*1: 10.0.0.4\n0 r3/d*1: 10.0.0.5"
	for name, c := range map[string]struct {
		list []model.ClusterEndpoint
		l    *model.LocalityLB
		from string
		want string
	}{
		"no setting":            {list, nil, "r1/a", plain},
		"unknown client":        {list, &model.LocalityLB{Enabled: true}, "", plain},
		"zone, region, rest":    {list, &model.LocalityLB{Enabled: true}, "r1/b", "0 r1/b*1: 10.0.0.3\n1 r1/a*4: 10.0.0.1 !10.0.0.2\n2 r2/c*1: 10.0.0.4\n2 r3/d*1: 10.0.0.5"},
		"failover to a region":  {list, &model.LocalityLB{Enabled: true, Failover: map[string]string{"r1": "r3"}}, "r1/b", "0 r1/b*1: 10.0.0.3\n1 r1/a*4: 10.0.0.1 !10.0.0.2\n2 r3/d*1: 10.0.0.5\n3 r2/c*1: 10.0.0.4"},
		"nothing near":          {list, &model.LocalityLB{Enabled: true}, "r9/z", plain},
		"shares":                {list, &model.LocalityLB{Enabled: true, Distribute: []model.LocalityDistribute{{From: "r1/a/*", To: map[string]uint32{"r1/a/*": 80, "r1/*": 15, "r2": 5}}}}, "r1/a", "0 r1/a*800000: 10.0.0.1 !10.0.0.2\n0 r1/b*150000: 10.0.0.3\n0 r2/c*50000: 10.0.0.4"},
		"share of a region":     {list, &model.LocalityLB{Enabled: true, Distribute: []model.LocalityDistribute{{From: "*", To: map[string]uint32{"r1/*": 90, "r2/*": 10}}}}, "", "0 r1/a*720000: 10.0.0.1 !10.0.0.2\n0 r1/b*180000: 10.0.0.3\n0 r2/c*100000: 10.0.0.4"},
		"shares, other clients": {list, &model.LocalityLB{Enabled: true, Distribute: []model.LocalityDistribute{{From: "r1/a/*", To: map[string]uint32{"r2": 100}}}}, "r1/b", plain},
		"label given":           {labelled, &model.LocalityLB{Enabled: true, FailoverPriority: []string{"version=v1"}}, "", "0 r1/b*1: 10.0.0.3\n0 r3/d*1: 10.0.0.5\n1 r1/a*4: 10.0.0.1 !10.0.0.2\n1 r2/c*1: 10.0.0.4"},
		"labels in order":       {labelled, &model.LocalityLB{Enabled: true, FailoverPriority: []string{model.RegionLabel, "version=v1"}}, "r1/a", "0 r1/b*1: 10.0.0.3\n1 r1/a*4: 10.0.0.1 !10.0.0.2\n2 r2/c*1: 10.0.0.4\n2 r3/d*1: 10.0.0.5"},
	} {
		t.Run(name, func(t *testing.T) {
			p := append(strings.Split(c.from, "/"), "")
			if got := summary(t, &model.ClusterEndpoints{Cluster: "c", Endpoints: c.list, Locality: c.l}, model.Locality{Region: p[0], Zone: p[1]}); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

func TestLocalitiesThatMakeADifference(t *testing.T) {
	e := &model.ClusterEndpoints{Endpoints: []model.ClusterEndpoint{zone("r1/a", "10.0.0.1", 0), zone("", "10.0.0.2", 0)}}
	if got := translate.Localities(e); len(got) > 0 {
		t.Errorf("without a setting: %v", got)
	}
	e.Locality = &model.LocalityLB{Enabled: true, Failover: map[string]string{"r7": "r1"}, Distribute: []model.LocalityDistribute{{From: "r8/x/*"}, {From: "*"}}}
	if got := fmt.Sprint(translate.Localities(e)); got != "[r1 r1/a r7 r8 r8/x]" {
		t.Errorf("localities: %s", got)
	}
}

func TestEmptyEndpointsAreServed(t *testing.T) {
	m := translate.Endpoints(&model.ClusterEndpoints{Cluster: "svc/n/h/80"}, model.Locality{})
	if m.ClusterName != "svc/n/h/80" || len(m.Endpoints) != 0 || m.ValidateAll() != nil {
		t.Errorf("assignment: %v", m)
	}
}
