package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"fairlead.io/fairlead/pkg/resolve"
)

// meshFlags are what an operator sets once for a mesh: equal for serve on every replica, and for check.
type meshFlags struct {
	domain, trust, root, controller, address string
	labels                                   map[string]string
	cidrs, outbound                          []string
}

func (f *meshFlags) add(cmd *cobra.Command) {
	d := resolve.DefaultConfig()
	cidrs := make([]string, len(d.ServiceCIDRs))
	for i, p := range d.ServiceCIDRs {
		cidrs[i] = p.String()
	}
	fs := cmd.Flags()
	fs.StringVar(&f.domain, "cluster-domain", d.ClusterDomain, "ends the names of Services")
	fs.StringVar(&f.trust, "trust-domain", d.TrustDomain, "begins the SPIFFE identities of the mesh")
	fs.StringVar(&f.root, "root-namespace", d.RootNamespace, "namespace of mesh-wide DestinationRules, and of the Sidecar that is the default of the mesh")
	fs.StringVar(&f.controller, "controller", d.Controller, "name that a GatewayClass carries to be served")
	fs.StringToStringVar(&f.labels, "gateway-labels", d.GatewayLabels, "labels that the selector of a Gateway of fairlead.io or networking.istio.io must be part of")
	fs.StringVar(&f.address, "gateway-address", d.GatewayAddress.String(), "IP that listeners bind whose Gateway asks for none")
	fs.StringSliceVar(&f.cidrs, "service-cidr", cidrs, "ranges that the addresses of Services are taken from")
	fs.StringArrayVar(&f.outbound, "outbound", nil, "IP:PORT[,namespace=N][,service-account=S][,labels=K=V;K=V]: open a way into the mesh there for clients of\n"+
		"that namespace; may be repeated (default 127.0.0.1:15001,namespace=default with --source=files, none otherwise)")
}

// config checks the flags. A folder of manifests has clients that know Services by name only, and a way in for them.
func (f *meshFlags) config(files bool) (resolve.Config, error) {
	cfg := resolve.DefaultConfig()
	cfg.ClusterDomain, cfg.TrustDomain, cfg.RootNamespace = f.domain, f.trust, f.root
	cfg.Controller, cfg.GatewayLabels, cfg.HostTable = f.controller, f.labels, files
	var errs []error
	var err error
	if cfg.GatewayAddress, err = netip.ParseAddr(f.address); err != nil {
		errs = append(errs, fmt.Errorf("--gateway-address: %q is not an IP address", f.address))
	}
	cfg.ServiceCIDRs = nil
	for _, c := range f.cidrs {
		p, err := netip.ParsePrefix(c)
		if err != nil {
			errs = append(errs, fmt.Errorf("--service-cidr: %q is not a range such as 10.96.0.0/12", c))
			continue
		}
		cfg.ServiceCIDRs = append(cfg.ServiceCIDRs, p.Masked())
	}
	outbound := f.outbound
	if len(outbound) == 0 && files {
		outbound = []string{"127.0.0.1:15001,namespace=default"}
	}
	for i, o := range outbound {
		stub, err := parseStub(o)
		if err != nil {
			errs = append(errs, fmt.Errorf("--outbound %s: %w", o, err))
			continue
		}
		stub.Name = "outbound-" + strconv.Itoa(i+1)
		cfg.Stubs = append(cfg.Stubs, stub)
	}
	return cfg, errors.Join(errs...)
}

// parseStub reads "127.0.0.1:15001,namespace=shop,labels=app=web;version=v1".
func parseStub(s string) (resolve.Stub, error) {
	parts := strings.Split(s, ",")
	address, err := netip.ParseAddrPort(parts[0])
	if err != nil {
		return resolve.Stub{}, fmt.Errorf("%q is not IP:PORT", parts[0])
	}
	if !address.Addr().IsLoopback() {
		return resolve.Stub{}, fmt.Errorf("%s is not a loopback address: whoever reached it would be taken for a client of the namespace", address)
	}
	stub := resolve.Stub{Address: address, Namespace: "default"}
	for _, p := range parts[1:] {
		key, value, ok := strings.Cut(p, "=")
		switch {
		case !ok || value == "":
			return resolve.Stub{}, fmt.Errorf("%q is not key=value", p)
		case key == "namespace":
			stub.Namespace = value
		case key == "service-account":
			stub.ServiceAccount = value
		case key == "labels":
			if stub.Labels, err = parseLabels(value); err != nil {
				return resolve.Stub{}, err
			}
		default:
			return resolve.Stub{}, fmt.Errorf("key %q is none of namespace, service-account and labels", key)
		}
	}
	return stub, nil
}

func parseLabels(s string) (map[string]string, error) {
	out := map[string]string{}
	for _, pair := range strings.Split(s, ";") {
		k, v, ok := strings.Cut(pair, "=")
		if !ok || k == "" {
			return nil, fmt.Errorf("label %q is not key=value; several are joined by semicolons", pair)
		}
		out[k] = v
	}
	return out, nil
}
