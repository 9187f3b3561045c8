package policy

import (
	"fmt"
	"net/netip"

	"fairlead.io/fairlead/pkg/verdict"
)

// inCluster is all that is not outside.
const inCluster = verdict.Pods | verdict.Host | verdict.RemoteNode | verdict.KubeAPIServer

// entities adds peers by Cilium's names of what has no labels.
func (m *ciliumMatch) entities(name string, list []string) {
	for i, e := range list {
		path := fmt.Sprintf("%s.%s[%d]", m.path, name, i)
		switch e {
		case "all":
			m.entity(verdict.All)
		case "world":
			m.entity(verdict.World)
		case "world-ipv4":
			m.rule.Peers = append(m.rule.Peers, world(netip.PrefixFrom(netip.IPv4Unspecified(), 0)))
		case "world-ipv6":
			m.rule.Peers = append(m.rule.Peers, world(netip.PrefixFrom(netip.IPv6Unspecified(), 0)))
		case "cluster", "cluster-mesh":
			m.entity(inCluster)
		case "host":
			m.entity(verdict.Host)
		case "remote-node":
			m.entity(verdict.RemoteNode)
		case "kube-apiserver":
			m.entity(verdict.KubeAPIServer)
		case "none":
		case "ingress", "health", "init", "unmanaged":
			m.c.warn(ReasonNoEffect, path, "%s is nobody here", e)
		default:
			m.c.refuse(ReasonInvalid, path, "%q is no entity that is known", e)
			m.unknown |= notHost
		}
	}
}

func (m *ciliumMatch) entity(e verdict.Entity) {
	m.rule.Peers = append(m.rule.Peers, Peer{Entity: e})
}
