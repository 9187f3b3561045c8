package resolve

import (
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
)

// Resolved is the whole stage: every table that the translation reads.
type Resolved struct {
	Config    Config
	Inputs    *Inputs
	Hosts     *Hosts
	Policies  *Policies
	Clusters  *Clusters
	Endpoints *Endpoints
	API       *GatewayAPI
	Traffic   *Traffic
	Servers   *Servers
	HTTP      *VirtualHosts
	Outbound  *Outbound
	Audiences *Audiences
	Scopes    *Scopes
	Residents *Residents
	Trust     *Trust
	Verdicts  *Verdicts
	// Statuses are what the author of each object is told, by StatusKey.
	Statuses *table.Derived[*model.ObjectStatus]
}

// New declares the tables of the stage in flow order.
func New(e *table.Engine, cfg Config) *Resolved {
	in := NewInputs(e)
	hosts := newHosts(e, cfg, in)
	policies := newPolicies(e, cfg, in, hosts)
	endpoints := newEndpoints(e, in, hosts, policies) // the end of the urgent lane, so before what is not of it
	scopes := newScopes(e, cfg, in)                   // of the urgent lane too
	verdicts := newVerdicts(e, cfg, in)               // and these
	residents := newResidents(e, in, verdicts.Pods)
	clusters := newClusters(e, hosts, policies)
	api := newGatewayAPI(e, cfg, in, hosts)
	traffic := newTraffic(e, cfg, in, hosts, policies)
	servers := newServers(e, api.Gateways, traffic.Gateways)
	http := newVirtualHosts(e, servers, api.Routes, traffic.Routes)
	res := &Resolved{
		Config: cfg, Inputs: in, Hosts: hosts, Policies: policies, Clusters: clusters, Endpoints: endpoints,
		API: api, Traffic: traffic, Servers: servers, HTTP: http, Scopes: scopes, Residents: residents, Trust: newTrust(e, in),
		Verdicts: verdicts,
		Outbound: newOutbound(e, cfg, hosts, policies, http, traffic),
	}
	res.Audiences = newAudiences(e, res)
	residents.declareRest(e, in, api)
	scopes.sidecars.declareStatus(e, in)
	verdicts.declareStatus(e)
	res.Statuses = newStatuses(e, res)
	return res
}
