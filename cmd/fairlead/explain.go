package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"fairlead.io/fairlead/pkg/explain"
	"fairlead.io/fairlead/pkg/server"
	"fairlead.io/fairlead/pkg/source/files"
	"fairlead.io/fairlead/pkg/source/schema"
	"fairlead.io/fairlead/pkg/table"
)

func explainCommand(env environment) *cobra.Command {
	var out output
	var from, to, protocol string
	var paths []string
	var mesh meshFlags
	cmd := &cobra.Command{
		Use:   "explain --from END --to END:PORT",
		Short: "Say whether policy lets a connection through, and by which rule",
		Long: "Asks the policies of both ends rule by rule, as they are sent to the nodes: what the source may send, and what the\n" +
			"destination may receive. Where no rule matches it lists those that were tried, and the policies that isolate the pod.\n" +
			"An END is pod/NAMESPACE/NAME, node/NAME or an address. For icmp the port is the type, an echo request without one.\n\n" +
			"With -f no server is asked: the policies, pods, namespaces and nodes of files count, such as those of\n" +
			"`kubectl get pods,namespaces,nodes,networkpolicies -A -o yaml`.",
		Example: "  fairlead explain --from pod/web/client-1 --to pod/shop/db-0:5432\n" +
			"  fairlead explain --from pod/web/client-1 --to 10.0.0.53:53 --protocol udp -o json\n" +
			"  kubectl get pods,ns,netpol -A -o yaml | fairlead explain -f - --from pod/web/client-1 --to pod/shop/db-0:5432",
		Args: cobra.NoArgs,
	}
	address := serverFlag(cmd)
	out.add(cmd)
	f := cmd.Flags()
	f.StringVar(&from, "from", "", "who begins (required)")
	f.StringVar(&to, "to", "", "who is called, with the port (required)")
	f.StringVar(&protocol, "protocol", "tcp", "tcp, udp, sctp, icmp, icmpv6, or a number")
	f.StringArrayVarP(&paths, "filename", "f", nil, "file, folder or - for stdin, instead of a server; may be repeated")
	mesh.add(cmd)
	_, _ = cmd.MarkFlagRequired("from"), cmd.MarkFlagRequired("to") // there are such flags
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var a *explain.Answer
		var err error
		if len(paths) > 0 {
			a, err = explainFiles(env, &mesh, paths, from, to, protocol)
		} else {
			a, err = explainLive(cmd.Context(), *address, from, to, protocol)
		}
		if err != nil {
			return err
		}
		return out.print(env.out, a, func(w io.Writer) error { return explainText(w, a) })
	}
	return cmd
}

func explainLive(ctx context.Context, address, from, to, protocol string) (*explain.Answer, error) {
	if _, err := explain.ParseQuery(from, to, protocol); err != nil {
		return nil, err
	}
	client, err := dial(address)
	if err != nil {
		return nil, err
	}
	a, err := client.Explain(ctx, from, to, protocol)
	if err != nil {
		return nil, err
	}
	return &a, nil
}

// explainFiles runs the whole line over files once.
func explainFiles(env environment, mesh *meshFlags, paths []string, from, to, protocol string) (*explain.Answer, error) {
	q, err := explain.ParseQuery(from, to, protocol)
	if err != nil {
		return nil, err
	}
	cfg, err := mesh.config(true)
	if err != nil {
		return nil, err
	}
	read := files.Load(files.Config{Schemas: schema.New()}, env.in, paths...)
	for _, p := range read.Problems {
		return nil, fmt.Errorf("%s: %s; an answer without it could be wrong", p.File, p.Message)
	}
	flow := server.NewFlow(cfg, table.Options{})
	flow.Engine.Apply(flow.Resolved.Inputs.Batch(read.Updates, 1))
	latest := flow.Source.Latest()
	if latest == nil {
		return nil, errors.New("the files hold nothing that policy is made of")
	}
	return explain.Explain(latest, q)
}

// explainText prints the answer, and for each side and family the reason.
func explainText(w io.Writer, a *explain.Answer) error {
	port := fmt.Sprintf("%s/%d", a.Protocol, a.Port)
	if strings.HasPrefix(a.Protocol, "icmp") {
		port = fmt.Sprintf("%s type %d code %d", a.Protocol, a.Port>>8, a.Port&0xff)
	}
	fmt.Fprintf(w, "%s: %s -> %s %s\n", a.Verdict, endText(&a.From), endText(&a.To), port)
	if a.Note != "" {
		fmt.Fprintf(w, "note: %s\n", a.Note)
	}
	for _, s := range a.Sides {
		fmt.Fprintf(w, "\n%s of %s:\n", s.Direction, s.Of)
		for i := range s.Families {
			familyText(w, &s.Families[i])
		}
	}
	if len(a.Sides) == 0 && a.Note == "" {
		fmt.Fprintln(w, "neither end is a pod or a node that policies select")
	}
	return nil
}

func endText(e *explain.End) string {
	if e.Address.IsValid() && e.Name != e.Address.String() {
		return fmt.Sprintf("%s (%s)", e.Name, e.Address)
	}
	return e.Name
}

func familyText(w io.Writer, f *explain.Family) {
	verdict := "denied"
	if f.Allowed {
		verdict = "allowed"
	}
	var by []string
	for _, o := range f.By {
		by = append(by, o.String())
	}
	why := map[string]string{
		"no policy": "no policy is against it", "unknown": "the policies of this identity are not known yet, so everything is denied",
		"isolation": "isolated by " + strings.Join(by, ", ") + ", and no rule allows it",
	}[f.Because]
	if f.Because == "rule" {
		why = fmt.Sprintf("%s (%s, %s)", strings.Join(by, ", "), f.By[0].Action, f.By[0].Tier)
	}
	fmt.Fprintf(w, "  %s: %s: %s\n", f.Family, verdict, why)
	for _, o := range f.NoMatch {
		fmt.Fprintf(w, "    does not match: %s (%s, %s)\n", o.String(), o.Action, o.Tier)
	}
}
