package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"fairlead.io/fairlead/pkg/node/agent"
)

func statusCommand() *cobra.Command {
	var admin, format string
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Print what the agent of this node holds; the exit code is 1 while it is not ready",
		Example: "  fairlead-node status\n  fairlead-node status --admin unix:/run/fairlead/admin.sock -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != "table" && format != "json" {
				return fmt.Errorf("--output=%s: use table or json", format)
			}
			s, err := agent.FetchStatus(cmd.Context(), admin)
			if err != nil {
				return err
			}
			if format == "json" {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				err = enc.Encode(s)
			} else {
				err = table(cmd.OutOrStdout(), s, time.Now())
			}
			if err != nil {
				return err
			}
			if s.NotReady != "" {
				return errNotReady
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&admin, "admin", defaultAdmin, "admin address of the agent: loopback IP:PORT or unix:/path")
	cmd.Flags().StringVarP(&format, "output", "o", "table", "how to print: table or json")
	return cmd
}

// errNotReady makes the exit code that of a probe; the reason is in the table.
var errNotReady = errors.New("the agent is not ready")

// table prints a status for people.
func table(w io.Writer, s *agent.Status, now time.Time) error {
	stream := "not connected: " + s.Control.Error
	if s.Control.Connected {
		stream = "connected to " + s.Control.Server + " for " + short(now.Sub(s.Control.Since))
	}
	fmt.Fprintf(w, "node %s, %s; %d workloads, %d trust bundles, %d SDS streams\n", s.Node, stream, s.Control.Workloads, s.Control.Bundles, s.Envoy)
	if s.NotReady != "" {
		fmt.Fprintln(w, "not ready:", s.NotReady)
	}
	if s.Control.Refused != "" {
		fmt.Fprintln(w, "refused what the control plane sent last:", s.Control.Refused)
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "IDENTITY\tPODS\tSTATE\tAGE\tENDS IN\tAUTHORITY\tLAST ERROR")
	for i := range s.Identities {
		id := &s.Identities[i]
		pods, age, left := strconv.Itoa(len(id.Pods)), "-", "-"
		if id.Node {
			pods = "(node)"
		}
		if !id.Ends.IsZero() {
			age, left = short(now.Sub(id.Issued)), short(id.Left)
		}
		authority := orDash(id.Authority)
		if id.Authority != "" && s.Signing != "" && id.Authority != s.Signing {
			authority += " (old)"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", id.ID, pods, id.State, age, left, authority, oneLine(orDash(id.Error)))
	}
	if err := t.Flush(); err != nil || s.Policy == nil {
		return err
	}
	return policyTable(w, s.Policy)
}

// policyTable prints what is enforced.
func policyTable(w io.Writer, p *agent.PolicyStatus) error {
	state := "enforced"
	switch {
	case !p.Enforcing:
		state = "not enforced yet"
	case p.Audit:
		state = "told and not enforced (audit)"
	}
	n := p.Counts
	fmt.Fprintf(w, "\npolicy is %s; %d peers, %d addresses, %d identities, %d peer sets, %d sets, %d rules\n", state, n.Peers, n.Addresses, n.Identities, n.PeerSets, n.Sets, n.Rules)
	if p.Problem != "" {
		fmt.Fprintln(w, "problem:", oneLine(p.Problem))
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "POD\tADDRESSES\tINTERFACE\tIDENTITY\tSET\tRULES\tSTATE\tWHY")
	for i := range p.Endpoints {
		e := &p.Endpoints[i]
		pod := e.Namespace + "/" + e.Name
		if e.Name == "" {
			pod = e.UID
		}
		var addresses []string
		for _, a := range e.Addresses {
			addresses = append(addresses, a.String())
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%s (%d)\t%d\t%d\t%s\t%s\n", pod, orDash(strings.Join(addresses, ",")), e.Interface, orDash(e.Identity), e.Number, e.Set, e.Rules, e.State, oneLine(orDash(e.Why)))
	}
	return t.Flush()
}

func oneLine(s string) string {
	return strings.NewReplacer("\t", " ", "\n", " ", "\r", " ").Replace(s)
}

func short(d time.Duration) string { return d.Round(time.Second).String() }

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
