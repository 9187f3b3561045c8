package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"

	"fairlead.io/fairlead/pkg/ca/authority"
)

// What a Secret of ours carries, so that no other one is taken for it or overwritten.
const (
	secretLabel = "fairlead.io/authority"
	secretValue = "state"
	managedBy   = "app.kubernetes.io/managed-by"
)

// Secret keeps a state in a Secret, for all replicas of a cluster. Its needs: get, list, watch and update of that one name, and create
// of Secrets in the namespace.
//
// Who creates the Secret has made the first authority; the others find that it exists and load it. An update carries the
// resourceVersion that was loaded, so the API server decides who was first. While there is no API server the last state stays.
type Secret struct {
	client          corev1client.SecretInterface
	unfit           any // the client, for what it cannot do
	namespace, name string
	log             *slog.Logger

	mu     sync.Mutex
	newest string          // the highest resourceVersion that was loaded, saved or told
	last   authority.State // that of newest
	fails  failures
}

// failures is what went wrong when it was last tried: to ask the API server, to make sense of what it has, and to write.
type failures struct{ ask, content, write error }

// NewSecret makes a store of a Secret. It reads nothing yet.
func NewSecret(client kubernetes.Interface, namespace, name string) *Secret {
	return &Secret{
		client: client.CoreV1().Secrets(namespace), unfit: client, namespace: namespace, name: name,
		log: slog.New(slog.DiscardHandler),
	}
}

// WithLog has the store say what it meets while it watches, and gives the store.
func (s *Secret) WithLog(log *slog.Logger) *Secret {
	s.log = log
	return s
}

// Err is why the Secret could not be read or written when that was last tried; nil when it could. What was read last stays in use.
func (s *Secret) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.fails.ask, s.fails.content, s.fails.write)
}

// failing notes why something failed; nil when it did not. What says that a caller has gone is neither.
func (s *Secret) failing(slot *error, doing string, err error) {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return
	case err != nil:
		err = fmt.Errorf("%s Secret %s/%s: %w", doing, s.namespace, s.name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	*slot = err
}

// Load implements authority.Store.
func (s *Secret) Load(ctx context.Context) (authority.State, authority.Version, error) {
	obj, err := s.client.Get(ctx, s.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		s.failing(&s.fails.ask, "", nil)
		return authority.State{}, "", authority.ErrNone
	}
	s.failing(&s.fails.ask, "read", err)
	if err != nil {
		return authority.State{}, "", fmt.Errorf("read authority: %w", err)
	}
	state, err := s.decode(obj)
	if err != nil {
		return authority.State{}, "", err
	}
	s.note(obj.ResourceVersion, state)
	return state.Clone(), authority.Version(obj.ResourceVersion), nil
}

func (s *Secret) decode(obj *corev1.Secret) (authority.State, error) {
	state, err := func() (authority.State, error) {
		if obj.Labels[secretLabel] != secretValue {
			return authority.State{}, fmt.Errorf("it has no label %s=%s, so it is not ours: give another name, or remove it", secretLabel, secretValue)
		}
		b, ok := obj.Data[stateFile]
		if !ok {
			return authority.State{}, fmt.Errorf("it has no %s: restore it from a backup, or remove it to begin with a new authority", stateFile)
		}
		return Decode(b)
	}()
	s.failing(&s.fails.content, "read", err)
	if err != nil {
		err = fmt.Errorf("read Secret %s/%s: %w", s.namespace, s.name, err)
	}
	return state, err
}

// note takes down what is known of the Secret, and tells whether nothing younger is known.
func (s *Secret) note(version string, state authority.State) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.newest != "" {
		if c, err := resourceversion.CompareResourceVersion(version, s.newest); err == nil && c < 0 {
			return false
		}
	}
	s.newest, s.last = version, state
	return true
}

// Save implements authority.Store.
func (s *Secret) Save(ctx context.Context, state authority.State, version authority.Version) (authority.Version, error) {
	b, err := Encode(state)
	if err != nil {
		return "", fmt.Errorf("write authority: %w", err)
	}
	var saved *corev1.Secret
	if version == "" {
		saved, err = s.client.Create(ctx, s.object(nil, b), metav1.CreateOptions{FieldManager: "fairlead"})
	} else {
		saved, err = s.update(ctx, b, version)
	}
	switch {
	case errors.Is(err, authority.ErrConflict), apierrors.IsAlreadyExists(err), apierrors.IsConflict(err), apierrors.IsNotFound(err) && version != "":
		s.failing(&s.fails.write, "", nil)
		return "", authority.ErrConflict
	}
	s.failing(&s.fails.write, "write", err)
	if err != nil {
		return "", fmt.Errorf("write Secret %s/%s: %w", s.namespace, s.name, err)
	}
	s.note(saved.ResourceVersion, state.Clone())
	return authority.Version(saved.ResourceVersion), nil
}

// update replaces the state and keeps what others have put onto the Secret.
func (s *Secret) update(ctx context.Context, b []byte, version authority.Version) (*corev1.Secret, error) {
	obj, err := s.client.Get(ctx, s.name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	if obj.ResourceVersion != string(version) {
		return nil, authority.ErrConflict
	}
	return s.client.Update(ctx, s.object(obj, b), metav1.UpdateOptions{FieldManager: "fairlead"})
}

func (s *Secret) object(old *corev1.Secret, b []byte) *corev1.Secret {
	obj := old
	if obj == nil {
		obj = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: s.name}, Type: corev1.SecretTypeOpaque}
	}
	obj.Labels = with(obj.Labels, secretLabel, secretValue)
	obj.Labels = with(obj.Labels, managedBy, "fairlead")
	obj.Annotations = with(obj.Annotations, "fairlead.io/description",
		"The certificate authority of the mesh: whoever reads it can be anybody, and without it every certificate must be made anew.")
	obj.Data = map[string][]byte{stateFile: b}
	return obj
}

func with(m map[string]string, key, value string) map[string]string {
	m = maps.Clone(m)
	if m == nil {
		m = map[string]string{}
	}
	m[key] = value
	return m
}

// Watch implements authority.Store. What cannot be read is no news: the last state stays, and Err says why. A Secret that is
// removed is made again with the state that is known here, because a replica that starts without it would make another root.
func (s *Secret) Watch(ctx context.Context, fn func(authority.State, authority.Version)) error {
	field := fields.OneTermEqualSelector("metadata.name", s.name).String()
	lw := cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = field
			list, err := s.client.List(ctx, o)
			s.failing(&s.fails.ask, "list", err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = field
			w, err := s.client.Watch(ctx, o)
			s.failing(&s.fails.ask, "watch", err)
			return w, err
		},
	}, s.unfit)
	var told string // the version
	take := func(o any) {
		obj, ok := o.(*corev1.Secret)
		if !ok {
			return
		}
		state, err := s.decode(obj)
		if err != nil {
			s.log.Error("the authority has changed and cannot be read: the last one stays", "error", err)
			return
		}
		if s.note(obj.ResourceVersion, state) && obj.ResourceVersion != told {
			told = obj.ResourceVersion
			fn(state.Clone(), authority.Version(told))
		}
	}
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: lw, ObjectType: &corev1.Secret{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc: take, UpdateFunc: func(_, o any) { take(o) }, DeleteFunc: func(any) { s.restore(ctx) },
		},
	})
	informer.RunWithContext(ctx)
	return nil
}

// restore makes a Secret that was removed again.
func (s *Secret) restore(ctx context.Context) {
	s.mu.Lock()
	state := s.last.Clone()
	s.mu.Unlock()
	if len(state.Generations) == 0 || ctx.Err() != nil {
		return
	}
	_, err := s.Save(ctx, state, "")
	switch {
	case err == nil:
		s.log.Warn("the Secret of the authority was removed, and is made again: rotate to have another authority", "secret", s.namespace+"/"+s.name)
	case !errors.Is(err, authority.ErrConflict):
		s.log.Error("the Secret of the authority was removed, and cannot be made again", "error", err)
	}
}
