package keeper

import (
	"context"

	"fairlead.io/fairlead/pkg/node"
)

// JWT implements node.Identities. Each call has one signed: whoever gives tokens to pods knows which may be given again.
func (k *Keeper) JWT(ctx context.Context, uid string, audience []string) (node.JWT, error) {
	k.mu.Lock()
	p, ok := k.pods[uid]
	k.mu.Unlock()
	if !ok {
		return node.JWT{}, node.ErrUnknown
	}
	return k.cfg.Signer.SignJWT(ctx, p.PodRef, audience)
}
