package svid

import "strings"

// id checks a SPIFFE ID as a string, not as what a URI parser makes of it, and gives its trust domain and path.
func (c *checker) id(at, id string) (domain, path string) {
	if len(id) > 2048 {
		c.found("id-length", at, "it has %d bytes", len(id))
	}
	rest, ok := strings.CutPrefix(id, "spiffe://")
	if !ok {
		c.found("id-scheme", at, "%.100q", id)
		return "", id // what follows would be guessed
	}
	if strings.ContainsAny(rest, "?#") {
		c.found("id-query", at, "%.100q", id)
		rest = rest[:strings.IndexAny(rest, "?#")]
	}
	domain, path = rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		domain, path = rest[:i], rest[i:]
	}
	switch {
	case strings.ContainsAny(domain, "@:"):
		c.found("id-authority", at, "%.100q", domain)
	case domain == "" || strings.ContainsFunc(domain, func(r rune) bool { return !lower(r) && !digit(r) && !strings.ContainsRune(".-_", r) }):
		c.found("id-domain", at, "%.100q", domain)
	}
	if len(domain) > 255 {
		c.found("id-length", at, "its trust domain has %d bytes", len(domain))
	}
	if path != "" && !validPath(path) {
		c.found("id-path", at, "%.100q", path)
	}
	return domain, path
}

// validPath tells whether a path that begins with a slash has segments of the grammar only.
func validPath(path string) bool {
	for segment := range strings.SplitSeq(path[1:], "/") {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
		if strings.ContainsFunc(segment, func(r rune) bool {
			return !lower(r) && !digit(r) && (r < 'A' || r > 'Z') && !strings.ContainsRune(".-_", r)
		}) {
			return false
		}
	}
	return true
}

func lower(r rune) bool { return r >= 'a' && r <= 'z' }
func digit(r rune) bool { return r >= '0' && r <= '9' }
