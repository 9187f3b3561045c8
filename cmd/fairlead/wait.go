package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"fairlead.io/fairlead/pkg/barrier"
	"fairlead.io/fairlead/pkg/push"
)

// shortKinds are other names of kinds; any kind may be written in lower case, and with an s.
var shortKinds = map[string]string{
	"vs": "VirtualService", "dr": "DestinationRule", "se": "ServiceEntry", "we": "WorkloadEntry", "gw": "Gateway", "gc": "GatewayClass",
}

// waitFlags are the flags of wait, as written.
type waitFlags struct {
	namespace, generation, uid string
	timeout                    time.Duration
	out                        output
}

func waitCommand() *cobra.Command {
	var f waitFlags
	cmd := &cobra.Command{
		Use:   "wait KIND[.GROUP]/NAME",
		Short: "Wait until every node has acknowledged an object",
		Long: "Blocks until every Envoy, at whichever replica, has acknowledged what an object became, and says then of which generation\n" +
			"and by how many. Fails at once when an Envoy rejects it or when the object is not accepted, and after the timeout; the\n" +
			"answer names who is behind. Nodes that are gone for longer than the server waits for are named as absent.\n\n" +
			"KIND may be short: vs, dr, se, we, gw, gc. An object that does not exist is waited for. The latest generation is the\n" +
			"latest that the server has seen: after an edit, name the one that you have made.",
		Example: "  fairlead wait vs/reviews -n shop\n" +
			"  fairlead wait httproute/web -n shop --timeout 30s \\\n" +
			"    --generation $(kubectl get httproute web -n shop -o jsonpath={.metadata.generation})\n" +
			"  fairlead wait gw.networking.istio.io/edge -o json",
		Args: cobra.ExactArgs(1),
	}
	address := serverFlag(cmd)
	fs := cmd.Flags()
	fs.StringVarP(&f.namespace, "namespace", "n", "default", "namespace of the object; a GatewayClass has none")
	fs.StringVar(&f.generation, "generation", "latest", "metadata.generation that has to be acknowledged, or a later one: a number, or latest")
	fs.StringVar(&f.uid, "uid", "", "metadata.uid of the object: fail when another object has taken its name")
	fs.DurationVar(&f.timeout, "timeout", time.Minute, "how long to wait")
	f.out.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		q, err := f.query(args[0])
		if err != nil {
			return err
		}
		client, err := dial(*address)
		if err != nil {
			return err
		}
		line := newProgressLine(cmd.Context(), cmd.ErrOrStderr())
		a, err := client.Wait(cmd.Context(), q, f.timeout, line.say)
		line.end()
		switch {
		case cmd.Context().Err() != nil:
			return errors.New("interrupted")
		case err != nil:
			return err
		}
		if err := f.out.print(cmd.OutOrStdout(), a, func(w io.Writer) error { return waitText(w, a) }); err != nil {
			return err
		}
		if a.Outcome != barrier.Passed {
			return errSilent
		}
		return nil
	}
	return cmd
}

// query reads the argument and the flags.
func (f *waitFlags) query(object string) (q barrier.Query, err error) {
	kind, name, ok := strings.Cut(object, "/")
	if !ok || kind == "" || name == "" || strings.Contains(name, "/") {
		return q, fmt.Errorf("%q is not KIND/NAME; write for example vs/reviews, with its namespace as -n", object)
	}
	kind, group, _ := strings.Cut(kind, ".")
	q = barrier.Query{Group: group, Kind: longKind(kind), Namespace: f.namespace, Name: name, UID: f.uid}
	if q.Kind == "" {
		return q, fmt.Errorf("kind %q is not one that is sent to Envoys: use VirtualService (vs), DestinationRule (dr), ServiceEntry (se), "+
			"WorkloadEntry (we), Gateway (gw), GatewayClass (gc) or HTTPRoute", kind)
	}
	if q.Kind == "GatewayClass" || q.Kind == "TrustBundle" {
		q.Namespace = ""
	}
	if f.generation != "latest" {
		if q.Generation, err = strconv.ParseInt(f.generation, 10, 64); err != nil || q.Generation < 1 {
			return q, fmt.Errorf("--generation=%s: use a number from 1, or latest", f.generation)
		}
	}
	if f.timeout <= 0 {
		return q, fmt.Errorf("--timeout=%s: use a duration above 0, such as 60s", f.timeout)
	}
	return q, nil
}

// longKind gives the kind's own name; empty when it is none that has a status.
func longKind(kind string) string {
	kind = strings.ToLower(kind)
	if long := shortKinds[kind]; long != "" {
		return long
	}
	for _, long := range []string{"VirtualService", "DestinationRule", "ServiceEntry", "WorkloadEntry", "Gateway", "GatewayClass", "HTTPRoute", "TrustBundle"} {
		l := strings.ToLower(long)
		if kind == l || kind == l+"s" || kind == l+"es" || kind == strings.TrimSuffix(l, "y")+"ies" {
			return long
		}
	}
	return ""
}

// waitText prints how a wait has ended.
func waitText(w io.Writer, a barrier.Answer) error {
	switch a.Outcome {
	case barrier.Passed:
		fmt.Fprintf(w, "%s: %s\n", a.Object, a.Message)
	case barrier.TimedOut:
		fmt.Fprintf(w, "%s: timed out: %s\n", orNone(a.Object), a.Message)
	default:
		fmt.Fprintf(w, "%s: %s\n", orNone(a.Object), a.Message)
	}
	if len(a.Behind) > 0 && a.Outcome != barrier.Passed {
		more := ""
		if a.BehindMore > 0 {
			more = fmt.Sprintf(" and %d more", a.BehindMore)
		}
		fmt.Fprintf(w, "  behind: %s%s\n", strings.Join(a.Behind, ", "), more)
	}
	for i, r := range a.Rejected {
		if i > 0 { // the first is the message
			fmt.Fprintf(w, "  node %s rejected the %s %s: %s\n", r.Node, push.ShortType(r.Type), r.Resource, strings.TrimSpace(r.Message))
		}
	}
	for _, n := range a.Absent {
		fmt.Fprintf(w, "  absent: %s (%s, %s)\n", n.Node, n.Reason, age(time.Since(n.Since)))
	}
	for _, p := range a.Unreachable {
		fmt.Fprintf(w, "  no answer of the replica at %s: its nodes are not counted\n", p)
	}
	return nil
}

func orNone(object string) string {
	if object == "" {
		return "no object"
	}
	return object
}

// progressLine tells a person how a wait stands: after a moment, and then seldom.
type progressLine struct {
	w    io.Writer
	stop func()
	done sync.WaitGroup

	mu   sync.Mutex // guards what follows
	last string
}

// progressPause is the time between two lines.
const progressPause = time.Second

func newProgressLine(ctx context.Context, w io.Writer) *progressLine {
	ctx, stop := context.WithCancel(ctx)
	p := &progressLine{w: w, stop: stop}
	p.done.Go(func() {
		tick := time.NewTicker(progressPause)
		defer tick.Stop()
		said := ""
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			p.mu.Lock()
			line := p.last
			p.mu.Unlock()
			if line != said {
				fmt.Fprintln(p.w, line)
				said = line
			}
		}
	})
	return p
}

// say notes how it stands.
func (p *progressLine) say(a barrier.Answer) {
	line := "waiting: " + a.Message
	if n := len(a.Behind); n > 0 {
		line += "; behind: " + strings.Join(a.Behind[:min(n, 3)], ", ")
		if more := n + a.BehindMore - 3; more > 0 {
			line += fmt.Sprintf(" and %d more", more)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = line
}

// end says no more.
func (p *progressLine) end() {
	p.stop()
	p.done.Wait()
}
