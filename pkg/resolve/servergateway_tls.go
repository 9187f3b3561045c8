package resolve

import (
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"

	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
)

// serverTLS converts the TLS of a server; false leaves the server out.
func (g *gatewayRun) serverTLS(spec *v1alpha1.ServerTLSSettings, path string, s *model.Server) bool {
	if spec.HTTPSRedirect {
		g.warn(reasonInvalid, path+".httpsRedirect", "httpsRedirect is for a server of protocol HTTP and has no effect here")
	}
	s.TLS = &model.DownstreamTLS{}
	switch mode := spec.Mode; mode {
	case "", v1alpha1.ServerTLSPassthrough:
		s.TLS.Mode, s.Protocol = model.Passthrough, model.ProtoTLS
		return g.onlyPassthrough(spec, path)
	case v1alpha1.ServerTLSSimple, v1alpha1.ServerTLSMutual, v1alpha1.ServerTLSOptionalMutual:
		s.TLS.Mode = model.DownstreamTLSMode(mode)
	case v1alpha1.ServerTLSIstioMutual, v1alpha1.ServerTLSAutoPassthrough:
		g.refuse(reasonUnsupported, path+".mode", "mode %s is not supported; use SIMPLE, MUTUAL, OPTIONAL_MUTUAL or PASSTHROUGH; the server is not opened", mode)
		return false
	default:
		g.refuse(reasonInvalid, path+".mode", "mode %q is not known; use SIMPLE, MUTUAL, OPTIONAL_MUTUAL or PASSTHROUGH; the server is not opened", mode)
		return false
	}
	ok := g.versions(spec, path, s.TLS)
	ok = g.ciphers(spec.CipherSuites, path+".cipherSuites", s.TLS) && ok
	ok = g.certificates(spec, path, s.TLS) && ok
	return g.clients(spec, path, s.TLS) && ok
}

// onlyPassthrough refuses a certificate beside PASSTHROUGH: its author expects that TLS ends here.
func (g *gatewayRun) onlyPassthrough(spec *v1alpha1.ServerTLSSettings, path string) bool {
	if spec.CredentialName == "" && len(spec.CredentialNames) == 0 && spec.ServerCertificate == "" && len(spec.TLSCertificates) == 0 {
		return true
	}
	g.refuse(reasonInvalid, path+".mode", "a certificate is given, but mode PASSTHROUGH (the default) terminates nothing; set mode SIMPLE or remove the certificate; the server is not opened")
	return false
}

var tlsVersions = []v1alpha1.TLSProtocol{v1alpha1.TLSV10, v1alpha1.TLSV11, v1alpha1.TLSV12, v1alpha1.TLSV13}

func (g *gatewayRun) versions(spec *v1alpha1.ServerTLSSettings, path string, t *model.DownstreamTLS) bool {
	ok := true
	read := func(p v1alpha1.TLSProtocol, field string, to *string) int {
		if p == "" || p == v1alpha1.TLSAuto {
			return -1
		}
		i := slices.Index(tlsVersions, p)
		if i < 0 {
			g.refuse(reasonInvalid, path+field, "%q is no TLS version; use TLSV1_2 or TLSV1_3; the server is not opened", p)
			ok = false
		}
		*to = string(p)
		return i
	}
	least := read(spec.MinProtocolVersion, ".minProtocolVersion", &t.MinVersion)
	most := read(spec.MaxProtocolVersion, ".maxProtocolVersion", &t.MaxVersion)
	if least < 0 && most >= 0 && most < 2 {
		least = 2 // the default
	}
	if ok && most >= 0 && least > most {
		g.refuse(reasonInvalid, path+".maxProtocolVersion", "the highest version, %s, is below the lowest (TLSV1_2 unless minProtocolVersion is set); the server is not opened", spec.MaxProtocolVersion)
		return false
	}
	return ok
}

// cipherSuites are those that BoringSSL, and so Envoy, knows for TLS up to 1.2 (CommonTlsContext.tls_params.cipher_suites).
var cipherSuites = []string{
	"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
	"ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA",
	"ECDHE-ECDSA-AES256-SHA", "ECDHE-RSA-AES256-SHA", "AES128-GCM-SHA256", "AES256-GCM-SHA384", "AES128-SHA", "AES256-SHA",
}

func (g *gatewayRun) ciphers(list []string, path string, t *model.DownstreamTLS) bool {
	for i, c := range list {
		if !slices.Contains(cipherSuites, c) {
			g.refuse(reasonInvalid, path+"["+strconv.Itoa(i)+"]", "Envoy has no cipher suite %q; it is left out; it has %s", c, strings.Join(cipherSuites, ", "))
			continue
		}
		if !slices.Contains(t.CipherSuites, c) {
			t.CipherSuites = append(t.CipherSuites, c)
		}
	}
	if len(list) > 0 && len(t.CipherSuites) == 0 {
		g.refuse(reasonInvalid, path, "no cipher suite is left; the server is not opened")
		return false
	}
	return true
}

// certificates finds what the server shows.
func (g *gatewayRun) certificates(spec *v1alpha1.ServerTLSSettings, path string, t *model.DownstreamTLS) bool {
	sources := 0
	for _, set := range []bool{spec.CredentialName != "", len(spec.CredentialNames) > 0, len(spec.TLSCertificates) > 0, spec.ServerCertificate != "" || spec.PrivateKey != ""} {
		if set {
			sources++
		}
	}
	switch {
	case sources != 1:
		g.refuse(reasonInvalid, path, "mode %s needs one of credentialName, credentialNames, tlsCertificates, or serverCertificate with privateKey; the server is not opened", t.Mode)
		return false
	case spec.CredentialName != "":
		return g.credential(spec.CredentialName, path+".credentialName", t)
	case len(spec.CredentialNames) > 0:
		for i, name := range spec.CredentialNames {
			g.credential(name, path+".credentialNames["+strconv.Itoa(i)+"]", t)
		}
		return len(t.Certificates) > 0
	case len(spec.TLSCertificates) > 0:
		c := spec.TLSCertificates[0]
		if len(spec.TLSCertificates) > 1 || c.CACertificates != "" {
			g.refuse(reasonUnsupported, path+".tlsCertificates", "several certificates by path, and caCertificates among them, are not supported; use credentialNames and caCertificates of the server; the server is not opened")
			return false
		}
		t.CertificateFile, t.KeyFile = c.ServerCertificate, c.PrivateKey
	default:
		t.CertificateFile, t.KeyFile = spec.ServerCertificate, spec.PrivateKey
	}
	if t.CertificateFile == "" || t.KeyFile == "" {
		g.refuse(reasonInvalid, path, "serverCertificate and privateKey belong together; the server is not opened")
		return false
	}
	return true
}

// secretKey is the key of a Secret that a Gateway names: always in the Gateway's own namespace.
func (g *gatewayRun) secretKey(name, path string) (string, bool) {
	plain := strings.TrimPrefix(name, "kubernetes://")
	if strings.Contains(plain, "/") {
		g.refuse(reasonUnresolved, path, "%q is not the name of a Secret in namespace %s, the only one that the Gateway may use; the server is not opened", name, g.gw.Namespace)
		return "", false
	}
	return model.Key(g.gw.Namespace, plain), true
}

func (g *gatewayRun) credential(name, path string, t *model.DownstreamTLS) bool {
	key, ok := g.secretKey(name, path)
	if !ok {
		return false
	}
	s, ok := table.Get(g.r, g.in.Secrets, key)
	if !ok {
		g.refuse(reasonUnresolved, path, "Secret %s does not exist; create it (tls.crt and tls.key) or correct the name; the server is not opened with it", key)
		return false
	}
	if err := CheckKeyPair(KeyPair(s)); err != nil {
		g.refuse(reasonUnresolved, path, "Secret %s cannot be served: %s; the server is not opened with it", key, err)
		return false
	}
	t.Certificates = append(t.Certificates, model.SecretName(key))
	return true
}

// clients settles which client certificates are admitted.
func (g *gatewayRun) clients(spec *v1alpha1.ServerTLSSettings, path string, t *model.DownstreamTLS) bool {
	ok := true
	if spec.CACRL != "" {
		g.refuse(reasonUnsupported, path+".caCrl", "revocation lists are not supported; the server is not opened, as revoked clients would be admitted; remove the field")
		ok = false
	}
	if t.Mode == model.TerminateSimple {
		return g.noClients(spec, path) && ok
	}
	t.SubjectAltNames = spec.SubjectAltNames
	ok = g.pins(spec, path, t) && ok
	t.AllowUntrusted = spec.InsecureSkipVerify != nil && *spec.InsecureSkipVerify
	if t.AllowUntrusted {
		g.warn(reasonInvalid, path+".insecureSkipVerify", "clients are admitted whatever their certificate says; remove the field")
	}
	switch {
	case spec.CACertCredentialName != "":
		return g.caByName(spec.CACertCredentialName, path+".caCertCredentialName", t) && ok
	case spec.CACertificates != "":
		t.CAFile = spec.CACertificates
		return ok
	case spec.CredentialName != "" || len(spec.CredentialNames) > 0:
		names, field := spec.CredentialNames, ".credentialNames[0]"
		if spec.CredentialName != "" {
			names, field = []string{spec.CredentialName}, ".credentialName"
		}
		return g.caBeside(names[0], path+field, t) && ok
	}
	g.refuse(reasonInvalid, path+".caCertificates", "mode %s needs the authorities of client certificates: caCertificates or caCertCredentialName; the server is not opened", t.Mode)
	return false
}

// noClients refuses demands on client certificates where none is asked for.
func (g *gatewayRun) noClients(spec *v1alpha1.ServerTLSSettings, path string) bool {
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"subjectAltNames", len(spec.SubjectAltNames) > 0},
		{"verifyCertificateSpki", len(spec.VerifyCertificateSPKI) > 0},
		{"verifyCertificateHash", len(spec.VerifyCertificateHash) > 0},
		{"caCertificates", spec.CACertificates != ""},
		{"caCertCredentialName", spec.CACertCredentialName != ""},
	} {
		if f.set {
			g.refuse(reasonInvalid, path+"."+f.name, "mode SIMPLE asks clients for no certificate, so %s would admit everyone; use MUTUAL or remove the field; the server is not opened", f.name)
			return false
		}
	}
	return true
}

// pins checks the hashes of client certificates: Envoy refuses others than SHA-256 in base64 (keys) and hex (whole).
func (g *gatewayRun) pins(spec *v1alpha1.ServerTLSSettings, path string, t *model.DownstreamTLS) bool {
	t.SPKI, t.Hashes = spec.VerifyCertificateSPKI, spec.VerifyCertificateHash
	for i, p := range t.SPKI {
		if b, err := base64.StdEncoding.DecodeString(p); err != nil || len(b) != 32 {
			g.refuse(reasonInvalid, path+".verifyCertificateSpki["+strconv.Itoa(i)+"]", "%q is no SHA-256 in base64; the server is not opened", p)
			return false
		}
	}
	for i, h := range t.Hashes {
		if b, err := hex.DecodeString(strings.ReplaceAll(h, ":", "")); err != nil || len(b) != 32 {
			g.refuse(reasonInvalid, path+".verifyCertificateHash["+strconv.Itoa(i)+"]", "%q is no SHA-256 in hexadecimal; the server is not opened", h)
			return false
		}
	}
	return true
}

// caByName takes the bundle of a Secret or ConfigMap of that name.
func (g *gatewayRun) caByName(name, path string, t *model.DownstreamTLS) bool {
	key, ok := g.secretKey(name, path)
	if !ok {
		return false
	}
	if s, ok := table.Get(g.r, g.in.Secrets, key); ok {
		return g.bundle("Secret", key, CABundle(s), path, t)
	}
	if c, ok := table.Get(g.r, g.in.ConfigMaps, key); ok {
		return g.bundle("ConfigMap", key, []byte(c.Data["ca.crt"]), path, t)
	}
	g.refuse(reasonUnresolved, path, "neither a Secret nor a ConfigMap %s exists; create one with ca.crt or correct the name; the server is not opened", key)
	return false
}

// caBeside takes the bundle of the Secret "<name>-cacert", or of the server's own Secret.
func (g *gatewayRun) caBeside(name, path string, t *model.DownstreamTLS) bool {
	key, ok := g.secretKey(name, path)
	if !ok {
		return false
	}
	if s, ok := table.Get(g.r, g.in.Secrets, key+"-cacert"); ok {
		return g.bundle("Secret", key+"-cacert", CABundle(s), path, t)
	}
	s, ok := table.Get(g.r, g.in.Secrets, key)
	if ok {
		if ca := CABundle(s); len(ca) > 0 {
			return g.bundle("Secret", key, ca, path, t)
		}
		g.refuse(reasonUnresolved, path, "mode %s needs the authorities of client certificates: add ca.crt to Secret %s or create Secret %s-cacert; the server is not opened", t.Mode, key, key)
	}
	return false
}

func (g *gatewayRun) bundle(kind, key string, pem []byte, path string, t *model.DownstreamTLS) bool {
	if err := CheckCABundle(pem); err != nil {
		g.refuse(reasonUnresolved, path, "%s %s is no CA bundle: %s; the server is not opened", kind, key, err)
		return false
	}
	t.ValidationName = model.CAName(kind, key)
	return true
}
