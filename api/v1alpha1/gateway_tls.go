package v1alpha1

// ServerTLSSettings is the TLS of a gateway's port.
//
// +kubebuilder:validation:XValidation:rule="(has(self.credentialName) ? 1 : 0) + (has(self.credentialNames) ? 1 : 0) + (has(self.tlsCertificates) ? 1 : 0) <= 1",message="credentialName, credentialNames and tlsCertificates exclude each other"
// +kubebuilder:validation:XValidation:rule="!has(self.mode) || !(self.mode in ['SIMPLE', 'MUTUAL', 'OPTIONAL_MUTUAL']) || has(self.credentialName) || has(self.credentialNames) || has(self.tlsCertificates) || (has(self.serverCertificate) && has(self.privateKey))",message="modes SIMPLE, MUTUAL and OPTIONAL_MUTUAL need a certificate: credentialName, credentialNames, tlsCertificates, or serverCertificate and privateKey"
type ServerTLSSettings struct {
	// HTTPSRedirect answers every plain HTTP request with a redirection to HTTPS.
	// +optional
	HTTPSRedirect bool `json:"httpsRedirect,omitempty"`

	// Mode says who terminates TLS and who shows a certificate. PASSTHROUGH if
	// absent.
	// +optional
	Mode ServerTLSMode `json:"mode,omitempty"`

	// ServerCertificate is a path to the server's certificate chain, PEM.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	ServerCertificate string `json:"serverCertificate,omitempty"`

	// PrivateKey is a path to the server's key, PEM.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	PrivateKey string `json:"privateKey,omitempty"`

	// CACertificates is a path to the authorities of client certificates, PEM.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	CACertificates string `json:"caCertificates,omitempty"`

	// CACRL is a path to a revocation list for client certificates, PEM.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	CACRL string `json:"caCrl,omitempty"`

	// CredentialName is the Secret with certificate and key (tls.crt, tls.key or
	// cert, key), for MUTUAL also ca.crt or cacert, there or in the Secret
	// "<name>-cacert".
	// +optional
	// +kubebuilder:validation:MaxLength=317
	CredentialName string `json:"credentialName,omitempty"`

	// CredentialNames are two such Secrets, one RSA and one ECDSA.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=2
	// +kubebuilder:validation:items:MaxLength=317
	CredentialNames []string `json:"credentialNames,omitempty"`

	// CACertCredentialName is the Secret or ConfigMap with the authorities of
	// client certificates; it wins over those of CredentialName.
	// +optional
	// +kubebuilder:validation:MaxLength=317
	CACertCredentialName string `json:"caCertCredentialName,omitempty"`

	// TLSCertificates are two certificates by path, one RSA and one ECDSA.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=2
	TLSCertificates []TLSCertificate `json:"tlsCertificates,omitempty"`

	// SubjectAltNames are names one of which a client certificate must carry.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	SubjectAltNames []string `json:"subjectAltNames,omitempty"`

	// VerifyCertificateSPKI are base64 SHA-256 hashes of the public keys of the
	// clients that are admitted.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	VerifyCertificateSPKI []string `json:"verifyCertificateSpki,omitempty"`

	// VerifyCertificateHash are hexadecimal SHA-256 hashes of the client
	// certificates that are admitted, with or without colons.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	VerifyCertificateHash []string `json:"verifyCertificateHash,omitempty"`

	// MinProtocolVersion is the lowest TLS version; 1.2 if absent.
	// +optional
	MinProtocolVersion TLSProtocol `json:"minProtocolVersion,omitempty"`

	// MaxProtocolVersion is the highest TLS version; 1.3 if absent.
	// +optional
	MaxProtocolVersion TLSProtocol `json:"maxProtocolVersion,omitempty"`

	// CipherSuites by OpenSSL name, for TLS up to 1.2.
	// +optional
	// +kubebuilder:validation:MaxItems=64
	CipherSuites []string `json:"cipherSuites,omitempty"`

	// InsecureSkipVerify admits clients whose certificate does not verify.
	// +optional
	InsecureSkipVerify *bool `json:"insecureSkipVerify,omitempty"`
}

// TLSCertificate is a certificate by path.
type TLSCertificate struct {
	// ServerCertificate is a path to the certificate chain, PEM.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	ServerCertificate string `json:"serverCertificate,omitempty"`

	// PrivateKey is a path to the key, PEM.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	PrivateKey string `json:"privateKey,omitempty"`

	// CACertificates is a path to the authorities of client certificates, PEM.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	CACertificates string `json:"caCertificates,omitempty"`
}

// ServerTLSMode is the treatment of TLS at a gateway's port.
//
// +kubebuilder:validation:Enum=PASSTHROUGH;SIMPLE;MUTUAL;AUTO_PASSTHROUGH;ISTIO_MUTUAL;OPTIONAL_MUTUAL
type ServerTLSMode string

// The modes.
const (
	// ServerTLSPassthrough forwards by server name, without terminating.
	ServerTLSPassthrough ServerTLSMode = "PASSTHROUGH"
	// ServerTLSSimple shows a certificate and asks for none.
	ServerTLSSimple ServerTLSMode = "SIMPLE"
	// ServerTLSMutual shows a certificate and demands one.
	ServerTLSMutual ServerTLSMode = "MUTUAL"
	// ServerTLSAutoPassthrough forwards to the cluster that the server name spells.
	ServerTLSAutoPassthrough ServerTLSMode = "AUTO_PASSTHROUGH"
	// ServerTLSIstioMutual uses the mesh's identities on both sides.
	ServerTLSIstioMutual ServerTLSMode = "ISTIO_MUTUAL"
	// ServerTLSOptionalMutual asks for a certificate and verifies one that comes.
	ServerTLSOptionalMutual ServerTLSMode = "OPTIONAL_MUTUAL"
)

// TLSProtocol is a TLS version.
//
// +kubebuilder:validation:Enum=TLS_AUTO;TLSV1_0;TLSV1_1;TLSV1_2;TLSV1_3
type TLSProtocol string

// The versions; TLS_AUTO is the default of the field.
const (
	TLSAuto TLSProtocol = "TLS_AUTO"
	TLSV10  TLSProtocol = "TLSV1_0"
	TLSV11  TLSProtocol = "TLSV1_1"
	TLSV12  TLSProtocol = "TLSV1_2"
	TLSV13  TLSProtocol = "TLSV1_3"
)
