package rotate

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"fairlead.io/fairlead/pkg/ca/authority"
)

// Rotate begins a rotation: to what is mounted and does not sign, or to a new authority. without are nodes that are not
// waited for.
func (m *Machine) Rotate(ctx context.Context, without []string) error {
	now, without := m.cfg.Now(), names(nil, without)
	return m.command(ctx, ReasonStarted, "rotation was begun by command", func(s authority.State) (authority.State, error) {
		signing := generation(&s, s.Signing)
		g := mounted(&s, now)
		switch {
		case signing == nil:
			return s, errors.New("rotate: there is no authority yet")
		case s.Rotation.Stage != authority.Stable: // begin says it
			g = signing
		case g == nil && signing.Source == authority.Mounted:
			return s, fmt.Errorf("rotate: authority %s is mounted: mount another one, and the rotation begins by itself%s", signing.ID, again(&s))
		case g == nil:
			made, err := m.cfg.Generate(now)
			if err != nil {
				return s, fmt.Errorf("rotate: %w", err)
			}
			g = &made
		}
		return m.beginning(*g, without, now)(s)
	})
}

// again says how to have an authority that a rotation was aborted to.
func again(s *authority.State) string {
	for _, id := range s.Declined {
		if generation(s, id) == nil {
			return "; authority " + id + " was withdrawn by an abort: to have it after all, mount the former one for 5 minutes, and then that"
		}
	}
	return ""
}

// Pause keeps the stage until Resume.
func (m *Machine) Pause(ctx context.Context) error {
	return m.command(ctx, ReasonPaused, "rotation was paused by command", pause)
}

// Resume ends a pause. without are more nodes that are not waited for.
func (m *Machine) Resume(ctx context.Context, without []string) error {
	without = names(nil, without)
	message := "rotation was resumed by command"
	if len(without) > 0 {
		message += " without " + strings.Join(without, ", ")
	}
	return m.command(ctx, ReasonResumed, message, func(s authority.State) (authority.State, error) { return resume(s, without) })
}

// Abort goes back to the old authority: at once while the new one has signed nothing; else the old one signs again, and the
// new one is withdrawn when its last certificate has ended.
func (m *Machine) Abort(ctx context.Context) error {
	return m.command(ctx, ReasonAborted, "rotation was aborted by command", func(s authority.State) (authority.State, error) {
		return abort(s, m.cfg.Now())
	})
}

// command makes a step of whatever the state is.
func (m *Machine) command(ctx context.Context, reason, message string, next transition) error {
	if _, err := m.cfg.Authority.Update(ctx, next); err != nil {
		return err
	}
	m.told(reason, message)
	return nil
}
