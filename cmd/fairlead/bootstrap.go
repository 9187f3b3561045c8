package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"fairlead.io/fairlead/pkg/bootstrap"
)

// bootstrapCommand prints what a node's Envoy is started with.
func bootstrapCommand() *cobra.Command {
	var c bootstrap.Config
	cmd := &cobra.Command{
		Use:   "bootstrap NODE",
		Short: "Print the bootstrap of a node's Envoy",
		Long: "Prints the JSON that an Envoy " + bootstrap.EnvoyVersion + " is started with: who it is, and where its control plane is. Everything else comes by\n" +
			"delta ADS. Region and zone choose endpoints that are near, where a DestinationRule asks for it.",
		Example: "  fairlead bootstrap node-a > node-a.json && envoy -c node-a.json\n" +
			"  fairlead bootstrap node-a --region eu --zone eu-1 --xds-address unix:/run/fairlead/xds.sock",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c.NodeID = args[0]
			data, err := bootstrap.Bootstrap(c)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), string(data))
			return err
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&c.XDS, "xds-address", defaultXDS, "where the control plane serves delta ADS: loopback IP:PORT or unix:/path")
	fs.StringVar(&c.Admin, "envoy-admin", "127.0.0.1:19000", "where this Envoy serves its own admin interface: loopback IP:PORT or unix:/path")
	fs.StringVar(&c.Region, "region", "", "region of the node")
	fs.StringVar(&c.Zone, "zone", "", "zone of the node")
	fs.StringVar(&c.SubZone, "sub-zone", "", "sub-zone of the node")
	return cmd
}
