package v2

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// CIDRRule is addresses outside of the cluster; one of cidr, cidrGroupRef and cidrGroupSelector is set.
type CIDRRule struct {
	// +optional
	CIDR string `json:"cidr,omitempty"`
	// +optional
	CIDRGroupRef string `json:"cidrGroupRef,omitempty"`
	// +optional
	CIDRGroupSelector *metav1.LabelSelector `json:"cidrGroupSelector,omitempty"`
	// Except are ranges inside of cidr.
	// +optional
	Except []string `json:"except,omitempty"`
}

// Service is a Service by its name or by its labels.
type Service struct {
	// +optional
	K8sService *K8sService `json:"k8sService,omitempty"`
	// +optional
	K8sServiceSelector *K8sServiceSelector `json:"k8sServiceSelector,omitempty"`
}

// K8sService names a Service, in any namespace if none is given.
type K8sService struct {
	// +optional
	ServiceName string `json:"serviceName,omitempty"`
	// +optional
	Namespace string `json:"namespace,omitempty"`
}

// K8sServiceSelector selects Services by their labels, in any namespace if none is given.
type K8sServiceSelector struct {
	Selector metav1.LabelSelector `json:"selector"`
	// +optional
	Namespace string `json:"namespace,omitempty"`
}

// Groups are addresses that a cloud knows.
type Groups struct {
	// +optional
	AWS *AWSGroup `json:"aws,omitempty"`
}

// AWSGroup selects instances of AWS.
type AWSGroup struct {
	// +optional
	Labels map[string]string `json:"labels,omitempty"`
	// +optional
	SecurityGroupsIDs []string `json:"securityGroupsIds,omitempty"`
	// +optional
	SecurityGroupsNames []string `json:"securityGroupsNames,omitempty"`
	// +optional
	Region string `json:"region,omitempty"`
}

// FQDNSelector is a name, or a pattern of names with "*".
type FQDNSelector struct {
	// +optional
	MatchName string `json:"matchName,omitempty"`
	// +optional
	MatchPattern string `json:"matchPattern,omitempty"`
}

// Authentication is what must be proved.
type Authentication struct {
	// Mode is disabled, required or test-always-fail.
	// +kubebuilder:validation:Enum=disabled;required;test-always-fail
	Mode string `json:"mode"`
}

// PortRule is ports, and what is said on them.
type PortRule struct {
	// +optional
	// +kubebuilder:validation:MaxItems=40
	Ports []PortProtocol `json:"ports,omitempty"`
	// +optional
	TerminatingTLS *TLSContext `json:"terminatingTLS,omitempty"`
	// +optional
	OriginatingTLS *TLSContext `json:"originatingTLS,omitempty"`
	// +optional
	ServerNames []string `json:"serverNames,omitempty"`
	// +optional
	Listener *Listener `json:"listener,omitempty"`
	// +optional
	Rules *L7Rules `json:"rules,omitempty"`
}

// PortDenyRule is ports.
type PortDenyRule struct {
	// +optional
	Ports []PortProtocol `json:"ports,omitempty"`
}

// PortProtocol is a port, a range or a named port.
type PortProtocol struct {
	// Port is a number, 0 for all, or a name.
	// +optional
	Port string `json:"port,omitempty"`
	// EndPort makes a range of a port that is a number.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	EndPort int32 `json:"endPort,omitempty"`
	// Protocol is TCP, UDP, SCTP, one of those without ports (VRRP, IGMP, GRE, IPIP, IPV6, ESP, AH), or ANY: TCP, UDP and SCTP.
	// +optional
	Protocol string `json:"protocol,omitempty"`
}

// ICMPRule is types of ICMP.
type ICMPRule struct {
	// +optional
	// +kubebuilder:validation:MaxItems=40
	Fields []ICMPField `json:"fields,omitempty"`
}

// ICMPField is a type of ICMP.
type ICMPField struct {
	// Family is IPv4 or IPv6.
	// +optional
	// +kubebuilder:default=IPv4
	// +kubebuilder:validation:Enum=IPv4;IPv6
	Family string `json:"family,omitempty"`
	// Type is a number or a name.
	// +kubebuilder:validation:XIntOrString
	Type *intstr.IntOrString `json:"type"`
}

// L7Rules are what requests must be.
type L7Rules struct {
	// +optional
	HTTP []HTTPRule `json:"http,omitempty"`
	// +optional
	Kafka []KafkaRule `json:"kafka,omitempty"`
	// +optional
	DNS []FQDNSelector `json:"dns,omitempty"`
	// +optional
	L7Proto string `json:"l7proto,omitempty"`
	// +optional
	L7 []map[string]string `json:"l7,omitempty"`
}

// HTTPRule is what an HTTP request must be.
type HTTPRule struct {
	// +optional
	Path string `json:"path,omitempty"`
	// +optional
	Method string `json:"method,omitempty"`
	// +optional
	Host string `json:"host,omitempty"`
	// +optional
	Headers []string `json:"headers,omitempty"`
	// +optional
	HeaderMatches []HeaderMatch `json:"headerMatches,omitempty"`
}

// HeaderMatch is what a header must be, and what happens where it is not.
type HeaderMatch struct {
	// +optional
	Mismatch string `json:"mismatch,omitempty"`
	Name     string `json:"name"`
	// +optional
	Secret *Secret `json:"secret,omitempty"`
	// +optional
	Value string `json:"value,omitempty"`
}

// KafkaRule is what a request of Kafka must be.
type KafkaRule struct {
	// +optional
	Role string `json:"role,omitempty"`
	// +optional
	APIKey string `json:"apiKey,omitempty"`
	// +optional
	APIVersion string `json:"apiVersion,omitempty"`
	// +optional
	ClientID string `json:"clientID,omitempty"`
	// +optional
	Topic string `json:"topic,omitempty"`
}

// TLSContext is what a proxy terminates or originates TLS with.
type TLSContext struct {
	Secret *Secret `json:"secret"`
	// +optional
	TrustedCA string `json:"trustedCA,omitempty"`
	// +optional
	Certificate string `json:"certificate,omitempty"`
	// +optional
	PrivateKey string `json:"privateKey,omitempty"`
}

// Secret names a Secret.
type Secret struct {
	// +optional
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// Listener is a listener of a CiliumEnvoyConfig.
type Listener struct {
	EnvoyConfig *EnvoyConfig `json:"envoyConfig"`
	Name        string       `json:"name"`
	// +optional
	Priority int32 `json:"priority,omitempty"`
}

// EnvoyConfig names a CiliumEnvoyConfig or CiliumClusterwideEnvoyConfig.
type EnvoyConfig struct {
	// +optional
	Kind string `json:"kind,omitempty"`
	Name string `json:"name"`
}
