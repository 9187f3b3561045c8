package translate

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

// Scope tells which route table serves the requests of one key: the values of the scoping headers in the order of
// HCM's key builder. A key is matched exactly; two scopes of one key make Envoy refuse both.
func Scope(name, rc string, key ...string) *routev3.ScopedRouteConfiguration {
	fragments := make([]*routev3.ScopedRouteConfiguration_Key_Fragment, len(key))
	for i, k := range key {
		fragments[i] = &routev3.ScopedRouteConfiguration_Key_Fragment{
			Type: &routev3.ScopedRouteConfiguration_Key_Fragment_StringKey{StringKey: k},
		}
	}
	return &routev3.ScopedRouteConfiguration{
		Name: name, RouteConfigurationName: rc,
		Key: &routev3.ScopedRouteConfiguration_Key{Fragments: fragments},
	}
}
