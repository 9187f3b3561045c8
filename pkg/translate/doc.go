// Package translate turns resolved values into Envoy resources. Every function is pure: no clock, no network, no
// Kubernetes; one file a feature.
//
//	source → table → resolve → {translate, verdict} → snapshot → push → {Envoy, shim} → ACK/NACK
package translate
