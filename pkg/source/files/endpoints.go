package files

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/source"
	"fairlead.io/fairlead/pkg/source/convert"
)

// madeSuffix ends the name of a slice that this package makes.
const madeSuffix = "-files"

func makesEndpoints(kind string) bool {
	return kind == "Pod" || kind == "Service" || kind == "EndpointSlice"
}

// makeEndpoints does what a cluster's endpoint controller does, for Services that have a selector and no EndpointSlice.
func (s *store) makeEndpoints() []source.Update {
	sliced := map[string]bool{}
	pods := map[string]map[string][]*model.Pod{} // by namespace, then label "key=value"
	var services []*model.Service
	for _, ref := range sortedRefs(s.current) {
		switch o := s.current[ref].Object.(type) {
		case *model.EndpointSlice:
			sliced[model.Key(o.Namespace, o.Service)] = true
		case *model.Service:
			services = append(services, o)
		case *model.Pod:
			if pods[o.Namespace] == nil {
				pods[o.Namespace] = map[string][]*model.Pod{}
			}
			for k, v := range o.Labels {
				pods[o.Namespace][k+"="+v] = append(pods[o.Namespace][k+"="+v], o)
			}
		}
	}
	now := map[model.Ref]*model.EndpointSlice{}
	for _, svc := range services {
		if len(svc.Selector) > 0 && !sliced[svc.Key()] {
			for _, slice := range slicesOf(svc, selected(pods[svc.Namespace], svc.Selector)) {
				if _, taken := s.current[slice.Ref]; !taken {
					now[slice.Ref] = slice
				}
			}
		}
	}
	return s.replaceMade(now)
}

func (s *store) replaceMade(now map[model.Ref]*model.EndpointSlice) []source.Update {
	var out []source.Update
	for _, ref := range sortedRefs(s.made) {
		if now[ref] == nil {
			delete(s.made, ref)
			if _, real := s.current[ref]; !real {
				out = append(out, source.Update{Ref: ref})
			}
		}
	}
	for _, ref := range sortedRefs(now) {
		slice := now[ref]
		if was := s.made[ref]; was != nil && reflect.DeepEqual(was.Ports, slice.Ports) && reflect.DeepEqual(was.Endpoints, slice.Endpoints) {
			continue
		}
		g := s.generations[ref]
		g.number++
		s.generations[ref] = g
		slice.Generation, slice.ResourceVersion = g.number, strconv.FormatInt(g.number, 10)
		s.made[ref] = slice
		out = append(out, source.Update{Ref: ref, Object: slice})
	}
	return out
}

// selected gives the pods that have all labels, in the order of their names.
func selected(byLabel map[string][]*model.Pod, selector map[string]string) []*model.Pod {
	var few []*model.Pod
	for i, k := range slices.Sorted(maps.Keys(selector)) {
		if p := byLabel[k+"="+selector[k]]; i == 0 || len(p) < len(few) {
			few = p
		}
	}
	var out []*model.Pod
	for _, p := range few {
		matches := len(p.Addresses) > 0
		for k, v := range selector {
			got, has := p.Labels[k]
			matches = matches && has && got == v
		}
		if matches {
			out = append(out, p)
		}
	}
	return out
}

// slicesOf makes one slice for each set of ports: pods may declare different numbers under one name.
func slicesOf(svc *model.Service, pods []*model.Pod) []*model.EndpointSlice {
	bySet := map[string]*model.EndpointSlice{}
	var out []*model.EndpointSlice
	for _, pod := range pods {
		ports := portsOf(svc, pod)
		if len(ports) == 0 {
			continue
		}
		set := fmt.Sprint(ports)
		slice := bySet[set]
		if slice == nil {
			name := svc.Name + madeSuffix
			if len(out) > 0 {
				name += "-" + strconv.Itoa(len(out)+1)
			}
			slice = &model.EndpointSlice{Service: svc.Name, Ports: ports}
			slice.Ref = model.Ref{Group: convert.GroupDiscovery, Kind: "EndpointSlice", Namespace: svc.Namespace, Name: name}
			slice.Version, slice.UID, slice.Text = "v1", svc.UID+madeSuffix+strings.TrimPrefix(name, svc.Name+madeSuffix), svc.Text
			slice.Labels = map[string]string{"kubernetes.io/service-name": svc.Name}
			bySet[set] = slice
			out = append(out, slice)
		}
		slice.Endpoints = append(slice.Endpoints, model.Endpoint{
			Addresses: pod.Addresses, Ready: pod.Ready || svc.PublishNotReady, Serving: pod.Ready, Node: pod.Node, Pod: pod.Key(),
		})
	}
	return out
}

// portsOf resolves the Service's target ports against a pod. A name that the pod does not declare leaves the port out.
func portsOf(svc *model.Service, pod *model.Pod) []model.EndpointPort {
	var out []model.EndpointPort
	for _, p := range svc.Ports {
		number := pod.Port(p.Target)
		if n, err := strconv.ParseUint(p.Target, 10, 16); err == nil {
			number = uint16(n)
		}
		if number != 0 {
			out = append(out, model.EndpointPort{Name: p.Name, Number: number, Protocol: p.Protocol, AppProtocol: p.AppProtocol})
		}
	}
	slices.SortFunc(out, func(a, b model.EndpointPort) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
