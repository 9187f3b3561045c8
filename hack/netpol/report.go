package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
)

// Case is one of a suite.
type Case struct {
	Name    string  `json:"name"`
	Passed  bool    `json:"passed"`
	Skipped bool    `json:"skipped,omitempty"`
	Seconds float64 `json:"seconds"`
}

func (c Case) outcome() string {
	switch {
	case c.Skipped:
		return "skipped"
	case c.Passed:
		return "passed"
	}
	return "FAILED"
}

// result is what a suite has said of one combination.
type result struct {
	Suite    string `json:"suite"`
	Version  string `json:"version"`
	CNI      string `json:"cni"`
	Proxy    string `json:"proxy"`
	Checkout string `json:"checkout,omitempty"`
	Fairlead bool   `json:"fairlead"`
	Total    int    `json:"total"`
	Seconds  int    `json:"seconds"`
	Cases    []Case `json:"cases"`

	exit error
	log  string
}

func (r result) passed() (n int) {
	for _, c := range r.Cases {
		if c.Passed {
			n++
		}
	}
	return n
}

// err is nil when all cases have run and passed. A suite's exit code is not enough: cyclonus' is always 0.
func (r result) err() error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("%s with %s and %s: %s; see %s", r.Suite, r.CNI, r.Proxy, fmt.Sprintf(format, args...), r.log)
	}
	switch {
	case len(r.Cases) == 0:
		return fail("no case has run (%v)", r.exit)
	case len(r.Cases) != r.Total:
		return fail("%d cases of %d have run (%v)", len(r.Cases), r.Total, r.exit)
	case r.passed() != r.Total:
		return fail("%d cases of %d have passed", r.passed(), r.Total)
	case r.exit != nil:
		return fail("%v", r.exit)
	}
	return nil
}

func table(results []result) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "suite\tnetwork\tkube-proxy\tpassed\tof\tminutes")
	for _, r := range results {
		fmt.Fprintf(w, "%s %s\t%s\t%s\t%d\t%d\t%.1f\n", r.Suite, r.Version, r.CNI, r.Proxy, r.passed(), r.Total, float64(r.Seconds)/60)
	}
	_ = w.Flush() // a Builder has no errors
	for _, r := range results {
		for _, c := range r.Cases {
			if !c.Passed {
				fmt.Fprintf(&b, "%s, %s, %s: %s: %s\n", r.Suite, r.CNI, r.Proxy, c.outcome(), c.Name)
			}
		}
	}
	return b.String()
}

// write puts a result into a folder, with the suite's own report if there is one, and makes the folder's README anew.
func (r result) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	name := filepath.Join(dir, fmt.Sprintf("%s-%s-%s", r.Suite, r.CNI, r.Proxy))
	if err := os.WriteFile(name+".json", append(data, '\n'), 0o644); err != nil {
		return err
	}
	own, err := os.ReadFile(strings.TrimSuffix(r.log, ".log") + ".yaml")
	if err == nil {
		err = os.WriteFile(name+".yaml", own, 0o644)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return readme(dir)
}

const head = `# Conformance of network policy

Written by ` + "`make netpol`" + `, which runs the suites unchanged against Fairlead on clusters of two nodes ([cluster.md](../cluster.md)), with each
network and each mode of kube-proxy. The JSON files here have every case and its time; the YAML files are the network policy API's own
reports. The kernel needs no SCTP sockets: agnhost speaks SCTP over raw sockets (hack/tools/agnhost/sctp).

| suite | network | kube-proxy | passed | checkout | minutes |
|---|---|---|---|---|---|
`

func readme(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return err
	}
	var all []result
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		var r result
		if err := json.Unmarshal(data, &r); err != nil {
			return fmt.Errorf("read %s: %w", f, err)
		}
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b result) int {
		return cmp.Or(cmp.Compare(slices.Index(suiteNames(), a.Suite), slices.Index(suiteNames(), b.Suite)), cmp.Compare(a.CNI, b.CNI), cmp.Compare(a.Proxy, b.Proxy))
	})
	var b strings.Builder
	b.WriteString(head)
	for _, r := range all {
		fmt.Fprintf(&b, "| %s %s | %s | %s | %d of %d | %s | %.0f |\n", r.Suite, r.Version, r.CNI, r.Proxy, r.passed(), r.Total, r.Checkout, float64(r.Seconds)/60)
	}
	for _, r := range all {
		for _, c := range r.Cases {
			if !c.Passed {
				fmt.Fprintf(&b, "\n- %s, %s, %s: %s: %s", r.Suite, r.CNI, r.Proxy, c.outcome(), c.Name)
			}
		}
	}
	return os.WriteFile(filepath.Join(dir, "README.md"), []byte(strings.TrimRight(b.String(), "\n")+"\n"), 0o644)
}
