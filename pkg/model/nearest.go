package model

import "strings"

// Nearest gives the one of the names that somebody may have meant by a mistyped one, or "". Names that differ in limit
// letters or more, or in more than half of their letters, were not meant.
func Nearest(name string, among []string, limit int) string {
	best, bestAt := "", limit
	for _, a := range among {
		if d := distance(strings.ToLower(name), strings.ToLower(a)); d < bestAt && d < len(a)/2+1 {
			best, bestAt = a, d
		}
	}
	return best
}

// distance is the number of letters to add, drop or change (Levenshtein).
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return max(len(a), len(b))
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
