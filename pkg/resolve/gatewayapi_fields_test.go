package resolve

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Every field of the API is either honoured or refused by name. A field that a new version of the API brings is in
// neither list, and fails here.
func TestFieldsAreHonouredOrRefused(t *testing.T) {
	for _, c := range []struct {
		spec              any
		honoured, refused string
	}{
		{gatewayv1.GatewayClassSpec{}, `
			controllerName description`, `
			parametersRef.group parametersRef.kind parametersRef.name parametersRef.namespace`},
		{gatewayv1.GatewaySpec{}, `
			gatewayClassName addresses.type addresses.value
			listeners.name listeners.hostname listeners.port listeners.protocol
			listeners.tls.mode listeners.tls.certificateRefs.group listeners.tls.certificateRefs.kind
			listeners.tls.certificateRefs.name listeners.tls.certificateRefs.namespace
			listeners.allowedRoutes.namespaces.from listeners.allowedRoutes.namespaces.selector
			listeners.allowedRoutes.kinds.group listeners.allowedRoutes.kinds.kind
			tls.frontend.default.validation.caCertificateRefs.group tls.frontend.default.validation.caCertificateRefs.kind
			tls.frontend.default.validation.caCertificateRefs.name tls.frontend.default.validation.caCertificateRefs.namespace
			tls.frontend.default.validation.mode tls.frontend.perPort.port
			tls.frontend.perPort.tls.validation.caCertificateRefs.group tls.frontend.perPort.tls.validation.caCertificateRefs.kind
			tls.frontend.perPort.tls.validation.caCertificateRefs.name tls.frontend.perPort.tls.validation.caCertificateRefs.namespace
			tls.frontend.perPort.tls.validation.mode`, `
			listeners.tls.options
			infrastructure.labels infrastructure.annotations
			infrastructure.parametersRef.group infrastructure.parametersRef.kind infrastructure.parametersRef.name
			allowedListeners.namespaces.from allowedListeners.namespaces.selector
			tls.backend.clientCertificateRef.group tls.backend.clientCertificateRef.kind
			tls.backend.clientCertificateRef.name tls.backend.clientCertificateRef.namespace
			defaultScope`},
		{gatewayv1.HTTPRouteSpec{}, `
			parentRefs.group parentRefs.kind parentRefs.namespace parentRefs.name parentRefs.sectionName parentRefs.port
			hostnames rules.name
			rules.matches.path.type rules.matches.path.value rules.matches.method
			rules.matches.headers.type rules.matches.headers.name rules.matches.headers.value
			rules.matches.queryParams.type rules.matches.queryParams.name rules.matches.queryParams.value
			` + filterFields("rules.filters", true) + filterFields("rules.backendRefs.filters", true) + `
			rules.backendRefs.group rules.backendRefs.kind rules.backendRefs.name rules.backendRefs.namespace
			rules.backendRefs.port rules.backendRefs.weight
			rules.timeouts.request rules.timeouts.backendRequest
			rules.retry.codes rules.retry.attempts rules.retry.backoff`, `
			useDefaultGateways ` + filterFields("rules.filters", false) + filterFields("rules.backendRefs.filters", false) + `
			rules.sessionPersistence.sessionName rules.sessionPersistence.absoluteTimeout rules.sessionPersistence.type
			rules.sessionPersistence.cookieConfig.lifetimeType`},
		{gatewayv1.ReferenceGrantSpec{}, `from.group from.kind from.namespace to.group to.kind to.name`, ``},
	} {
		var got []string
		apiLeaves(reflect.TypeOf(c.spec), "", &got)
		want := append(strings.Fields(c.honoured), strings.Fields(c.refused)...)
		slices.Sort(got)
		slices.Sort(want)
		for _, f := range got {
			if !slices.Contains(want, f) {
				t.Errorf("%T: field %s is neither honoured nor refused", c.spec, f)
			}
		}
		for _, f := range want {
			if !slices.Contains(got, f) {
				t.Errorf("%T: field %s is listed and does not exist", c.spec, f)
			}
		}
	}
}

// filterFields are the fields of an HTTPRouteFilter under a path.
func filterFields(path string, honoured bool) string {
	fields := `externalAuth.protocol externalAuth.backendRef.group externalAuth.backendRef.kind externalAuth.backendRef.name
		externalAuth.backendRef.namespace externalAuth.backendRef.port externalAuth.grpc.allowedHeaders externalAuth.http.path
		externalAuth.http.allowedHeaders externalAuth.http.allowedResponseHeaders externalAuth.forwardBody.maxSize
		extensionRef.group extensionRef.kind extensionRef.name`
	if honoured {
		fields = `type requestHeaderModifier.set.name requestHeaderModifier.set.value requestHeaderModifier.add.name
		requestHeaderModifier.add.value requestHeaderModifier.remove responseHeaderModifier.set.name
		responseHeaderModifier.set.value responseHeaderModifier.add.name responseHeaderModifier.add.value
		responseHeaderModifier.remove requestMirror.backendRef.group requestMirror.backendRef.kind requestMirror.backendRef.name
		requestMirror.backendRef.namespace requestMirror.backendRef.port requestMirror.percent
		requestMirror.fraction.numerator requestMirror.fraction.denominator requestRedirect.scheme requestRedirect.hostname
		requestRedirect.path.type requestRedirect.path.replaceFullPath requestRedirect.path.replacePrefixMatch
		requestRedirect.port requestRedirect.statusCode urlRewrite.hostname urlRewrite.path.type
		urlRewrite.path.replaceFullPath urlRewrite.path.replacePrefixMatch cors.allowOrigins cors.allowCredentials
		cors.allowMethods cors.allowHeaders cors.exposeHeaders cors.maxAge`
	}
	out := ""
	for _, f := range strings.Fields(fields) {
		out += path + "." + f + " "
	}
	return out
}

// apiLeaves lists the fields of a type that hold values, by their JSON path. Lists stand for their elements; types of other
// packages count as one value.
func apiLeaves(t reflect.Type, path string, out *[]string) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || !strings.Contains(t.PkgPath(), "gateway-api") {
		*out = append(*out, path)
		return
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		next := path
		if name != "" {
			next = strings.TrimPrefix(path+"."+name, ".")
		}
		apiLeaves(f.Type, next, out)
	}
}
