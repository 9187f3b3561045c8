package resolve

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/pkg/model"
)

// headers converts the changes of both directions. Setting Host or :authority is a rewrite of the authority, as in
// Istio: Envoy does not let header changes touch it.
func (v *vsRun) headers(h *v1alpha1.Headers, path string) (request, response model.HeaderMods, authority string) {
	if h == nil {
		return request, response, ""
	}
	if h.Request != nil {
		request, authority = v.headerMods(h.Request, path+".request", true)
	}
	if h.Response != nil {
		response, _ = v.headerMods(h.Response, path+".response", false)
	}
	return request, response, authority
}

func (v *vsRun) headerMods(o *v1alpha1.HeaderOperations, path string, request bool) (m model.HeaderMods, authority string) {
	m.Set, authority = v.headerList(o.Set, path+".set", request)
	m.Add, _ = v.headerList(o.Add, path+".add", false)
	for i, name := range o.Remove {
		if v.mayChange(name, path+".remove["+strconv.Itoa(i)+"]") {
			m.Remove = append(m.Remove, strings.ToLower(name))
		}
	}
	return m, authority
}

// headerList sorts a map of headers by name. host allows the authority among them and takes it out.
func (v *vsRun) headerList(from map[string]string, path string, host bool) (out []model.Header, authority string) {
	for _, name := range slices.Sorted(maps.Keys(from)) {
		value := from[name]
		if strings.ContainsAny(value, "\r\n\x00") {
			v.refuse(reasonInvalid, path+"."+name, "the value has a line break or NUL, which no header may have; the header is left alone")
			continue
		}
		if lower := strings.ToLower(name); host && (lower == "host" || lower == ":authority") {
			authority = value
			continue
		}
		if v.mayChange(name, path+"."+name) {
			out = append(out, model.Header{Name: strings.ToLower(name), Value: value})
		}
	}
	return out, authority
}

// mayChange tells whether Envoy lets routes change a header: not pseudo-headers and not Host.
func (v *vsRun) mayChange(name, path string) bool {
	switch {
	case strings.EqualFold(name, "host") || strings.HasPrefix(name, ":"):
		v.refuse(reasonInvalid, path, "%s cannot be changed here; use rewrite, or set Host under headers.request.set", name)
	case !headerName(name, false):
		v.refuse(reasonInvalid, path, "%q is no header name; it is left alone", name)
	default:
		return true
	}
	return false
}
