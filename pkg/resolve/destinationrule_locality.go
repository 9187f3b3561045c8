package resolve

import (
	"fmt"

	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/pkg/model"
)

// noLocality notes the locality settings that have no effect, as the endpoints of the host are not ours to order: Envoy
// resolves their names, or takes the address that the client asked for.
func (p *Policy) noLocality(rules []*DestinationRule, h *model.Host) {
	why := fmt.Sprintf("the endpoints of host %s are found by DNS", h.Name)
	if h.Resolution == model.ResolveNone {
		why = fmt.Sprintf("host %s has resolution NONE, where the client chooses the address", h.Name)
	}
	for _, d := range rules {
		for _, path := range localityFields(servedSpec(d)) {
			p.problems = append(p.problems, problem{
				rule: ObjectKey(d.Ref), reason: reasonUnsupported, path: path, warning: true,
				message: why + ", so that the setting has no effect; use resolution STATIC with the localities of its endpoints, or remove it",
			})
		}
	}
}

// localityFields are the paths of the locality settings of a rule that are on.
func localityFields(s *v1alpha1.DestinationRuleSpec) []string {
	var out []string
	add := func(lb *v1alpha1.LoadBalancerSettings, path string) {
		if lb != nil && lb.LocalityLBSetting != nil && (lb.LocalityLBSetting.Enabled == nil || *lb.LocalityLBSetting.Enabled) {
			out = append(out, path+".loadBalancer.localityLbSetting")
		}
	}
	policy := func(tp *v1alpha1.TrafficPolicy, path string) {
		if tp == nil {
			return
		}
		add(tp.LoadBalancer, path)
		for i := range tp.PortLevelSettings {
			add(tp.PortLevelSettings[i].LoadBalancer, indexed(path+".portLevelSettings", i))
		}
	}
	policy(s.TrafficPolicy, "spec.trafficPolicy")
	for i := range s.Subsets {
		policy(s.Subsets[i].TrafficPolicy, indexed("spec.subsets", i)+".trafficPolicy")
	}
	return out
}
