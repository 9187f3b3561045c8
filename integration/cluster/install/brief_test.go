package install_test

import (
	"strings"
	"testing"

	"fairlead.io/fairlead/integration/cluster"
	"fairlead.io/fairlead/integration/cluster/install"
)

// brief installs a server whose certificates are for a minute, so that all of them are renewed while a node loses its power and
// the authority is replaced.
func brief(t *testing.T, bin string) {
	c := cluster.Start(t, cluster.Options{DNS: true, CNI: "ptp", Proxy: "iptables", DualStack: true})
	must(t, c, install.Run(t.Context(), c, install.Config{
		Tag: "brief", Bin: bin, ServerFlags: []string{"--svid-ttl=1m", "--svid-ttl-min=1m", "--svid-ttl-max=1m", "--clock-skew=2s"},
	}))
	must(t, c, install.Wait(t.Context(), c))
	populate(t, c)
	call(t, c)
	policy(t, c)

	// On the node that stays, nothing is noticed of the other one's end.
	local := keepCalling(t, c, "neighbour")
	before, _, err := held(t, c, 1, accounts+"client", "default/client")
	must(t, c, err)
	must(t, c, c.Nodes[1].Down())
	must(t, c, c.Nodes[1].Up(t.Context()))
	must(t, c, install.Wait(t.Context(), c))
	until(t, c, "find another SVID", func() error {
		after, _, err := held(t, c, 1, accounts+"client", "default/client")
		if err == nil && after == before {
			t.Errorf("the SVID %s has outlived the power of its node: its key was on a disk", after)
		}
		return err
	})
	ready(t, c, "--all")
	call(t, c)

	across := keepCalling(t, c, "client")
	_, old, err := held(t, c, 0, accounts+"server", "default/server")
	must(t, c, err)
	out, err := c.Exec(t.Context(), install.Namespace, "deployment/fairlead", "fairlead", "ca", "rotate", "--wait", "--until=stable", "--timeout=5m")
	must(t, c, err)
	if !strings.Contains(out, "Stable") || strings.Contains(out, old) {
		t.Errorf("after the rotation the authority %s is not gone: %s", old, out)
	}
	call(t, c)
	for _, load := range []*calls{across, local} {
		if s := load.end(t); len(s.Authorities) != 2 || s.OwnSVIDs < 2 || s.ServerSVIDs < 2 {
			t.Errorf("calls through a rotation have seen %d and %d certificates, of %q", s.OwnSVIDs, s.ServerSVIDs, s.Authorities)
		}
	}
}
