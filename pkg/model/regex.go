package model

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
)

const (
	// MaxRegexLength is the longest expression in bytes.
	MaxRegexLength = 4096
	// MaxRegexCost is the largest cost of a compiled expression (see cost): half of the program size that the bootstrap
	// allows in Envoy (re2.max_program_size.error_level, 32,768), as the two are counted differently.
	MaxRegexCost = 16384
)

var errRegexEmpty = errors.New("the expression is empty: it would match nothing but an empty value; remove it or write what to match")

// wideEscape is \x{...} above \xFF. Envoy 1.40 compiles expressions as Latin-1 and refuses it.
var wideEscape = regexp.MustCompile(`(?:^|[^\\])(?:\\\\)*(\\x\{0*[1-9A-Fa-f][0-9A-Fa-f]{2,}\})`)

// CheckRegex tells whether Envoy can be given a user's RE2 expression: it compiles, and costs a bounded amount of time a
// character and memory. The syntax is that of regexp/syntax with the Perl classes, which is RE2's.
func CheckRegex(pattern string) error {
	if pattern == "" {
		return errRegexEmpty
	}
	if len(pattern) > MaxRegexLength {
		return fmt.Errorf("the expression has %d bytes, at most %d are allowed: divide it into several matches", len(pattern), MaxRegexLength)
	}
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return regexError(pattern, err)
	}
	if wide := wideEscape.FindStringSubmatch(pattern); wide != nil {
		return fmt.Errorf("the expression has the escape %s; Envoy compares bytes and knows \\x00 to \\xFF only: write the character itself", wide[1])
	}
	prog, err := syntax.Compile(re.Simplify())
	if err != nil {
		return regexError(pattern, err)
	}
	if n := cost(prog); n > MaxRegexCost {
		return fmt.Errorf("the expression costs too much: about %d instructions, at most %d are allowed: make it simpler, counted repetitions such as {0,200} cost the most", n, MaxRegexCost)
	}
	return nil
}

// cost estimates RE2's program size from above. Envoy compiles expressions for Latin-1, so a set has about one instruction
// for each range that begins below U+0100, and one or two to hold it together.
func cost(p *syntax.Prog) int {
	n := 0
	for i := range p.Inst {
		in := &p.Inst[i]
		n += 2
		switch in.Op {
		case syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
			n += 2
		case syntax.InstRune:
			for j := 0; j < len(in.Rune) && in.Rune[j] <= 0xFF; j += 2 {
				n++
			}
		}
	}
	return n
}

// regexError words a syntax error for the author of the expression.
func regexError(pattern string, err error) error {
	var e *syntax.Error
	if !errors.As(err, &e) {
		return fmt.Errorf("the expression does not compile: %w", err)
	}
	hint := ""
	switch {
	case e.Code == syntax.ErrInvalidPerlOp:
		hint = "; RE2 has no look-ahead, look-behind or possessive groups"
	case e.Code == syntax.ErrMissingRepeatArgument:
		hint = `; to match anything write ".*"`
	case e.Code == syntax.ErrInvalidEscape:
		hint = "; RE2 has no back-references"
	}
	where := ""
	if e.Expr != "" && e.Expr != pattern {
		where = fmt.Sprintf(" at %q", e.Expr)
	}
	return fmt.Errorf("the expression is not valid RE2: %s%s%s", e.Code, where, hint)
}

// CheckRewrite tells whether a substitution fits its expression: \0 to \9 name groups that the expression has.
func CheckRewrite(pattern, substitution string) error {
	if err := CheckRegex(pattern); err != nil {
		return err
	}
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return regexError(pattern, err)
	}
	groups := re.MaxCap()
	for i := 0; i < len(substitution); i++ {
		if substitution[i] != '\\' {
			continue
		}
		i++
		switch {
		case i == len(substitution):
			return errors.New(`the substitution ends in a single backslash; write \\ for one`)
		case substitution[i] == '\\':
		case substitution[i] < '0' || substitution[i] > '9':
			return fmt.Errorf(`the substitution has \%c; only \0 to \9 and \\ are known`, substitution[i])
		case int(substitution[i]-'0') > groups:
			return fmt.Errorf(`the substitution uses group \%c, but the expression has %d`, substitution[i], groups)
		}
	}
	return nil
}
