package main

import (
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"

	"fairlead.io/fairlead/pkg/bootstrap"
)

// versions is what `fairlead version` prints.
type versions struct {
	Client string `json:"client"`
	Go     string `json:"go"`
	// Envoy is the one that this build is made for.
	Envoy  string `json:"envoy"`
	Server string `json:"server,omitempty"`
}

func versionCommand() *cobra.Command {
	var out output
	var server string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version of this binary and, with --server, of a running server",
		Example: "  fairlead version\n" +
			"  fairlead version --server 127.0.0.1:15014 -o json",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := versions{Client: version, Go: runtime.Version(), Envoy: bootstrap.EnvoyVersion}
			if server != "" {
				client, err := dial(server)
				if err != nil {
					return err
				}
				answer, err := client.Version(cmd.Context())
				if err != nil {
					return err
				}
				v.Server = answer.Version
			}
			return out.print(cmd.OutOrStdout(), v, func(w io.Writer) error {
				fmt.Fprintf(w, "fairlead %s (%s, for Envoy %s)\n", v.Client, v.Go, v.Envoy)
				if v.Server != "" {
					fmt.Fprintf(w, "server   %s\n", v.Server)
				}
				return nil
			})
		},
	}
	out.add(cmd)
	cmd.Flags().StringVar(&server, "server", "", "admin address of a running server, to print its version too")
	return cmd
}
