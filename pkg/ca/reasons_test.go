package ca

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// Whoever reads a reason in an audit record finds in the documentation what to do.
func TestEveryReasonIsDocumented(t *testing.T) {
	docs, err := os.ReadFile("../../docs/certificates.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range []string{"authn/refusal.go", "issue/refusal.go", "csr/csr.go"} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^\s+\w+\s+Reason = "([a-z-]+)"(.*)`).FindAllStringSubmatch(string(source), -1) {
			if found++; !strings.Contains(string(docs), "`"+m[1]+"`") && m[1] != "unauthenticated" { // of authenticators that are not ours
				t.Errorf("%s: docs/certificates.md does not tell what to do for %s", file, m[1])
			}
		}
	}
	if found < 50 {
		t.Errorf("%d reasons were found", found)
	}
}
