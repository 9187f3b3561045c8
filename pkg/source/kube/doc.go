// Package kube watches a Kubernetes API server.
//
//	source → table → resolve → {translate, verdict} → snapshot → push → {Envoy, shim} → ACK/NACK
//
// It is one of the two sources. Each resource has a reflector of client-go (list, watch, reconnect) that fills a mirror;
// mirrors convert at once, keep only names and resource versions, and push changes to one queue; one goroutine hands over
// all that waits there. There are no timers: what arrives while the receiver is busy is the next burst.
//
//	reflector → mirror ─┐
//	reflector → mirror ─┼→ queue → Apply, Synced
//	CRDs → definitions ─┘ (starts and stops the mirrors of custom kinds)
//
// The queue keeps for each kind how far it has been read: the highest is the position seen, the lowest the complete one.
// While somebody waits for a complete position (Want), the prover lists the kinds that are behind and have nothing to tell,
// compares (mirror.prove), and makes a watch anew that withholds what a list shows. resourceVersions are compared across
// kinds, which is right where all of them are kept in one etcd.
//
// A custom kind whose CustomResourceDefinition is absent counts as synced; when the definition comes the kind is read, and
// when it goes its objects do. While the API server is away nothing changes.
package kube
