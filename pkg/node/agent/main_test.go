package agent

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == asAgent {
		os.Exit(beAgent(os.Args[2]))
	}
	goleak.VerifyTestMain(m)
}
