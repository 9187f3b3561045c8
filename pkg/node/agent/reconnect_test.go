package agent

import (
	"errors"
	"testing"
)

// A control plane that comes again is known to be there also when it has nothing new to say.
func TestServerComesAgainUnchanged(t *testing.T) {
	r := newRig(t)
	r.server.Run(pods("a")...)
	r.start(t)
	r.valid(t, "sa-a")
	r.server.Stop()
	eventually(t, "the loss is seen", func() error {
		if s, err := r.status(); err != nil || s.Control.Connected {
			return errors.Join(errors.New("connected"), err)
		}
		return nil
	})
	r.server.Start()
	eventually(t, "the server is there again", func() error {
		if s, err := r.status(); err != nil || !s.Control.Connected || s.Control.Error != "" {
			return errors.Join(errors.New("not connected: "+s.Control.Error), err)
		}
		return nil
	})
}
