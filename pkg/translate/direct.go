package translate

import (
	"fmt"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"fairlead.io/fairlead/pkg/model"
)

// direct answers without a backend. Envoy sends statuses from 200 to 599.
func direct(d *model.DirectResponse) (*routev3.DirectResponseAction, error) {
	if d.Status < 200 || d.Status > 599 {
		return nil, fmt.Errorf("status %d of a direct response is not between 200 and 599", d.Status)
	}
	if len(d.Body) > maxDirectBody {
		return nil, fmt.Errorf("body of a direct response has %d bytes, more than %d", len(d.Body), maxDirectBody)
	}
	out := &routev3.DirectResponseAction{Status: uint32(d.Status)}
	if len(d.Body) > 0 {
		out.Body = &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: d.Body}}
	}
	return out, nil
}

// failed is the answer of a rule that cannot do what it says.
func failed() *routev3.Route_DirectResponse {
	return &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 500}}
}

// validText makes a string that protobuf can carry.
func validText(s string) string { return strings.ToValidUTF8(s, "?") }
