package status

import (
	"slices"
	"strings"
	"unicode/utf8"

	"fairlead.io/fairlead/pkg/barrier"
	"fairlead.io/fairlead/pkg/model"
)

const (
	// maxMessage is what metav1.Condition allows, in characters; counted in bytes here, which is never more.
	maxMessage = 32768
	// maxStatus keeps an object with many listeners or parents below the 1.5 MiB that etcd takes.
	maxStatus = 512 << 10
	// maxWords bounds what is quoted of one rejection, maxQuoted how many are quoted.
	maxWords  = 2048
	maxQuoted = 5
)

// messageLimit is what each message of an object may take in bytes.
func messageLimit(s *model.ObjectStatus) int {
	conditions := 8 * (1 + len(s.Parents) + len(s.Listeners))
	return min(maxMessage, max(1024, maxStatus/conditions))
}

// truncate cuts at a character, says so, and makes valid UTF-8 of anything.
func truncate(s string, limit int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= limit {
		return s
	}
	const mark = " (cut)"
	end := limit - len(mark)
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + mark
}

// rejection quotes Envoy, each resource and each text once, and says what to do.
func rejection(list []barrier.Rejection) string {
	var quotes []string
	for _, r := range list {
		q := "Envoy " + r.Version + " rejected the " + short(r.Type) + " " + r.Resource + ": " + truncate(strings.TrimSpace(r.Message), maxWords)
		if r.Version == "" {
			q = strings.Replace(q, "Envoy  rejected", "Envoy rejected", 1)
		}
		if !slices.Contains(quotes, q) {
			quotes = append(quotes, q)
		}
	}
	slices.Sort(quotes)
	more := ""
	if len(quotes) > maxQuoted {
		quotes, more = quotes[:maxQuoted], "; and more"
	}
	return strings.Join(quotes, "; ") + more +
		". What such an Envoy had accepted before stays in force; change what it names. \"fairlead proxy-status\" lists the nodes"
}

// short is the last part of a type URL: "Cluster".
func short(url string) string { return url[strings.LastIndexByte(url, '.')+1:] }
