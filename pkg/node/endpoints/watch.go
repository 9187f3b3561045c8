package endpoints

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/vishvananda/netlink"
)

// Watch gives a channel that has something in it when interfaces or addresses have changed, and is closed after ctx has ended. What was missed is not told: look at
// everything now and then.
func (h *Host) Watch(ctx context.Context, log *slog.Logger) (<-chan struct{}, error) {
	failed := func(err error) {
		if ctx.Err() == nil {
			log.Warn("watching interfaces failed; they are looked at now and then", "error", err)
		}
	}
	links, addresses := make(chan netlink.LinkUpdate, 16), make(chan netlink.AddrUpdate, 16)
	if err := netlink.LinkSubscribeWithOptions(links, ctx.Done(), netlink.LinkSubscribeOptions{Namespace: &h.ns, ErrorCallback: failed}); err != nil {
		return nil, fmt.Errorf("watch interfaces: %w", err)
	}
	if err := netlink.AddrSubscribeWithOptions(addresses, ctx.Done(), netlink.AddrSubscribeOptions{Namespace: &h.ns, ErrorCallback: failed}); err != nil {
		return nil, fmt.Errorf("watch addresses: %w", err)
	}
	out := make(chan struct{}, 1)
	go func() {
		defer close(out)
		for links != nil || addresses != nil {
			select {
			case _, ok := <-links:
				if !ok {
					links = nil
				}
			case _, ok := <-addresses:
				if !ok {
					addresses = nil
				}
			}
			select {
			case out <- struct{}{}:
			default:
			}
		}
	}()
	return out, nil
}
