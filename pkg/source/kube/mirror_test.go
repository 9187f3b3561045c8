package kube

import (
	"strings"
	"testing"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/source"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func secret(name, version string, typ corev1.SecretType, keys ...string) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, ResourceVersion: version}, Type: typ}
	s.Data = map[string][]byte{}
	for _, k := range keys {
		s.Data[k] = []byte("v")
	}
	return s
}

func told(updates []source.Update) string {
	var out []string
	for _, u := range updates {
		sign := "+"
		if u.Object == nil {
			sign = "-"
		}
		out = append(out, sign+u.Ref.Name)
	}
	return strings.Join(out, " ")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestMirrorTellsDifferences(t *testing.T) {
	q := newQueue()
	m := newMirror("", "Secret", q, with(keptSecret))
	q.expect(m.name())
	expect := func(what, want string, at uint64, wantSynced bool) {
		t.Helper()
		updates, now, synced := q.take()
		if got := told(updates); got != want || now.Seen != at || now.Complete != at || synced != wantSynced {
			t.Errorf("%s: %q at %v, synced %v; want %q at %d, %v", what, got, now, synced, want, at, wantSynced)
		}
	}
	expect("nothing yet", "", 0, false)
	must(t, m.Replace([]any{
		secret("a", "5", corev1.SecretTypeTLS, "tls.crt", "tls.key"), secret("b", "6", corev1.SecretTypeOpaque, "cacert"),
		secret("other", "7", corev1.SecretTypeOpaque, "password"), secret("empty", "8", corev1.SecretTypeTLS),
	}, "10"))
	expect("the first list, without what is not TLS", "+a +b +empty", 10, true)
	must(t, m.Bookmark("20"))
	expect("a bookmark moves the position", "", 20, true)
	must(t, m.Update(secret("other", "21", corev1.SecretTypeOpaque, "ca.crt")))
	must(t, m.Update(secret("b", "22", corev1.SecretTypeOpaque, "password")))
	expect("one comes to be kept, one ceases", "+other -b", 22, true)
	must(t, m.Delete(secret("b", "23", corev1.SecretTypeOpaque)))
	expect("the deletion of what is not kept moves the position", "", 23, true)
	must(t, m.Replace([]any{
		secret("a", "5", corev1.SecretTypeTLS, "tls.crt", "tls.key"), secret("other", "30", corev1.SecretTypeOpaque, "ca.crt"),
	}, "19"))
	expect("a list after a reconnect tells only differences, and does not move the position back", "+other -empty", 23, true)
	m.drop()
	updates, _, _ := q.take()
	if len(updates) != 2 || updates[0].Object != nil || updates[1].Object != nil {
		t.Errorf("dropped: %q, want a and other deleted", told(updates))
	}
}

func TestQueueKeepsTheLastChangeOfAnObject(t *testing.T) {
	q := newQueue()
	ref := func(name string) model.Ref { return model.Ref{Kind: "Pod", Namespace: "ns", Name: name} }
	q.push(progress{name: "Pod.", position: 1}, source.Update{Ref: ref("a"), Object: &model.Pod{}}, source.Update{Ref: ref("b"), Object: &model.Pod{}})
	q.push(progress{name: "Pod.", position: 2}, source.Update{Ref: ref("a")})
	updates, at, _ := q.take()
	if got := told(updates); got != "+b -a" || at.Seen != 2 {
		t.Errorf("%q at %v, want b, then a's deletion, at 2", got, at)
	}
}

func TestSecretsKeepOnlyTLSMaterial(t *testing.T) {
	s := keptSecret(secret("a", "1", corev1.SecretTypeOpaque, "tls.crt", "tls.key", "password"))
	if _, has := s.Data["password"]; has || len(s.Data) != 2 {
		t.Errorf("kept %v, want tls.crt and tls.key", s.Data)
	}
	c := &corev1.ConfigMap{Data: map[string]string{"ca.crt": "x", "large": "y"}}
	if m := keptConfigMap(c); len(m.Data) != 1 || m.Data["ca.crt"] != "x" {
		t.Errorf("kept %v, want ca.crt", m.Data)
	}
}

func TestCompleteIsWhatEveryKindHasReached(t *testing.T) {
	q := newQueue()
	for _, name := range []string{"Pod.", "Service.", definitionsName} {
		q.expect(name)
	}
	step := func(what string, p progress, seen, complete uint64) {
		t.Helper()
		q.push(p)
		if _, at, _ := q.take(); at.Seen != seen || at.Complete != complete {
			t.Errorf("%s: %+v, want %d and %d", what, at, seen, complete)
		}
	}
	step("one of three is listed", progress{name: "Pod.", position: 10, listed: true}, 10, 0)
	step("two of three", progress{name: definitionsName, position: 11, listed: true}, 11, 0)
	step("all: the oldest list", progress{name: "Service.", position: 12, listed: true}, 12, 10)
	step("a busy kind moves nothing but itself", progress{name: "Service.", position: 50}, 50, 10)
	step("the slowest moves", progress{name: "Pod.", position: 30}, 50, 11)
	step("and the next", progress{name: definitionsName, position: 40}, 50, 30)
	q.expect("VirtualService.fairlead.io")
	step("a new kind holds, but takes nothing back", progress{name: "Pod.", position: 60}, 60, 30)
	step("until it is listed", progress{name: "VirtualService.fairlead.io", position: 55, listed: true}, 60, 40)
	step("an older list takes nothing back", progress{name: "Pod.", position: 20, listed: true}, 60, 40)
	step("what is gone holds nothing", progress{name: definitionsName, position: 70}, 70, 50)
	step("what is gone holds nothing", progress{name: "Service.", gone: true}, 70, 55)
	step("what is gone holds nothing", progress{name: "VirtualService.fairlead.io", gone: true}, 70, 60)
}
