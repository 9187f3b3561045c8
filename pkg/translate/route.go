package translate

import (
	"fmt"
	"regexp"
	"unicode/utf8"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"fairlead.io/fairlead/pkg/model"
)

// Route is one route, or nil when its match cannot be expressed. An action that cannot be expressed answers 500.
func Route(r *model.Route) *routev3.Route {
	out, _ := route(r, "")
	return out
}

// CheckRoute tells why Envoy cannot do all that r says; nil when it can.
func CheckRoute(r *model.Route) error {
	_, err := route(r, "")
	return err
}

// route translates r for requests to host, which is empty when they may name several hosts.
func route(r *model.Route, host string) (*routev3.Route, error) {
	match, err := routeMatch(&r.Match)
	if err != nil {
		return nil, fmt.Errorf("translate match of %s: %w", r.Name, err)
	}
	out := &routev3.Route{Name: validText(r.Name), Match: match}
	if err = act(out, r, host); err == nil {
		err = validate(out)
	}
	if err != nil {
		out = &routev3.Route{Name: out.Name, Match: match, Action: failed()}
		if invalid := validate(out); invalid != nil {
			return nil, fmt.Errorf("translate match of %s: %w", r.Name, invalid)
		}
		return out, fmt.Errorf("translate %s: %w", r.Name, err)
	}
	return out, nil
}

// act sets the action of out and all that goes with it.
func act(out *routev3.Route, r *model.Route, host string) error {
	request, response := requestMods(r.RequestHeaders), responseMods(r.ResponseHeaders)
	out.RequestHeadersToAdd, out.RequestHeadersToRemove = request.add, request.remove
	out.ResponseHeadersToAdd, out.ResponseHeadersToRemove = response.add, response.remove
	if err := filters(out, r); err != nil {
		return err
	}
	switch {
	case r.Forward != nil:
		action, err := forward(r.Forward, r.Match.Path, request.host)
		if err != nil {
			return err
		}
		if action == nil { // nothing to forward to
			out.Action = failed()
			return nil
		}
		out.Action = &routev3.Route_Route{Route: action}
	case r.Redirect != nil:
		action, err := redirect(r.Redirect, r.Match.Path, host)
		if err != nil {
			return err
		}
		out.Action = &routev3.Route_Redirect{Redirect: action}
	case r.Direct != nil:
		action, err := direct(r.Direct)
		if err != nil {
			return err
		}
		out.Action = &routev3.Route_DirectResponse{DirectResponse: action}
	default:
		return fmt.Errorf("no action is set")
	}
	return nil
}

// filters sets the configuration that HTTP filters take from the route.
func filters(out *routev3.Route, r *model.Route) error {
	if r.CORS == nil && r.Fault == nil {
		return nil
	}
	out.TypedPerFilterConfig = map[string]*anypb.Any{}
	if r.CORS != nil {
		policy, err := cors(r.CORS)
		if err != nil {
			return err
		}
		if out.TypedPerFilterConfig[corsFilter], err = packChecked(policy); err != nil {
			return err
		}
	}
	if r.Fault != nil {
		if f := fault(r.Fault); f != nil {
			var err error
			if out.TypedPerFilterConfig[faultFilter], err = packChecked(f); err != nil {
				return err
			}
		}
	}
	return nil
}

// packChecked wraps what users had a say in. ValidateAll of the message around it does not look inside.
func packChecked(m validated) (*anypb.Any, error) {
	if err := validate(m); err != nil {
		return nil, err
	}
	return pack(m), nil
}

// validated is any message of go-control-plane, with the checks that Envoy makes on receipt.
type validated interface {
	proto.Message
	ValidateAll() error
}

// validate finds what Envoy would refuse on receipt, and strings that are not UTF-8, which cannot be sent at all.
func validate(m validated) error {
	if err := m.ValidateAll(); err != nil {
		return fmt.Errorf("validate %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	if err := proto.CheckInitialized(m); err != nil {
		return err
	}
	if _, err := (proto.MarshalOptions{}).Marshal(m); err != nil {
		return fmt.Errorf("encode %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	return nil
}

var unprintable = regexp.MustCompile(`[\x00\r\n]`)

// printable tells that s may stand in a header (the well-known regex of Envoy's validation) and in a protobuf string.
func printable(s string) bool { return utf8.ValidString(s) && !unprintable.MatchString(s) }
