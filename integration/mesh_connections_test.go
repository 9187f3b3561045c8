package integration_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"fairlead.io/fairlead/pkg/resolve"
)

// TestMeshConnections asks of real connections what DestinationRules and Services say for them.
func TestMeshConnections(t *testing.T) {
	m := newMeshRig(t, meshOptions{stubs: []resolve.Stub{webStub}})
	port := m.greeter(31, 0)
	var pods strings.Builder
	for n := 31; n < 37; n++ {
		if n > 31 {
			m.greeter(n, port)
		}
		for _, app := range []string{"plain", "hashed", "sticky"} {
			pods.WriteString(podYAML("shop", fmt.Sprintf("%s-%d", app, n), n, "app: "+app, ""))
		}
	}
	service := func(name, vip string) string {
		return strings.ReplaceAll(serviceYAML("shop", name, vip, "{name: tcp, port: 3306}"), "$PORT", fmt.Sprint(port))
	}
	rule := func(host, policy string) string {
		return fmt.Sprintf("---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: %s, namespace: shop}\nspec: {host: %s, trafficPolicy: {%s}}\n", host, host, policy)
	}
	m.apply("base", pods.String()+service("plain", "10.96.9.1")+service("hashed", "10.96.9.2")+
		strings.Replace(service("sticky", "10.96.9.3"), "spec:\n", "spec:\n  sessionAffinity: ClientIP\n", 1)+
		rule("hashed", "loadBalancer: {consistentHash: {useSourceIp: true}}"))

	t.Run("hash of the client's address", func(t *testing.T) {
		for vip, sticks := range map[string]bool{"10.96.9.1": false, "10.96.9.2": true, "10.96.9.3": true} {
			pods, wanders := map[string]bool{}, 0
			for client := range 12 {
				seen := map[string]bool{}
				for range 8 {
					who, err := m.greeting(meshCall{to: vip + ":3306", from: fmt.Sprintf("192.0.2.%d", client)})
					if err != nil {
						t.Fatal(err)
					}
					seen[who], pods[who] = true, true
				}
				if len(seen) > 1 {
					wanders++
				}
			}
			if sticks && wanders > 0 || !sticks && wanders < 6 || len(pods) < 2 {
				t.Errorf("%s: %d of 12 clients reach several pods; all reach %d of 6", vip, wanders, len(pods))
			}
		}
	})
	// ended tells whether a silent connection is closed within a limit.
	ended := func(t *testing.T, limit time.Duration) bool {
		t.Helper()
		c, err := m.dial("web", "10.96.9.1:3306")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		r := bufio.NewReader(c)
		if who, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(who, "pod ") {
			t.Fatalf("greeting %q, %v", who, err)
		}
		_ = c.SetReadDeadline(time.Now().Add(limit))
		_, err = r.ReadByte()
		return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
	}
	for _, field := range []string{"idleTimeout", "maxConnectionDuration"} {
		t.Run(field, func(t *testing.T) {
			m.apply("rule", rule("plain", "connectionPool: {tcp: {"+field+": 300ms}}"))
			m.accepted()
			until(t, field+" ends connections", func() error {
				if !ended(t, 10*time.Second) {
					return fmt.Errorf("a silent connection stays open")
				}
				return nil
			})
		})
	}
	t.Run("neither", func(t *testing.T) {
		m.apply("rule", rule("plain", "connectionPool: {tcp: {idleTimeout: 0s}}"))
		until(t, "connections stay", func() error {
			if ended(t, 2*time.Second) {
				return fmt.Errorf("a silent connection was closed")
			}
			return nil
		})
	})
	t.Run("the destination of a route decides", func(t *testing.T) {
		m.apply("rule", rule("sticky", "connectionPool: {tcp: {maxConnectionDuration: 300ms}}")+
			virtualServiceYAML("shop", "plain", "plain", "  tcp:\n  - route: [{destination: {host: sticky}}]"))
		until(t, "the route's connections end", func() error {
			if !ended(t, 10*time.Second) {
				return fmt.Errorf("a silent connection stays open")
			}
			return nil
		})
	})
}
