package resolve

import (
	"strings"

	"fairlead.io/fairlead/pkg/model"
)

// ParseSecretName takes an SDS name apart: the kind and key of the object, and whether its CA bundle is meant.
func ParseSecretName(name string) (kind, key string, ca bool) {
	if rest, ok := strings.CutPrefix(name, "ca/"); ok {
		kind, key, _ = strings.Cut(rest, "/")
		return kind, key, true
	}
	return "Secret", strings.TrimPrefix(name, "secret/"), false
}

// KeyPair is the certificate chain and private key of a Secret: tls.crt and tls.key, or cert and key as Istio's generic
// Secrets name them.
func KeyPair(s *model.Secret) (cert, key []byte) {
	return first(s.Data, "tls.crt", "cert"), first(s.Data, "tls.key", "key")
}

// CABundle is the CA bundle of a Secret: ca.crt, or cacert as Istio's generic Secrets name it. A Secret of the name
// "*-cacert" may hold it as tls.crt.
func CABundle(s *model.Secret) []byte {
	keys := []string{"ca.crt", "cacert"}
	if strings.HasSuffix(s.Name, "-cacert") {
		keys = append(keys, "tls.crt", "cert")
	}
	return first(s.Data, keys...)
}

func first(data model.SecretData, keys ...string) []byte {
	for _, k := range keys {
		if v := data[k]; len(v) > 0 {
			return v
		}
	}
	return nil
}
