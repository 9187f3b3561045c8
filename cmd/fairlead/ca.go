package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fairlead.io/fairlead/pkg/admin"
	"fairlead.io/fairlead/pkg/ca/rotate"
)

func caCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ca",
		Short: "Show and replace the certificate authority of the mesh",
		Long: "An authority is replaced in stages. Distributing: the new one is trusted, the old one signs, and every node has to\n" +
			"acknowledge. Retiring: the new one signs, and the old one is trusted until its last certificate has ended.\n" +
			"A command may be given to any replica; a restart goes on where it was.",
		Example: "  fairlead ca status\n  fairlead ca rotate --wait",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(caStatusCommand(), caRotateCommand(), caPauseCommand(), caResumeCommand(), caAbortCommand())
	return cmd
}

func caStatusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show which authorities are trusted, which one signs, and who a rotation waits for",
		Example: "  fairlead ca status\n  fairlead ca status --server unix:/run/fairlead/admin.sock -o json",
		Args:    cobra.NoArgs,
	}
	return caAsk(cmd, func(ctx context.Context, c *admin.Client) (rotate.Status, error) { return c.CA(ctx) })
}

func caPauseCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "pause",
		Short:   "Keep a rotation in its stage",
		Example: "  fairlead ca pause",
		Args:    cobra.NoArgs,
	}
	return caAsk(cmd, func(ctx context.Context, c *admin.Client) (rotate.Status, error) {
		return c.CACommand(ctx, "pause", admin.CACommand{})
	})
}

func caResumeCommand() *cobra.Command {
	var without []string
	cmd := &cobra.Command{
		Use:   "resume",
		Short: "End a pause, or wait for some nodes no longer",
		Long: "A node that is not waited for, and does not trust the new authority, can talk to nobody whose certificate is of it,\n" +
			"this server included, until it is bootstrapped again.",
		Example: "  fairlead ca resume\n  fairlead ca resume --without node-b --without node-c",
		Args:    cobra.NoArgs,
	}
	withoutFlag(cmd, &without)
	return caAsk(cmd, func(ctx context.Context, c *admin.Client) (rotate.Status, error) {
		return c.CACommand(ctx, "resume", admin.CACommand{Without: without})
	})
}

func caAbortCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "abort",
		Short: "Go back to the old authority",
		Long: "While Distributing, the new authority is dropped at once: it has signed nothing. While Retiring, the old one signs again,\n" +
			"and the new one is dropped when its last certificate has ended.",
		Example: "  fairlead ca abort",
		Args:    cobra.NoArgs,
	}
	return caAsk(cmd, func(ctx context.Context, c *admin.Client) (rotate.Status, error) {
		return c.CACommand(ctx, "abort", admin.CACommand{})
	})
}

func withoutFlag(cmd *cobra.Command, without *[]string) {
	cmd.Flags().StringSliceVar(without, "without", nil, "a node that is not waited for; may be repeated")
}

// caAsk completes a command that asks once and prints how things stand.
func caAsk(cmd *cobra.Command, ask func(context.Context, *admin.Client) (rotate.Status, error)) *cobra.Command {
	var out output
	address := serverFlag(cmd)
	out.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := dial(*address)
		if err != nil {
			return err
		}
		s, err := ask(cmd.Context(), client)
		if err != nil {
			return err
		}
		return out.print(cmd.OutOrStdout(), s, func(w io.Writer) error { return caText(w, &s, time.Now()) })
	}
	return cmd
}

func caRotateCommand() *cobra.Command {
	var out output
	var without []string
	var wait bool
	var until string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Replace the authority: by what is mounted and does not sign yet, or by a new one",
		Long: "The new authority signs when every node and agent has acknowledged that it is trusted. With --wait this shows who is waited\n" +
			"for, until it signs (or, with --until=stable, until the old one is dropped, which takes the longest TTL).",
		Example: "  fairlead ca rotate --wait\n  fairlead ca rotate --without node-b",
		Args:    cobra.NoArgs,
	}
	address := serverFlag(cmd)
	out.add(cmd)
	withoutFlag(cmd, &without)
	cmd.Flags().BoolVar(&wait, "wait", false, "show progress until the new authority signs")
	cmd.Flags().StringVar(&until, "until", "signing", "with --wait: signing or stable")
	cmd.Flags().DurationVar(&timeout, "timeout", time.Hour, "with --wait: give up looking after this long; the rotation goes on")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if until != "signing" && until != "stable" {
			return fmt.Errorf("--until=%s: use signing or stable", until)
		}
		client, err := dial(*address)
		if err != nil {
			return err
		}
		s, err := client.CACommand(cmd.Context(), "rotate", admin.CACommand{Without: without})
		if err == nil && wait {
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			s, err = watchRotation(ctx, client, &s, until == "stable", cmd.ErrOrStderr())
		}
		if err != nil {
			return err
		}
		return out.print(cmd.OutOrStdout(), s, func(w io.Writer) error { return caText(w, &s, time.Now()) })
	}
	return cmd
}

// watchRotation tells how a rotation goes on until the new authority signs, or until the old one is dropped. A server that
// restarts meanwhile is waited for.
func watchRotation(ctx context.Context, client *admin.Client, first *rotate.Status, stable bool, w io.Writer) (rotate.Status, error) {
	s, said := *first, ""
	target := s.To
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		if line := progressOf(&s); line != said {
			fmt.Fprintln(w, line)
			said = line
		}
		switch {
		case s.Stage == "Stable" && s.Signing == target, s.Signing == target && !stable:
			return s, nil
		case s.Stage == "Stable" || s.Stage == "Withdrawing":
			return s, errors.New("the rotation was aborted")
		case s.Stage == "Distributing" && s.To != target:
			return s, errors.New("another rotation was begun")
		}
		select {
		case <-ctx.Done():
			return s, fmt.Errorf("stopped looking: %w; the rotation goes on: see `fairlead ca status`", ctx.Err())
		case <-tick.C:
		}
		next, err := client.CA(ctx)
		if err != nil && ctx.Err() == nil {
			s.Message = err.Error()
		}
		if err == nil {
			s = next
		}
	}
}

// progressOf is one line: the stage, and who is waited for.
func progressOf(s *rotate.Status) string {
	line := s.Stage + ": " + s.Message
	var names []string
	for i := range s.Waiting {
		names = append(names, s.Waiting[i].String())
	}
	if n := len(names); n > 0 {
		line += ": " + strings.Join(names[:min(n, 3)], "; ")
		if n > 3 {
			line += fmt.Sprintf("; and %d more", n-3)
		}
	}
	return line
}

// caText prints the stage, the authorities, and who is waited for.
func caText(w io.Writer, s *rotate.Status, now time.Time) error {
	fmt.Fprintf(w, "trust domain: %s\n", strings.Join(append([]string{s.TrustDomain}, s.Aliases...), ", "))
	stage := s.Stage
	if s.Paused {
		stage += " (paused)"
	}
	if s.Since != nil {
		stage += " for " + age(now.Sub(*s.Since))
	}
	fmt.Fprintf(w, "stage:        %s: %s\n", stage, s.Message)
	if s.Store != "" {
		fmt.Fprintf(w, "store:        failing, what was read last stays in use: %s\n", s.Store)
	}
	if len(s.Without) > 0 {
		fmt.Fprintf(w, "without:      %s\n", strings.Join(s.Without, ", "))
	}
	fmt.Fprintf(w, "bundle:       %d\n\n", s.Sequence)
	var rows [][]string
	for _, a := range s.Authorities {
		state := "trusted"
		if a.Signs {
			state = "signs"
		}
		if !a.Usable {
			state += ", key not here"
		}
		rows = append(rows, []string{a.ID, state, a.Source, strconv.Itoa(a.Roots), a.NotAfter.Format("2006-01-02"), a.Subject})
	}
	if err := columns(w, []string{"AUTHORITY", "STATE", "SOURCE", "ROOTS", "NOT AFTER", "SUBJECT"}, rows); err != nil || len(s.Waiting) == 0 {
		return err
	}
	fmt.Fprintln(w, "\nwaiting for:")
	for i := range s.Waiting {
		fmt.Fprintf(w, "  %s\n", s.Waiting[i].String())
	}
	return nil
}
