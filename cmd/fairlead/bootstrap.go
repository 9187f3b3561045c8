package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"fairlead.io/fairlead/pkg/bootstrap"
)

// bootstrapCommand prints what a node's Envoy is started with.
func bootstrapCommand() *cobra.Command {
	var c bootstrap.Config
	var tls bootstrap.TLS
	var output string
	cmd := &cobra.Command{
		Use:   "bootstrap NODE",
		Short: "Print the bootstrap of a node's Envoy",
		Long: "Prints the JSON that an Envoy " + bootstrap.EnvoyVersion + " is started with: who it is, and where its control plane is. Everything else comes by\n" +
			"delta ADS. Region and zone choose endpoints that are near, where a DestinationRule asks for it.\n\n" +
			"The Envoy connects by mTLS with the identity of its node, which it has from the node's agent (fairlead-node); with --xds-address\n" +
			"in plaintext, to a control plane on the same machine.",
		Example: "  fairlead bootstrap node-a --xds-address 127.0.0.1:15010 > node-a.json && envoy -c node-a.json\n" +
			"  fairlead bootstrap node-a --tls-address fairlead.fairlead-system.svc:15012 --region eu --zone eu-1",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c.NodeID = args[0]
			switch {
			case c.XDS != "" && cmd.Flags().Changed("tls-address"):
				return errors.New("--xds-address and --tls-address: use one of them")
			case c.XDS == "":
				c.TLS = &tls
			}
			data, err := bootstrap.Bootstrap(c)
			if err != nil {
				return err
			}
			if output != "" {
				if err := os.WriteFile(output, append(data, '\n'), 0o644); err != nil {
					return fmt.Errorf("write bootstrap: %w", err)
				}
				return nil
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), string(data))
			return err
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&c.XDS, "xds-address", "", "where the control plane serves delta ADS in plaintext: loopback IP:PORT or unix:/path")
	fs.StringVar(&tls.Address, "tls-address", "fairlead.fairlead-system.svc:15012", "TLS port of the control plane: HOST:PORT")
	fs.StringVar(&tls.SDS, "sds", "unix:/run/fairlead/sds/sds.sock", "socket where the node's agent serves SDS")
	fs.StringVar(&tls.ServerID, "server-id", "spiffe://cluster.local/ns/fairlead-system/sa/fairlead", "SPIFFE ID that the control plane must have")
	fs.StringVar(&output, "output", "", "file to write instead of the standard output")
	fs.StringVar(&c.Admin, "envoy-admin", "127.0.0.1:19000", "where this Envoy serves its own admin interface: loopback IP:PORT or unix:/path")
	fs.StringVar(&c.Region, "region", "", "region of the node")
	fs.StringVar(&c.Zone, "zone", "", "zone of the node")
	fs.StringVar(&c.SubZone, "sub-zone", "", "sub-zone of the node")
	return cmd
}
