package resolve

import (
	"fmt"
	"strings"

	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
)

// caKey is the key of CA bundles, caSuffix ends the name of the Secret that holds a bundle apart (Istio).
const caKey, caSuffix = "ca.crt", "-cacert"

// credential is what a credentialName leads to: SDS names, or why there is none.
type credential struct {
	certificate, authority     string
	noCertificate, noAuthority string // why not
}

// credentials looks up all credentialNames of rules, which are of one namespace.
func (p *Policies) credentials(r *table.Reader, rules []*DestinationRule) map[string]credential {
	var out map[string]credential
	for _, d := range rules {
		for _, t := range tlsSettings(&d.Spec) {
			if t.CredentialName == "" {
				continue
			}
			if out == nil {
				out = map[string]credential{}
			}
			if _, ok := out[t.CredentialName]; !ok {
				out[t.CredentialName] = p.credential(r, d.Namespace, t.CredentialName)
			}
		}
	}
	return out
}

// credential reads the Secret of a name in the rule's namespace: another namespace's is not the rule's author's to use.
func (p *Policies) credential(r *table.Reader, namespace, name string) credential {
	if ns, n, ok := strings.Cut(name, "/"); ok {
		if ns != namespace {
			why := fmt.Sprintf("the Secret %s is in another namespace than the rule; copy it", name)
			return credential{noCertificate: why, noAuthority: why}
		}
		name = n
	}
	key := model.Key(namespace, name)
	c := credential{noCertificate: "there is no Secret " + key, noAuthority: "there is no Secret or ConfigMap " + key + " with " + caKey}
	if s, ok := table.Get(r, p.in.Secrets, key); ok {
		if err := CheckKeyPair(KeyPair(s)); err == nil {
			c.certificate, c.noCertificate = model.SecretName(key), ""
		} else {
			c.noCertificate = fmt.Sprintf("certificate and key of Secret %s cannot be used: %v", key, err)
		}
		if c.take(CABundle(s), "Secret", key) {
			return c
		}
	}
	if s, ok := table.Get(r, p.in.Secrets, key+caSuffix); ok && c.take(CABundle(s), "Secret", key+caSuffix) {
		return c
	}
	if m, ok := table.Get(r, p.in.ConfigMaps, key); ok {
		c.take([]byte(m.Data[caKey]), "ConfigMap", key)
	}
	return c
}

// take uses a CA bundle, or tells why it cannot. It returns false where there is none.
func (c *credential) take(bundle []byte, kind, key string) bool {
	if len(bundle) == 0 {
		return false
	}
	if err := CheckCABundle(bundle); err != nil {
		c.noAuthority = fmt.Sprintf("the CA bundle of %s %s cannot be used: %v", kind, key, err)
		return true
	}
	c.authority, c.noAuthority = model.CAName(kind, key), ""
	return true
}

// noMeshIdentity is why ISTIO_MUTUAL sends nothing: plaintext instead would be a downgrade.
const noMeshIdentity = "ISTIO_MUTUAL needs certificates of the mesh itself, which are not issued; nothing is sent to the host: use SIMPLE or MUTUAL, or remove tls"

// upstreamTLS reads TLS settings. refused says why nothing may be sent with them, and at which field.
func upstreamTLS(t *v1alpha1.ClientTLSSettings, creds map[string]credential) (out *model.UpstreamTLS, refused, field string) {
	out = &model.UpstreamTLS{
		Mode: model.TLSMode(t.Mode), SNI: t.SNI, SubjectAltNames: t.SubjectAltNames,
		InsecureNoVerify: t.InsecureSkipVerify != nil && *t.InsecureSkipVerify,
		CertificateFile:  t.ClientCertificate, KeyFile: t.PrivateKey, CAFile: t.CACertificates, CRLFile: t.CACRL,
	}
	switch t.Mode {
	case "", v1alpha1.ClientTLSDisable:
		return &model.UpstreamTLS{Mode: model.TLSDisable}, "", ""
	case v1alpha1.ClientTLSIstioMutual:
		return out, noMeshIdentity, ".mode"
	case v1alpha1.ClientTLSSimple, v1alpha1.ClientTLSMutual:
	default:
		return out, fmt.Sprintf("%q is not one of DISABLE, SIMPLE, MUTUAL, ISTIO_MUTUAL; nothing is sent to the host", t.Mode), ".mode"
	}
	for _, name := range t.SubjectAltNames {
		if name == "" || strings.HasPrefix(name, "*") && !strings.HasPrefix(name, "*.") {
			return out, fmt.Sprintf("%q is no name that a certificate could carry; nothing is sent to the host", name), ".subjectAltNames"
		}
	}
	if strings.Contains(t.SNI, "*") {
		return out, fmt.Sprintf("%q is no server name; nothing is sent to the host: write a name without a wildcard", t.SNI), ".sni"
	}
	if t.CredentialName != "" {
		refused, field = useCredential(out, t, creds[t.CredentialName])
		return out, refused, field
	}
	switch mutual := t.Mode == v1alpha1.ClientTLSMutual; {
	case mutual && (t.ClientCertificate == "" || t.PrivateKey == ""):
		return out, "MUTUAL needs credentialName, or clientCertificate and privateKey; nothing is sent to the host", ".mode"
	case !mutual:
		out.CertificateFile, out.KeyFile = "", ""
	}
	return out, "", ""
}

// useCredential takes certificate and authorities from a Secret. Without authorities in it, MUTUAL trusts the system's.
func useCredential(out *model.UpstreamTLS, t *v1alpha1.ClientTLSSettings, c credential) (refused, field string) {
	if t.ClientCertificate != "" || t.PrivateKey != "" || t.CACertificates != "" {
		return "credentialName excludes clientCertificate, privateKey and caCertificates; nothing is sent to the host: keep one of the two", ".credentialName"
	}
	if t.Mode == v1alpha1.ClientTLSMutual {
		if c.noCertificate != "" {
			return c.noCertificate + "; nothing is sent to the host", ".credentialName"
		}
		out.CertificateName = c.certificate
	}
	if !out.InsecureNoVerify {
		if c.noAuthority != "" && (t.Mode == v1alpha1.ClientTLSSimple || !strings.HasPrefix(c.noAuthority, "there is no ")) {
			return c.noAuthority + "; nothing is sent to the host", ".credentialName"
		}
		out.ValidationName = c.authority
	}
	return "", ""
}

// complete fills in what depends on the host: the names that the server must prove, and the server name that is asked for
// where there is no request to take it from.
func (h *policyHost) complete(t *model.TrafficPolicy, p *model.HostPort) {
	if t.TLS == nil || t.TLS.Mode == model.TLSDisable || t.Refused != "" {
		return
	}
	if len(t.TLS.SubjectAltNames) == 0 {
		t.TLS.SubjectAltNames = h.names
	}
	if t.TLS.SNI != "" || p.Protocol.IsHTTP() {
		return
	}
	if !strings.HasPrefix(h.name, "*") {
		t.TLS.SNI = h.name
		return
	}
	if len(t.TLS.SubjectAltNames) == 0 && !t.TLS.InsecureNoVerify {
		t.Refused = fmt.Sprintf("port %d of %s has no name that the server could prove; nothing is sent to it: set tls.sni or tls.subjectAltNames", p.Number, h.name)
	}
}

// check notes what only the host shows about the TLS of its rules.
func (p *Policy) check() {
	subsets := []string{""}
	for _, s := range p.Subsets {
		subsets = append(subsets, s.Name)
	}
	for _, port := range p.host.ports {
		for _, s := range subsets {
			t := p.For(port.Number, s)
			if !strings.HasPrefix(t.Refused, "port ") {
				continue
			}
			for _, o := range p.Origins {
				p.problems = append(p.problems, problem{rule: ObjectKey(o), reason: reasonInvalid, path: "spec.trafficPolicy.tls", message: t.Refused})
			}
		}
	}
}
