package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"

	"fairlead.io/fairlead/integration/kube"
	"fairlead.io/fairlead/integration/process"
)

// The versions are those of hack/tools/versions.sh.
const (
	cyclonusVersion  = "v0.5.6"
	policyAPIVersion = "v0.2.0"
	agnhostSCTP      = "1"
	// cyclonusImage is what cyclonus of this version looks for in a registry (its package connectivity/probe).
	cyclonusImage = "e2e-test-images/agnhost:2.43"
)

// suite is how one is run, and how its output is read.
type suite struct {
	version string
	command func(ctx context.Context, r *rig, base string) (*exec.Cmd, error)
	parser  func() parser
	finish  func(base string, out *result) error
}

// parser reads lines, and gives the case that a line ends (its name is empty otherwise), or the name of one that it begins.
type parser interface {
	line(s string) (ended Case, begun string)
	total() int // 0 while it is not known
}

func suites() map[string]suite {
	none := func(string, *result) error { return nil }
	return map[string]suite{
		"cyclonus":           {cyclonusVersion, cyclonus, func() parser { return &cyclonusParser{} }, none},
		"network-policy-api": {policyAPIVersion, policyAPI, func() parser { return &goTestParser{} }, none},
		"e2e":                {kube.KubernetesVersion, endToEnd, func() parser { return &ginkgoParser{} }, ginkgoReport},
	}
}

// inside is a tool as a command in the control plane's namespace, which has routes to pods.
func (r *rig) inside(ctx context.Context, tool string, args ...string) (*exec.Cmd, error) {
	binary, err := process.Find(tool, "")
	if err != nil {
		return nil, missing(tool, err)
	}
	cmd := r.cluster.Command(ctx, binary, append(args, r.args...)...)
	cmd.Dir = r.logs // nothing that a suite writes is the checkout's
	return cmd, nil
}

// cyclonus runs with nothing excluded. Its own defaults give a network plugin five seconds for each change, and each connection ten.
func cyclonus(ctx context.Context, r *rig, _ string) (*exec.Cmd, error) {
	retries := 2
	if !r.fairlead {
		retries = 0 // it will not get better
	}
	args := []string{
		"generate", "--exclude=", "--image-registry=" + registry, "--perturbation-wait-seconds=" + strconv.Itoa(r.wait), "--job-timeout-seconds=2",
		"--pod-creation-timeout-seconds=300", "--cleanup-namespaces=true",
		"--retries=" + strconv.Itoa(retries),
	}
	if r.cases != "" {
		args = append(args, "--include="+r.cases)
	}
	return r.inside(ctx, "cyclonus-"+cyclonusVersion, args...)
}

// cyclonusParser knows a case by its beginning and its end; a discrepancy in any of its steps is a failure.
type cyclonusParser struct {
	cases  int
	name   string
	failed bool
}

var cyclonusTotal = regexp.MustCompile(`^testing (\d+) cases$`)

func (p *cyclonusParser) line(s string) (ended Case, begun string) {
	if m := cyclonusTotal.FindStringSubmatch(s); m != nil {
		p.cases, _ = strconv.Atoi(m[1])
	}
	if name, ok := strings.CutPrefix(s, "evaluating test case: "); ok {
		p.name, p.failed = name, false
	}
	if strings.HasPrefix(s, "Discrepancy found:") || strings.HasPrefix(s, "test case failed to execute") {
		p.failed = true
	}
	if strings.HasPrefix(s, "finished policy #") {
		ended = Case{Name: p.name, Passed: !p.failed}
	}
	return ended, ""
}

func (p *cyclonusParser) total() int { return p.cases }

// policyAPI runs all profiles with all features, and has the suite write its own report.
func policyAPI(ctx context.Context, r *rig, base string) (*exec.Cmd, error) {
	run := "^TestConformanceProfiles$"
	if r.cases != "" {
		run += "/" + r.cases
	}
	return r.inside(ctx, "network-policy-api-"+policyAPIVersion, "-test.v", "-test.timeout=2h", "-test.run="+run, "-all-features",
		"-conformance-profiles=ClusterNetworkPolicy", "-organization=fairlead", "-project=fairlead", "-url=https://fairlead.io",
		"-version="+checkout(ctx), "-contact=fairlead", "-additional-info=make netpol", "-report-output="+base+".yaml", "-cleanup-base-resources=true")
}

// goTestParser reads the output of `go test -v`; the cases are what the one test of the suite runs. Their outcomes come at its end.
type goTestParser struct{ begun int }

var (
	goTestBegin = regexp.MustCompile(`^=== RUN +[^/]+/([^/ ]+)$`)
	goTestCase  = regexp.MustCompile(`^ {4}--- (PASS|FAIL|SKIP): [^/]+/([^/ ]+) \(([\d.]+)s\)`)
)

func (p *goTestParser) line(s string) (ended Case, begun string) {
	if m := goTestBegin.FindStringSubmatch(s); m != nil {
		p.begun++
		begun = m[1]
	}
	if m := goTestCase.FindStringSubmatch(s); m != nil {
		ended = Case{Name: m[2], Passed: m[1] == "PASS", Skipped: m[1] == "SKIP"}
		ended.Seconds, _ = strconv.ParseFloat(m[3], 64)
	}
	return ended, begun
}

func (p *goTestParser) total() int { return p.begun }

// endToEnd runs Kubernetes' tests of network policy one after the other, as they ask for.
func endToEnd(ctx context.Context, r *rig, base string) (*exec.Cmd, error) {
	focus := `\[sig-network\] Netpol`
	if r.cases != "" {
		focus = r.cases
	}
	cmd, err := r.inside(ctx, "netpol-e2e-"+kube.KubernetesVersion, "--kubeconfig="+r.cluster.Kubeconfig(), "--provider=skeleton",
		"--ginkgo.focus="+focus, "--ginkgo.no-color", "--ginkgo.v", "--ginkgo.timeout=4h", "--ginkgo.json-report="+base+".json",
		"--test.timeout=5h", "--dump-logs-on-failure=false")
	if err != nil {
		return nil, err
	}
	return cmd, r.useRegistry(cmd)
}

// ginkgoParser tells how it goes; what counts is the report at the end.
type ginkgoParser struct {
	cases int
	name  string
	rule  bool // the line before was one
}

var (
	ginkgoTotal = regexp.MustCompile(`^Will run (\d+) of \d+ specs$`)
	ginkgoEnd   = regexp.MustCompile(`^• (\[[A-Z ]+\] )?\[[\d.]+ seconds\]`)
)

func (p *ginkgoParser) line(s string) (ended Case, begun string) {
	after := p.rule
	p.rule = strings.HasPrefix(s, "------------------------------")
	if m := ginkgoTotal.FindStringSubmatch(s); m != nil {
		p.cases, _ = strconv.Atoi(m[1])
	}
	if m := ginkgoEnd.FindStringSubmatch(s); m != nil {
		return Case{Name: p.name, Passed: m[1] == ""}, ""
	}
	if after && strings.HasPrefix(s, "[") {
		p.name = s
	}
	return ended, ""
}

func (p *ginkgoParser) total() int { return p.cases }

// ginkgoReport puts the report in the place of what was read from the output.
func ginkgoReport(base string, out *result) error {
	data, err := os.ReadFile(base + ".json")
	if os.IsNotExist(err) {
		return nil // it has not come to its end, which is its exit code's to say
	}
	if err != nil {
		return err
	}
	var reports []struct {
		SpecReports []struct {
			ContainerHierarchyTexts []string
			LeafNodeText, State     string
			LeafNodeType            string
			RunTime                 int64 // nanoseconds
		}
	}
	if err := json.Unmarshal(data, &reports); err != nil {
		return fmt.Errorf("read report of the end-to-end tests: %w", err)
	}
	out.Cases = nil
	for _, r := range reports {
		for _, s := range r.SpecReports {
			if s.LeafNodeType != "It" || s.State == "skipped" && s.RunTime == 0 { // not in focus
				continue
			}
			out.Cases = append(out.Cases, Case{
				Name:   strings.Join(append(s.ContainerHierarchyTexts, s.LeafNodeText), " "),
				Passed: s.State == "passed", Skipped: s.State == "skipped", Seconds: float64(s.RunTime/1e8) / 10,
			})
		}
	}
	return nil
}

// checkout names what is tested.
func checkout(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--tags", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
