package main

import (
	"errors"
	"strings"
	"testing"
)

// Lines as the suites of these versions print them.
func TestOutcomesAreReadFromTheOutput(t *testing.T) {
	for name, test := range map[string]struct {
		parser parser
		output string
		want   string // of every case: outcome and name
		total  int
	}{
		"cyclonus": {&cyclonusParser{}, `testing 3 cases

test #1: one
starting test case #1
evaluating test case: one
step 1 on all available ports/protocols:
0 wrong, 0 ignored, 81 correct
finished policy #1
starting test case #2
evaluating test case: two, with two steps
Discrepancy found:17 wrong, 0 ignored, 64 correct
0 wrong, 0 ignored, 81 correct
finished policy #2
starting test case #3
evaluating test case: one
0 wrong, 0 ignored, 81 correct
finished policy #3
`, "passed one|FAILED two, with two steps|passed one", 3},
		"go test": {&goTestParser{}, `=== RUN   TestConformanceProfiles
=== RUN   TestConformanceProfiles/First
=== RUN   TestConformanceProfiles/First/Should_do
=== RUN   TestConformanceProfiles/Second
=== RUN   TestConformanceProfiles/Third
=== RUN   TestConformanceProfiles/Fourth
--- FAIL: TestConformanceProfiles (3.00s)
    --- PASS: TestConformanceProfiles/First (1.00s)
        --- PASS: TestConformanceProfiles/First/Should_do (1.00s)
    --- FAIL: TestConformanceProfiles/Second (2.00s)
    --- SKIP: TestConformanceProfiles/Third (0.00s)
`, "passed First|FAILED Second|skipped Third", 4},
		"ginkgo": {&ginkgoParser{}, `Will run 3 of 50 specs
------------------------------
[sig-network] Netpol one [Feature:NetworkPolicy]
network_policy.go:211
  STEP: first
• [12.345 seconds]
------------------------------
[sig-network] Netpol two
• [FAILED] [1.000 seconds]
[sig-network] Netpol two
------------------------------
[sig-network] Netpol three
• [0.100 seconds]
`, "passed [sig-network] Netpol one [Feature:NetworkPolicy]|FAILED [sig-network] Netpol two|passed [sig-network] Netpol three", 3},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for line := range strings.Lines(test.output) {
				if c, _ := test.parser.line(strings.TrimRight(line, "\n")); c.Name != "" {
					got = append(got, c.outcome()+" "+c.Name)
				}
			}
			if s := strings.Join(got, "|"); s != test.want || test.parser.total() != test.total {
				t.Errorf("%q of %d, want %q of %d", s, test.parser.total(), test.want, test.total)
			}
		})
	}
}

func TestOnlyAWholeSuiteThatPassesIsASuccess(t *testing.T) {
	passed, failed, skipped := Case{Name: "a", Passed: true}, Case{Name: "b"}, Case{Name: "c", Skipped: true}
	for name, test := range map[string]struct {
		result result
		want   string
	}{
		"all have passed":    {result{Total: 2, Cases: []Case{passed, passed}}, ""},
		"one has failed":     {result{Total: 2, Cases: []Case{passed, failed}}, "1 cases of 2 have passed"},
		"one was left out":   {result{Total: 2, Cases: []Case{passed, skipped}}, "1 cases of 2 have passed"},
		"one is missing":     {result{Total: 2, Cases: []Case{passed}}, "1 cases of 2 have run"},
		"none has run":       {result{}, "no case has run"},
		"the suite has died": {result{Total: 1, Cases: []Case{passed}, exit: errors.New("exit status 1")}, "exit status 1"},
	} {
		t.Run(name, func(t *testing.T) {
			err := test.result.err()
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want %q", err, test.want)
			}
		})
	}
}
