// Package demo shows Fairlead at work: backends on loopback, the server on a folder of manifests, a real Envoy subscribed over
// delta ADS, and real requests through it, each with what was expected and what was seen.
//
// It stands at the end of the line source → table → resolve → {translate, verdict} → snapshot → push → {Envoy, shim} → ACK/NACK
// and looks at it from outside, as a client of the Envoy and as an author of manifests.
package demo
