package issue

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"fairlead.io/fairlead/pkg/ca/authority"
)

// A replica that has the certificate of the authority and not its key (mounted files that changed before it began) sends its
// callers to another one. They are not told why; the audit is.
func TestAuthorityWithoutItsKey(t *testing.T) {
	r := newRig(t, nil)
	client := r.client()
	id := r.authority.State().Signing
	_, err := r.authority.Update(t.Context(), func(s authority.State) (authority.State, error) {
		s.Generations[0].Key = nil
		return s, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.SignX509(r.bearer(web1), batch(one(t, nil)))
	if status.Code(err) != codes.Unavailable || strings.Contains(err.Error(), id) || strings.Contains(err.Error(), "key") {
		t.Errorf("the caller is told %v", err)
	}
	records := r.log.take(t)
	if len(records) != 1 || records[0]["reason"] != string(NoAuthority) || !strings.Contains(records[0]["detail"], id) {
		t.Errorf("audit: %v; want the reason %s with authority %s", records, NoAuthority, id)
	}
}
