package translate

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"fairlead.io/fairlead/pkg/model"
)

// headerMods are changes in Envoy's form. It removes first, then adds in this order.
type headerMods struct {
	add    []*corev3.HeaderValueOption
	remove []string
	// host is what the request's Host is set to; Envoy rewrites it by other means than header changes.
	host string
}

// requestMods translates changes of a request. Pseudo-headers other than :authority cannot be changed and are left out.
func requestMods(in model.HeaderMods) headerMods {
	out := mods(in)
	for _, list := range [][]model.Header{in.Set, in.Add} {
		for _, h := range list {
			if isHost(h.Name) && h.Value != "" && printable(h.Value) {
				out.host = h.Value
			}
		}
	}
	return out
}

// responseMods translates changes of a response.
func responseMods(in model.HeaderMods) headerMods { return mods(in) }

func mods(in model.HeaderMods) headerMods {
	var out headerMods
	for _, name := range in.Remove {
		if changeable(name) {
			out.remove = append(out.remove, name)
		}
	}
	for _, h := range in.Set {
		out.add = appendHeader(out.add, h, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)
	}
	for _, h := range in.Add {
		out.add = appendHeader(out.add, h, corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD)
	}
	return out
}

func appendHeader(list []*corev3.HeaderValueOption, h model.Header, action corev3.HeaderValueOption_HeaderAppendAction,
) []*corev3.HeaderValueOption {
	if !changeable(h.Name) || !printable(h.Value) {
		return list
	}
	return append(list, &corev3.HeaderValueOption{
		Header: &corev3.HeaderValue{Key: h.Name, Value: literal(h.Value)}, AppendAction: action,
		KeepEmptyValue: h.Value == "", // Envoy drops a header whose value is empty otherwise
	})
}

func isHost(name string) bool {
	return strings.EqualFold(name, "host") || strings.EqualFold(name, ":authority")
}

// changeable tells that a header may be set and removed. Envoy refuses the table that removes Host or a pseudo-header.
func changeable(name string) bool {
	return headerName.MatchString(name) && !strings.HasPrefix(name, ":") && !isHost(name)
}
