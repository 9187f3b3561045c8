package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"fairlead.io/fairlead/pkg/admin"
	"fairlead.io/fairlead/pkg/server"
)

// defaultAdmin is the admin address of a server that nobody told otherwise.
const defaultAdmin = "127.0.0.1:15014"

// serverFlag is where a command finds the running server.
func serverFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("server", defaultAdmin, "admin address of the server: host:port or unix:/path")
}

// dial checks an admin address and gives its client.
func dial(address string) (*admin.Client, error) {
	if _, err := server.ParseAddress(address); err != nil {
		return nil, fmt.Errorf("--server: %w", err)
	}
	return admin.NewClient(address), nil
}
