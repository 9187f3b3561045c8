package node

import (
	"encoding/json"
	"fmt"
	"log/slog"
)

// Keys and tokens must not get out by being printed, logged or encoded: these say what is told of an SVID and a JWT.

// String implements fmt.Stringer.
func (s SVID) String() string {
	if len(s.Chain) == 0 {
		return fmt.Sprintf("SVID of %s", s.ID)
	}
	return fmt.Sprintf("SVID of %s until %s by %s", s.ID, s.Chain[0].NotAfter.UTC().Format("2006-01-02T15:04:05Z"), s.Authority)
}

// GoString implements fmt.GoStringer.
func (s SVID) GoString() string { return s.String() }

// LogValue implements slog.LogValuer.
func (s SVID) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalJSON implements json.Marshaler.
func (s SVID) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// String implements fmt.Stringer.
func (j JWT) String() string {
	return fmt.Sprintf("JWT-SVID of %s until %s", j.ID, j.Expires.UTC().Format("2006-01-02T15:04:05Z"))
}

// GoString implements fmt.GoStringer.
func (j JWT) GoString() string { return j.String() }

// LogValue implements slog.LogValuer.
func (j JWT) LogValue() slog.Value { return slog.StringValue(j.String()) }

// MarshalJSON implements json.Marshaler.
func (j JWT) MarshalJSON() ([]byte, error) { return json.Marshal(j.String()) }
