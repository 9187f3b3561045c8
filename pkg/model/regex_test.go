package model

import (
	"regexp/syntax"
	"strings"
	"testing"
)

func TestCheckRegex(t *testing.T) {
	for pattern, want := range map[string]string{
		"/a/[0-9]+":                     "",
		`(?i)^/Users/(\d+)$`:            "",
		"(a|b){1,50}":                   "",
		"":                              "empty",
		"(":                             "missing closing )",
		"a(?=b)":                        "look-ahead",
		`(a)\1`:                         "back-references",
		"*":                             `".*"`,
		`[\x{1F600}]`:                   "\\xFF only",
		`\xFF`:                          "",
		"(a{1000}){1000}":               "not valid RE2",
		strings.Repeat("a", 4097):       "4097 bytes",
		strings.Repeat("(a|b)", 800):    "",
		`[acegikmoqsuwyACEGIK]{1,1000}`: "costs too much",
	} {
		err := CheckRegex(pattern)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", pattern, err, want)
		}
	}
}

func TestCheckRewrite(t *testing.T) {
	for _, c := range []struct{ pattern, substitution, want string }{
		{"^/(a)/(b)$", `/\2/\1/\0\\`, ""},
		{"^/(a)$", `/\2`, "group \\2, but the expression has 1"},
		{"^/a$", `/\n`, `\n`},
		{"^/a$", `/\`, "single backslash"},
		{"(", "", "not valid RE2"},
	} {
		err := CheckRewrite(c.pattern, c.substitution)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q %q: %v, want %q", c.pattern, c.substitution, err, c.want)
		}
	}
}

// What a user writes never makes the check panic, and what it lets through has a bounded cost.
func FuzzCheckRegex(f *testing.F) {
	for _, s := range []string{"/a/.*", "(", `\pL{9}`, `\Q[\E`, `\x{10FFFF}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if CheckRegex(s) == nil && len(s) > MaxRegexLength {
			t.Fatal("too long")
		}
	})
}

// The program sizes are those that Envoy 1.40 gave for these expressions (the error of re2.max_program_size.error_level 1).
func TestRegexCostIsNotBelowEnvoys(t *testing.T) {
	for pattern, size := range map[string]int{
		"/a/[0-9]+": 9, ".{0,200}": 604, ".{0,680}": 2044, "[^/]{1,1000}": 3003, `(\pL{1,10}){1,10}`: 823, `\pL{1,40}`: 323,
		`[\w.-]{0,1000}`: 5004, "(?i)[a-z]{1,1000}": 2003, `\PL{1,50}`: 453, "(?:a|b|c|[d-f]x){1,1000}": 4003, "(?i)k{1,1000}": 2003,
		"(abc|d.f){1,500}": 5003,
	} {
		re, err := syntax.Parse(pattern, syntax.Perl)
		if err != nil {
			t.Fatal(err)
		}
		prog, err := syntax.Compile(re.Simplify())
		if err != nil {
			t.Fatal(err)
		}
		if c := cost(prog); c < size || c > 8*size {
			t.Errorf("%s: the estimate is %d, Envoy has %d", pattern, c, size)
		}
	}
}
