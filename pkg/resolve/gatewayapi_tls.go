package resolve

import (
	"slices"
	"strconv"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
)

// terminate resolves the TLS of an HTTPS listener. What is wrong makes the listener unusable: nothing is served in plain
// that was to be encrypted, and nobody is let in who was to be verified.
func (b *gatewayBuild) terminate(spec *gatewayv1.Listener, path string, f *findings) *model.DownstreamTLS {
	tls := &model.DownstreamTLS{Mode: model.TerminateSimple}
	path += ".tls"
	if spec.TLS == nil {
		f.unusable = true
		f.unresolved(gatewayv1.ListenerReasonInvalidCertificateRef, path, "a listener of protocol HTTPS needs certificateRefs")
		return tls
	}
	if m := spec.TLS.Mode; m != nil && *m != "" && *m != gatewayv1.TLSModeTerminate {
		f.unaccepted(gatewayv1.ListenerReasonUnsupportedValue, path+".mode", "mode "+string(*m)+" is not supported for HTTPS; use Terminate")
	}
	if len(spec.TLS.Options) > 0 {
		var names []string
		for name := range spec.TLS.Options {
			names = append(names, string(name))
		}
		slices.Sort(names)
		f.unaccepted(gatewayv1.ListenerReasonUnsupportedValue, path+".options", "no options are supported; remove "+strings.Join(names, ", "))
	}
	for i := range spec.TLS.CertificateRefs {
		if name, ok := b.certificate(&spec.TLS.CertificateRefs[i], path+".certificateRefs["+strconv.Itoa(i)+"]", f); ok {
			tls.Certificates = append(tls.Certificates, name)
		}
	}
	if len(spec.TLS.CertificateRefs) == 0 {
		f.unresolved(gatewayv1.ListenerReasonInvalidCertificateRef, path+".certificateRefs", "no certificate is named; refer to a Secret of type kubernetes.io/tls")
	}
	f.unusable = f.unusable || len(tls.Certificates) == 0
	b.frontend(spec, tls, f)
	return tls
}

// certificate resolves one reference to a Secret and gives the SDS name of its key pair.
func (b *gatewayBuild) certificate(ref *gatewayv1.SecretObjectReference, path string, f *findings) (string, bool) {
	to := model.Ref{Kind: "Secret", Namespace: b.gw.Namespace, Name: string(ref.Name)}
	if ref.Group != nil {
		to.Group = string(*ref.Group)
	}
	if ref.Kind != nil {
		to.Kind = string(*ref.Kind)
	}
	if ref.Namespace != nil && *ref.Namespace != "" {
		to.Namespace = string(*ref.Namespace)
	}
	invalid := func(message string) (string, bool) {
		f.unresolved(gatewayv1.ListenerReasonInvalidCertificateRef, path, message)
		return "", false
	}
	if to.Group != "" || to.Kind != "Secret" {
		return invalid("certificates of kind " + to.Kind + " (group " + strconv.Quote(to.Group) + ") are not supported; refer to a Secret")
	}
	if !b.g.permitted(b.r, b.gw.Ref, to) {
		f.unresolved(gatewayv1.ListenerReasonRefNotPermitted, path, notPermitted(b.gw.Ref, to))
		return "", false
	}
	s, ok := table.Get(b.r, b.g.in.Secrets, to.Key())
	if !ok {
		return invalid(to.String() + " does not exist")
	}
	if err := CheckKeyPair(s.Data["tls.crt"], s.Data["tls.key"]); err != nil {
		return invalid(to.String() + " cannot be served: " + err.Error())
	}
	return model.SecretName(to.Key()), true
}

// frontend applies the Gateway's validation of client certificates, by port or the default one.
func (b *gatewayBuild) frontend(spec *gatewayv1.Listener, tls *model.DownstreamTLS, f *findings) {
	if b.gw.Spec.TLS == nil || b.gw.Spec.TLS.Frontend == nil {
		return
	}
	front, path := b.gw.Spec.TLS.Frontend, "spec.tls.frontend.default.validation"
	v := front.Default.Validation
	for i := range front.PerPort {
		if front.PerPort[i].Port == spec.Port {
			v, path = front.PerPort[i].TLS.Validation, "spec.tls.frontend.perPort["+strconv.Itoa(i)+"].tls.validation"
		}
	}
	if v == nil {
		return
	}
	tls.Mode = model.TerminateMutual
	switch v.Mode {
	case "", gatewayv1.AllowValidOnly:
	case gatewayv1.AllowInsecureFallback:
		tls.Mode, tls.AllowUntrusted, b.insecure = model.TerminateOptionalMutual, true, true
	default:
		f.unaccepted(gatewayv1.ListenerReasonUnsupportedValue, path+".mode", strconv.Quote(string(v.Mode))+" is not known; use AllowValidOnly or AllowInsecureFallback")
	}
	for i := range v.CACertificateRefs {
		name, ok := b.bundle(&v.CACertificateRefs[i], path+".caCertificateRefs["+strconv.Itoa(i)+"]", f)
		switch {
		case !ok:
		case tls.ValidationName == "":
			tls.ValidationName = name
		default:
			f.unaccepted(gatewayv1.ListenerReasonUnsupportedValue, path+".caCertificateRefs["+strconv.Itoa(i)+"]", "one bundle is supported; put all certificates into it")
		}
	}
	if tls.ValidationName == "" {
		f.unaccepted(gatewayv1.ListenerReasonNoValidCACertificate, path+".caCertificateRefs", "no reference is valid, so no client can be verified")
	}
}

// bundle resolves one reference to a CA bundle and gives its SDS name.
func (b *gatewayBuild) bundle(ref *gatewayv1.ObjectReference, path string, f *findings) (string, bool) {
	to := model.Ref{Group: string(ref.Group), Kind: string(ref.Kind), Namespace: b.gw.Namespace, Name: string(ref.Name)}
	if ref.Namespace != nil && *ref.Namespace != "" {
		to.Namespace = string(*ref.Namespace)
	}
	if to.Group != "" || to.Kind != "ConfigMap" {
		f.unresolved(gatewayv1.ListenerReasonInvalidCACertificateKind, path, "bundles of kind "+to.Kind+" (group "+strconv.Quote(to.Group)+") are not supported; refer to a ConfigMap with the key ca.crt")
		return "", false
	}
	if !b.g.permitted(b.r, b.gw.Ref, to) {
		f.unresolved(gatewayv1.ListenerReasonRefNotPermitted, path, notPermitted(b.gw.Ref, to))
		return "", false
	}
	invalid := func(message string) (string, bool) {
		f.unresolved(gatewayv1.ListenerReasonInvalidCACertificateRef, path, message)
		return "", false
	}
	m, ok := table.Get(b.r, b.g.in.ConfigMaps, to.Key())
	if !ok {
		return invalid(to.String() + " does not exist")
	}
	pem, ok := m.Data["ca.crt"]
	if !ok {
		return invalid(to.String() + " has no key ca.crt")
	}
	if err := CheckCABundle([]byte(pem)); err != nil {
		return invalid(to.String() + ", key ca.crt: " + err.Error())
	}
	return model.CAName(to.Kind, to.Key()), true
}
