package kube

import (
	corev1 "k8s.io/api/core/v1"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/source/convert"
)

// tlsKeys are the keys of a Secret that hold TLS material: those of kubernetes.io/tls, and those of Istio's generic form.
func tlsKeys() []string {
	return []string{"tls.crt", "tls.key", "ca.crt", "cert", "key", "cacert", "crl", "ca.crl"}
}

// keptSecret keeps the TLS material of a Secret and nothing else. A Secret that has none is not read, unless its type
// promises some: then it is one to complain about.
func keptSecret(o *corev1.Secret) *model.Secret {
	s := convert.Secret(o)
	data := model.SecretData{}
	for _, k := range tlsKeys() {
		if v, has := s.Data[k]; has {
			data[k] = v
		}
	}
	if len(data) == 0 && o.Type != corev1.SecretTypeTLS {
		return nil
	}
	s.Data = data
	return s
}

// keptConfigMap keeps CA bundles; a cluster's ConfigMaps hold much else, and no selector of the API server tells them apart.
func keptConfigMap(o *corev1.ConfigMap) *model.ConfigMap {
	ca, has := o.Data["ca.crt"]
	if !has {
		return nil
	}
	m := convert.ConfigMap(o)
	m.Data = map[string]string{"ca.crt": ca}
	return m
}
