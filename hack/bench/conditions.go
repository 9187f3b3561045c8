package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"fairlead.io/fairlead/integration/kube"
)

// conditions gathers what the figures depend on; what cannot be found out is said so.
func conditions(o options, istiod string) Conditions {
	c := Conditions{
		Date: time.Now().UTC().Format(time.DateOnly), CPU: "unknown CPU", Kernel: "unknown kernel", Go: runtime.Version(), Cores: runtime.NumCPU(),
		Fairlead: "unknown", Istiod: istiod, Kubernetes: kube.KubernetesVersion, Services: o.size, Clients: o.clients, Changes: o.changes, Runs: o.runs,
		Flags: strings.Join(os.Args[1:], " "), Profiled: o.profile != "",
	}
	if data, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(data)) {
			if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
				c.CPU = strings.TrimSpace(value)
				break
			}
		}
	}
	if data, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		c.Kernel = "Linux " + strings.TrimSpace(string(data))
	}
	if out, err := exec.Command("git", "describe", "--tags", "--always", "--dirty").Output(); err == nil {
		c.Fairlead = strings.TrimSpace(string(out))
	}
	return c
}

func (c Conditions) String() string {
	s := fmt.Sprintf("%s; %d cores of %s, %s, %s; Fairlead %s, istiod %s, kube-apiserver %s. %d services of %d endpoints, %d VirtualServices, "+
		"%d HTTPRoutes, %d delta streams; %d runs of up to %d changes a kind, medians of the runs. API server, server and clients share the cores.",
		c.Date, c.Cores, c.CPU, c.Kernel, c.Go, c.Fairlead, c.Istiod, c.Kubernetes, c.Services, perService, max(1, c.Services/10), max(1, c.Services/5),
		c.Clients, c.Runs, c.Changes)
	if c.Profiled {
		s += " Profiles were taken: figures of Fairlead are worse for it."
	}
	return s
}
