package main

import (
	"context"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"fairlead.io/fairlead/pkg/admin"
)

// kindsInOrder are the sub-commands of proxy-config.
func kindsInOrder() []string { return slices.Sorted(maps.Keys(admin.Kinds)) }

func proxyConfigCommand() *cobra.Command {
	var example []string
	for _, kind := range kindsInOrder() {
		example = append(example, "  fairlead proxy-config "+kind+" node-a")
	}
	cmd := &cobra.Command{
		Use:     "proxy-config",
		Aliases: []string{"pc"},
		Short:   "Show what an Envoy has, as the server knows it; private keys are left out",
		Example: strings.Join(example, "\n") + "\n  fairlead proxy-config routes node-a -o yaml",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, kind := range kindsInOrder() {
		cmd.AddCommand(kindCommand(kind))
	}
	return cmd
}

func kindCommand(kind string) *cobra.Command {
	var out output
	var name string
	cmd := &cobra.Command{
		Use:   kind + " NODE",
		Short: "Show the " + kind + " of an Envoy",
		Example: "  fairlead proxy-config " + kind + " node-a\n" +
			"  fairlead proxy-config " + kind + " node-a --name reviews -o json",
		Args: cobra.ExactArgs(1),
	}
	address := serverFlag(cmd)
	out.add(cmd)
	cmd.Flags().StringVar(&name, "name", "", "only those whose name contains this")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		answer, err := configOf(cmd.Context(), *address, args[0], kind, name)
		if err != nil {
			return err
		}
		return out.print(cmd.OutOrStdout(), answer, func(w io.Writer) error { return configTable(w, answer) })
	}
	return cmd
}

func configOf(ctx context.Context, address, node, kind, name string) (admin.NodeConfig, error) {
	client, err := dial(address)
	if err != nil {
		return admin.NodeConfig{}, err
	}
	answer, err := client.Config(ctx, node, kind)
	if err != nil {
		return admin.NodeConfig{}, err
	}
	answer.Resources = slices.DeleteFunc(answer.Resources, func(s admin.Served) bool { return !strings.Contains(s.Name, name) })
	return answer, nil
}
