package cni

import (
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

// TestMain is the plugin when it is called by its name, as main of the agent is.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == PluginName {
		Main("test")
		return
	}
	goleak.VerifyTestMain(m)
}
