package report

import (
	"regexp"
	"strings"

	"fairlead.io/fairlead/pkg/model"
)

// part is one of several faults that a condition joins, as an API has room for one condition of a type.
type part struct {
	path, message string
	line          int
}

// joint is where resolve joins two messages: each begins with its own field.
var joint = regexp.MustCompile(`; (spec(?:\.[A-Za-z][\w-]*|\[\d+\])+): `)

// split takes the message of a condition apart again, so that each fault is shown at its own line.
func split(c *model.Condition, text *model.Text) []part {
	first := part{path: c.Path, line: text.LineOf(c.Path)}
	out := []part{}
	rest := c.Message
	for {
		at := joint.FindStringSubmatchIndex(rest)
		if at == nil {
			first.message = strings.TrimPrefix(rest, first.path+": ")
			return append(out, first)
		}
		first.message = strings.TrimPrefix(rest[:at[0]], first.path+": ")
		out = append(out, first)
		path := rest[at[2]:at[3]]
		first, rest = part{path: path, line: text.LineOf(path)}, rest[at[1]:]
	}
}
