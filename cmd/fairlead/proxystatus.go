package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fairlead.io/fairlead/pkg/barrier"
	"fairlead.io/fairlead/pkg/push"
)

func proxyStatusCommand() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:   "proxy-status [NODE]",
		Short: "Show the connected Envoys: what they have, and whether they took it",
		Long: "One line a node and type. SYNCED: all is acknowledged. SENT: an answer is awaited. STALE: there is more to tell.\n" +
			"REJECTED: Envoy refused something; its words follow, and `fairlead check` or the objects' status say whose it is.\n" +
			"ABSENT are nodes that are connected to no replica, or not up to date again: nobody waits for their acknowledgement.",
		Example: "  fairlead proxy-status\n" +
			"  fairlead proxy-status node-a --server unix:/run/fairlead/admin.sock -o json",
		Args: cobra.MaximumNArgs(1),
	}
	address := serverFlag(cmd)
	out.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := dial(*address)
		if err != nil {
			return err
		}
		answer, err := client.Clients(cmd.Context())
		if err != nil {
			return err
		}
		list, absent := []push.ClientInfo{}, answer.Absent
		for _, c := range answer.Clients {
			if len(args) == 0 || c.Node.ID == args[0] {
				list = append(list, c)
			}
		}
		if len(args) > 0 {
			absent = slices.DeleteFunc(absent, func(a barrier.Absent) bool { return a.Node != args[0] })
		}
		if len(args) > 0 && len(list)+len(absent) == 0 {
			return fmt.Errorf("node %s is not connected; run `fairlead proxy-status` to see who is", args[0])
		}
		return out.print(cmd.OutOrStdout(), list, func(w io.Writer) error { return clientTable(w, list, absent, time.Now()) })
	}
	return cmd
}

// clientTable prints one row a client and type, and below it what the clients refuse, and who is missing.
func clientTable(w io.Writer, list []push.ClientInfo, absent []barrier.Absent, now time.Time) error {
	if len(list) == 0 && len(absent) > 0 {
		return absentTable(w, absent, now)
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "no Envoy is connected to this replica; start one whose bootstrap names this server (fairlead demo --keep shows how)")
		return err
	}
	var rows [][]string
	var nacks []string
	for _, c := range list {
		for i, t := range c.Types {
			row := []string{"", "", "", push.ShortType(t.Type), state(t), strconv.Itoa(t.Resources), strconv.Itoa(t.Pending), strconv.FormatUint(t.Nacks, 10)}
			if i == 0 {
				row[0], row[1], row[2] = c.Node.ID, c.Version, age(now.Sub(c.Connected))
			}
			rows = append(rows, row)
			if t.Quarantined > 0 || state(t) == "REJECTED" {
				nacks = append(nacks, fmt.Sprintf("%s %s: %s", c.Node.ID, push.ShortType(t.Type), strings.ReplaceAll(t.LastNack, "\n", " ")))
			}
		}
		if len(c.Types) == 0 {
			rows = append(rows, []string{c.Node.ID, c.Version, age(now.Sub(c.Connected)), "-", "WAITING", "0", "0", "0"})
		}
	}
	if err := columns(w, []string{"NODE", "ENVOY", "AGE", "TYPE", "STATE", "RESOURCES", "PENDING", "NACKS"}, rows); err != nil {
		return err
	}
	if len(nacks) > 0 {
		fmt.Fprintf(w, "\nrejected:\n  %s\n", strings.Join(nacks, "\n  "))
	}
	if len(absent) > 0 {
		fmt.Fprintln(w)
		return absentTable(w, absent, now)
	}
	return nil
}

// absentTable prints the nodes that no answer is waited for.
func absentTable(w io.Writer, absent []barrier.Absent, now time.Time) error {
	rows := make([][]string, len(absent))
	for i, a := range absent {
		rows[i] = []string{a.Node, age(now.Sub(a.Since)), a.Reason}
	}
	return columns(w, []string{"ABSENT", "SINCE", "WHY"}, rows)
}

func state(t push.TypeInfo) string {
	switch {
	case t.Quarantined > 0:
		return "REJECTED"
	case t.InFlight:
		return "SENT"
	case t.Pending > 0 || t.Gated > 0:
		return "STALE"
	}
	return "SYNCED"
}

// age is a duration in its largest two units.
func age(d time.Duration) string {
	switch d = d.Round(time.Second); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
}
