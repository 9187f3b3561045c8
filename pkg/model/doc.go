// Package model holds the domain types of Fairlead: plain values that know neither Kubernetes nor Envoy.
//
//	source → table → resolve → {translate, verdict} → snapshot → push → {Envoy, shim} → ACK/NACK
//
// Sources convert what they read into these values, resolve joins them, and translate turns the joined values into
// Envoy resources. A value is immutable once it has been handed over: change a copy.
package model
