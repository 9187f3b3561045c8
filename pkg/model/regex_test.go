package model

import (
	"strings"
	"testing"
)

func TestCheckRegex(t *testing.T) {
	for pattern, want := range map[string]string{
		"/a/[0-9]+":                  "",
		`(?i)^/Users/(\d+)$`:         "",
		"(a|b){1,50}":                "",
		"":                           "empty",
		"(":                          "missing closing )",
		"a(?=b)":                     "look-ahead",
		`(a)\1`:                      "back-references",
		"*":                          `".*"`,
		"(a{1000}){1000}":            "not valid RE2",
		`(\pL{1,30}){1,30}`:          "costs too much",
		strings.Repeat("a", 4097):    "4097 bytes",
		strings.Repeat("(a|b)", 800): "",
		`.{0,900}x.{0,900}`:          "costs too much",
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
