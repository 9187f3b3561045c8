package flows

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairlead.io/fairlead/api/observe/flow"
	"fairlead.io/fairlead/api/observe/observer"
	"fairlead.io/fairlead/pkg/node/datapath"
	"fairlead.io/fairlead/pkg/observe/filter"
	"fairlead.io/fairlead/pkg/verdict"
)

func at(minute int) *timestamppb.Timestamp {
	return timestamppb.New(start.Add(time.Duration(minute) * time.Minute))
}

// TestQuery asks a ring of ten flows, one a minute, each from a port that is the minute; those of even minutes are denied.
func TestQuery(t *testing.T) {
	dropped := []*flow.FlowFilter{{Verdict: []flow.Verdict{flow.Verdict_DROPPED}}}
	for name, c := range map[string]struct {
		capacity int
		req      *observer.GetFlowsRequest
		want     []int
	}{
		"all":              {20, &observer.GetFlowsRequest{}, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
		"a small ring":     {3, &observer.GetFlowsRequest{}, []int{7, 8, 9}},
		"last":             {20, &observer.GetFlowsRequest{Number: 3}, []int{7, 8, 9}},
		"more than are":    {20, &observer.GetFlowsRequest{Number: 99, Whitelist: dropped}, []int{0, 2, 4, 6, 8}},
		"first":            {20, &observer.GetFlowsRequest{Number: 2, First: true}, []int{0, 1}},
		"last denied":      {20, &observer.GetFlowsRequest{Number: 2, Whitelist: dropped}, []int{6, 8}},
		"first denied":     {20, &observer.GetFlowsRequest{Number: 2, First: true, Whitelist: dropped}, []int{0, 2}},
		"not denied":       {20, &observer.GetFlowsRequest{Blacklist: dropped}, []int{1, 3, 5, 7, 9}},
		"since":            {20, &observer.GetFlowsRequest{Since: at(8)}, []int{8, 9}},
		"until":            {20, &observer.GetFlowsRequest{Until: at(1)}, []int{0, 1}},
		"between":          {20, &observer.GetFlowsRequest{Since: at(3), Until: at(6), Whitelist: dropped}, []int{4, 6}},
		"last until":       {20, &observer.GetFlowsRequest{Number: 1, Until: at(5)}, []int{5}},
		"none":             {20, &observer.GetFlowsRequest{Since: at(30)}, nil},
		"of another node":  {20, &observer.GetFlowsRequest{Whitelist: []*flow.FlowFilter{{NodeName: []string{"node-b"}}}}, nil},
		"of this, by name": {20, &observer.GetFlowsRequest{Number: 1, Whitelist: []*flow.FlowFilter{{NodeName: []string{"node-a"}}}}, []int{9}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, c.capacity)
			for i := range 10 {
				e := allowed(time.Duration(i)*time.Minute, uint16(i))
				if i%2 == 0 {
					e = syn(e.Since)
					e.SourcePort = uint16(i)
				}
				r.record(e)
			}
			if got := sourcePorts(r.get(c.req)); !slices.Equal(got, c.want) {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

func TestRefusedQueries(t *testing.T) {
	r := newRig(t, 8)
	for name, req := range map[string]*observer.GetFlowsRequest{
		"first and follow": {First: true, Follow: true},
		"a filter":         {Whitelist: []*flow.FlowFilter{{HttpMethod: []string{"GET"}}}},
		"a time":           {Since: &timestamppb.Timestamp{Nanos: -1}},
	} {
		err := r.Observe(t.Context(), req, &filter.Scope{All: true}, func(*observer.GetFlowsResponse) error { return nil })
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestScope: an observer of a namespace sees no others, and cannot find out by a filter what is hidden.
func TestScope(t *testing.T) {
	r := newRig(t, 8)
	r.record(syn(0))
	see := func(scope *filter.Scope, white ...*flow.FlowFilter) (out []*flow.Flow) {
		if err := r.Observe(t.Context(), &observer.GetFlowsRequest{Whitelist: white}, scope, func(m *observer.GetFlowsResponse) error {
			out = append(out, m.GetFlow())
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return out
	}
	web := &filter.Scope{Namespaces: []string{"web"}}
	if got := see(web); len(got) != 1 || got[0].GetDestination().GetPodName() != "" || got[0].GetSource().GetPodName() != "client-1" || len(got[0].GetIngressDeniedBy()) != 0 {
		t.Errorf("seen from web: %v", got)
	}
	if got := see(&filter.Scope{Namespaces: []string{"bank"}}); len(got) != 0 {
		t.Errorf("seen from bank: %v", got)
	}
	if got := see(&filter.Scope{}); len(got) != 0 {
		t.Errorf("seen from nowhere: %v", got)
	}
	guess := &flow.FlowFilter{DestinationLabel: []string{"app=db"}}
	if got := see(web, guess); len(got) != 0 {
		t.Errorf("a filter finds what is hidden: %v", got)
	}
	if got := see(&filter.Scope{Namespaces: []string{"shop"}}, guess); len(got) != 1 {
		t.Errorf("not seen from shop: %v", got)
	}
}

func TestMask(t *testing.T) {
	r := newRig(t, 8)
	r.record(syn(0))
	got := r.get(&observer.GetFlowsRequest{FieldMask: &fieldmaskpb.FieldMask{Paths: []string{"source.pod_name", "verdict", "l7.http", "IP", "IP.source", "source.labels.x"}}})[0].GetFlow()
	text := fmt.Sprint(got)
	for _, w := range []string{"client-1", "DROPPED", "10.2.0.7", "k8s:app=client"} {
		if !strings.Contains(text, w) {
			t.Errorf("without %s: %s", w, text)
		}
	}
	for _, w := range []string{"db-0", "node-a", "SYN", "namespace:"} {
		if strings.Contains(text, w) {
			t.Errorf("with %s: %s", w, text)
		}
	}
	if r.get(&observer.GetFlowsRequest{})[0].GetFlow().GetNodeName() != "node-a" {
		t.Error("a mask has changed what is kept")
	}
}

// TestFollow has an observer get what comes, in order and once, be told what it missed, and end with its time.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 4)
		r.record(allowed(0, 1), allowed(0, 2))
		got := make(chan *observer.GetFlowsResponse)
		ended := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			ended <- r.Observe(ctx, &observer.GetFlowsRequest{Follow: true, Number: 1}, &filter.Scope{All: true}, func(m *observer.GetFlowsResponse) error {
				got <- m
				return nil
			})
		}()
		next := func(n int) (out []*observer.GetFlowsResponse) {
			for range n {
				out = append(out, <-got)
			}
			synctest.Wait()
			return out
		}
		if p := sourcePorts(next(1)); !slices.Equal(p, []int{2}) {
			t.Errorf("before: %v", p)
		}
		r.record(allowed(0, 3))
		if p := sourcePorts(next(1)); !slices.Equal(p, []int{3}) {
			t.Errorf("then: %v", p)
		}
		synctest.Wait()
		r.record(allowed(0, 4)) // is read, and waits to be sent
		synctest.Wait()
		for i := range 6 {
			r.record(allowed(0, uint16(5+i)))
		}
		if p := sourcePorts(next(6)); !slices.Equal(p, []int{4, -2, 7, 8, 9, 10}) {
			t.Errorf("slowly: %v", p)
		}
		if n := testutil.ToFloat64(r.metrics.lost.WithLabelValues("observer")); n != 2 {
			t.Errorf("%v lost", n)
		}
		cancel()
		if err := <-ended; status.Code(err) != codes.Canceled {
			t.Errorf("ended with %v", err)
		}

		go func() {
			ended <- r.Observe(t.Context(), &observer.GetFlowsRequest{Follow: true, Until: at(10)}, &filter.Scope{All: true}, func(*observer.GetFlowsResponse) error {
				return errors.New("gone")
			})
		}()
		synctest.Wait()
		r.record(allowed(11*time.Minute, 1))
		if err := <-ended; err != nil {
			t.Errorf("after its time it ended with %v", err)
		}
	})
}

// TestRun reads events and lost events until it is ended.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 8)
		r.counters.lose(5) // before
		s, ended := newStream(), make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { ended <- r.Run(ctx, s) }()
		s.events <- allowed(0, 1)
		synctest.Wait()
		r.counters.lose(7)
		time.Sleep(2 * lostEvery)
		synctest.Wait()
		s.events <- syn(0)
		synctest.Wait()
		if p := sourcePorts(r.get(&observer.GetFlowsRequest{})); !slices.Equal(p, []int{1, -7, 40000}) {
			t.Errorf("%v", p)
		}
		if p := sourcePorts(r.get(&observer.GetFlowsRequest{Number: 2})); !slices.Equal(p, []int{1, -7, 40000}) {
			t.Errorf("the last two, and what was lost between: %v", p)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestMetrics: events are counted as they come, drops as the kernel counts them, and what a Set has counted stays.
func TestMetrics(t *testing.T) {
	r := newRig(t, 8)
	r.record(syn(0), syn(0), allowed(0, 1))
	key := datapath.DropKey{Direction: verdict.Ingress, Set: 9, Reason: datapath.PolicyDenied}
	other := key
	other.Set, other.Peer = 8, 3
	audited := key
	audited.Audited = true
	r.counters.drops = []datapath.Drop{{DropKey: key, Packets: 1000, Bytes: 60000}, {DropKey: other, Packets: 1, Bytes: 40}, {DropKey: audited, Packets: 2, Bytes: 80}}
	want := `
# HELP fairlead_node_drops_total Packets that policy has dropped (verdict dropped), or would have if it were not in audit mode (audit), by reason and direction. Exact.
# TYPE fairlead_node_drops_total counter
fairlead_node_drops_total{direction="ingress",reason="POLICY_DENIED",verdict="audit"} 2
fairlead_node_drops_total{direction="ingress",reason="POLICY_DENIED",verdict="dropped"} 1001
`
	for range 2 {
		if err := testutil.GatherAndCompare(r.registry, strings.NewReader(want), "fairlead_node_drops_total"); err != nil {
			t.Error(err)
		}
		if err := r.ForgetDrops(9); err != nil {
			t.Error(err)
		}
	}
	if len(r.counters.drops) != 1 {
		t.Errorf("kept: %v", r.counters.drops)
	}
	if n := testutil.ToFloat64(r.metrics.flows.WithLabelValues("dropped", "denied", "ingress", "tcp")); n != 2 {
		t.Errorf("%v denied", n)
	}
	if d := cmp.Diff([]string{"shop", "web"}, r.Namespaces()); d != "" {
		t.Error(d)
	}
	s := r.Status()
	if s.GetNumFlows() != 3 || s.GetMaxFlows() != 8 || s.GetSeenFlows() != 3 || s.GetVersion() != "fairlead v1.2.3" {
		t.Errorf("%v", s)
	}
}
