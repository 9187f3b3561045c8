package filter

import (
	"crypto/sha256"
	"encoding/binary"
)

// The numbers of what is no pod, as Hubble has them. Those of pods are from FirstIdentity on.
const (
	Host          = 1
	World         = 2
	RemoteNode    = 6
	KubeAPIServer = 7
	FirstIdentity = 1 << 16
)

// Identity is the number by which observers know an identity: of its name, and so the same on every node, as those of the kernels
// are not.
func Identity(name string) uint32 {
	sum := sha256.Sum256([]byte(name))
	return max(binary.BigEndian.Uint32(sum[:]), FirstIdentity)
}
