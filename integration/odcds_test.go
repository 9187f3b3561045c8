package integration_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	xds "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
)

// These tests pin what on-demand CDS over delta ADS does in the Envoy of hack/tools/versions.sh, beside a CDS subscription to
// everything. docs/envoy-memory.md says why it is not used. A test that fails after an upgrade of Envoy says what has changed.
const (
	untimed = time.Hour   // a request that has an answer did not get it from the clock
	soon    = time.Second // how long a request waits where the clock must answer
)

// TestODCDSAnswers: a cluster, several, and that there is none, are all told to the request that waits.
func TestODCDSAnswers(t *testing.T) {
	o := newODCDS(t, untimed, "s58", "s59")
	address := backend(t, "hello")
	var first, again []time.Duration
	for i := range 50 {
		name := fmt.Sprintf("s%d", i)
		o.service(name, name, address)
		for _, took := range []*[]time.Duration{&first, &again} {
			begin := time.Now()
			if got := o.answer(name); got != "200 hello" {
				t.Fatalf("%s: %s", name, got)
			}
			*took = append(*took, time.Since(begin))
		}
	}
	slices.Sort(first)
	slices.Sort(again)
	t.Logf("first request to a cluster: p50 %v, worst %v; the next: p50 %v", first[25], first[49], again[25])
	if got := o.answer("s57"); got != "503 " {
		t.Errorf("a cluster that is answered to be missing: %q, want 503 at once: the answer did not reach the request", got)
	}
	o.service("s58", "s58", address)
	if got := o.speak("tcp-s58"); !strings.HasSuffix(got, "hello") {
		t.Errorf("tcp_proxy: %q", got)
	}
	if got := o.speak("tcp-s59"); strings.Contains(got, "hello") {
		t.Errorf("tcp_proxy without a cluster: %q", got)
	}
}

// TestODCDSMissingIsCached: a name that was missing once is never asked for again, and later requests wait out their time;
// only a server that keeps the name in mind and sends the cluster when there is one heals it. So does one that is removed.
func TestODCDSMissingIsCached(t *testing.T) {
	o := newODCDS(t, soon)
	if got := o.answer("s1"); got != "503 " || o.timedOut("s1") {
		t.Fatalf("first request: %q, by the clock: %v", got, o.timedOut("s1"))
	}
	if got := o.answer("s1"); got != "503 " || !o.timedOut("s1") || o.count("Cluster s1") != 1 {
		t.Errorf("second request: %q, by the clock: %v, asked %d times; Envoy asks again now: a missing name may cost nothing any more",
			got, o.timedOut("s1"), o.count("Cluster s1"))
	}
	o.service("s1", "s1", backend(t, "one"))
	until(t, "the cluster that came later is used", func() error { return o.says("s1", "200 one") })
	o.remove(xds.ClusterType, "s1")
	until(t, "Envoy lets the endpoints go", func() error {
		if o.count("ClusterLoadAssignment -s1") == 0 {
			return errors.New("still subscribed")
		}
		return nil
	})
	if got := o.answer("s1"); got != "503 " {
		t.Errorf("after its removal: %q", got)
	}
	o.service("s1", "s1", backend(t, "again"))
	until(t, "the cluster that came back is used", func() error { return o.says("s1", "200 again") })
	if n := o.count("Cluster s1"); n != 1 {
		t.Errorf("asked for %d times, once was what Envoy 1.40 did", n)
	}
}

// TestODCDSOneStalledClusterBlocksAll: a cluster whose endpoints do not come keeps every other name from being asked for.
// Here they do not come because another cluster has subscribed to the same name already: Envoy does not ask again.
func TestODCDSOneStalledClusterBlocksAll(t *testing.T) {
	o := newODCDS(t, soon)
	address := backend(t, "hello")
	o.service("s1", "shared", address)
	if got := o.answer("s1"); got != "200 hello" {
		t.Fatal(got)
	}
	o.service("s2", "shared", address) // sends the endpoints, which no request of the second cluster will fetch
	if got := o.answer("s2"); got != "503 " || !o.timedOut("s2") || o.count("ClusterLoadAssignment shared") != 1 {
		t.Errorf("second cluster of an EDS name: %q, by the clock: %v; Envoy no longer stalls: names of endpoints may be shared", got, o.timedOut("s2"))
	}
	o.service("s3", "s3", address)
	if got := o.answer("s3"); got != "503 " || o.count("Cluster s3") != 0 {
		t.Errorf("another cluster meanwhile: %q, asked for %d times; warming no longer pauses discovery: reconsider on-demand CDS", got, o.count("Cluster s3"))
	}
	o.service("s2", "shared", address) // sends the endpoints again
	for _, name := range []string{"s2", "s3"} {
		until(t, "all goes on", func() error { return o.says(name, "200 hello") })
	}
}

// TestODCDSReconnect: on a new stream Envoy names all that it once asked for, what was missing too, and the whole.
func TestODCDSReconnect(t *testing.T) {
	o := newODCDS(t, untimed)
	address := backend(t, "hello")
	o.service("s1", "s1", address)
	if got := o.answer("s1") + o.answer("s2"); got != "200 hello503 " {
		t.Fatal(got)
	}
	o.service("s3", "s3", address)
	o.reconnect()
	for _, name := range []string{"s1", "s3"} {
		if got := o.answer(name); got != "200 hello" {
			t.Errorf("%s: %q", name, got)
		}
	}
	for _, what := range []string{"*", "s1", "s2"} {
		if n := o.count("Cluster " + what); n != 1 {
			t.Errorf("a new stream asks for cluster %q %d times, want once", what, n)
		}
	}
}
