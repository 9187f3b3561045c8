package datapath

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"testing"

	"github.com/cilium/ebpf"

	"fairlead.io/fairlead/bpf"
)

// complexity is how many instructions the verifier may look at for a program. Its limit is a million; other kernels count
// otherwise, so ours is far from it.
const complexity = 100_000

// TestComplexity has each program, and what it calls, be small for the verifier.
func TestComplexity(t *testing.T) {
	processed := regexp.MustCompile(`processed (\d+) insns`)
	names, err := bpf.LoadDatapath()
	must(t, err)
	for name := range names.Programs {
		spec, err := bpf.LoadDatapath()
		must(t, err)
		shape(spec, smallSizes)
		for _, m := range spec.Maps {
			m.Pinning = ebpf.PinNone
		}
		for other := range spec.Programs {
			if other != name {
				delete(spec.Programs, other)
			}
		}
		c, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Programs: ebpf.ProgramOptions{LogLevel: ebpf.LogLevelStats}})
		if err != nil {
			var v *ebpf.VerifierError
			if errors.As(err, &v) {
				err = fmt.Errorf("%+v", v)
			}
			t.Errorf("%s: %v", name, err)
			continue
		}
		found := processed.FindStringSubmatch(c.Programs[name].VerifierLog)
		if found == nil {
			t.Errorf("%s: the verifier does not say how much it has seen: %s", name, c.Programs[name].VerifierLog)
		} else if n, _ := strconv.Atoi(found[1]); n > complexity {
			t.Errorf("%s: the verifier looks at %d instructions", name, n)
		} else {
			t.Logf("%s: %d instructions", name, n)
		}
		c.Close()
	}
}
