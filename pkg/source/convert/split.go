package convert

import "bytes"

// chunk is one document of a multi-document file; line is the number of its first line, from 1.
type chunk struct {
	text []byte
	line int
}

// split cuts a file at its document markers, so that one broken document does not take the others with it. Documents
// without content (comments, directives) are left out.
func split(data []byte) []chunk {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	var out []chunk
	start, startLine, line := 0, 1, 1
	cut := func(end int) {
		if c := (chunk{data[start:end], startLine}); hasContent(c.text) {
			out = append(out, c)
		}
	}
	for at := 0; at < len(data); line++ {
		end := len(data)
		if i := bytes.IndexByte(data[at:], '\n'); i >= 0 {
			end = at + i + 1
		}
		switch l := data[at:end]; {
		case marks(l, "---"):
			cut(at)
			start, startLine = at, line
		case marks(l, "..."):
			cut(at)
			start, startLine = end, line+1
		}
		at = end
	}
	cut(len(data))
	return out
}

// marks tells whether a line is a document marker: the three characters, then a blank or the end of the line.
func marks(line []byte, marker string) bool {
	rest, ok := bytes.CutPrefix(line, []byte(marker))
	return ok && (len(rest) == 0 || bytes.IndexByte([]byte(" \t\r\n"), rest[0]) >= 0)
}

func hasContent(text []byte) bool {
	text = bytes.TrimPrefix(text, []byte("---"))
	for l := range bytes.Lines(text) {
		if l = bytes.TrimSpace(l); len(l) > 0 && l[0] != '#' && l[0] != '%' {
			return true
		}
	}
	return false
}
