package kube

import (
	"fmt"
	"strconv"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/source"
)

// mirror is a reflector's store that holds no objects: it converts them, and keeps what a list must be compared with.
type mirror struct {
	group, kind string
	queue       *queue
	// convert gives nil for an object that is not kept.
	convert func(obj any) (any, error)

	mu sync.Mutex
	// at is up to where the kind has been read. A list may set it back, of an API server whose store was restored.
	at uint64
	// known are the objects handed over, by key, with their resourceVersion. An object that is not kept is not in it.
	known map[string]string
}

func newMirror(group, kind string, q *queue, convert func(any) (any, error)) *mirror {
	return &mirror{group: group, kind: kind, queue: q, convert: convert, known: map[string]string{}}
}

// name is what the queue expects.
func (m *mirror) name() string { return m.kind + "." + m.group }

func (m *mirror) ref(key string) model.Ref {
	namespace, name := model.SplitKey(key)
	return model.Ref{Group: m.group, Kind: m.kind, Namespace: namespace, Name: name}
}

// Add implements cache.ReflectorStore.
func (m *mirror) Add(obj any) error { return m.change(obj, false) }

// Update implements cache.ReflectorStore.
func (m *mirror) Update(obj any) error { return m.change(obj, false) }

// Delete implements cache.ReflectorStore.
func (m *mirror) Delete(obj any) error { return m.change(obj, true) }

// Resync implements cache.ReflectorStore.
func (m *mirror) Resync() error { return nil }

// Bookmark implements cache.ReflectorBookmarkStore: nothing changed up to this version.
func (m *mirror) Bookmark(version string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.advance(position(version))
	return nil
}

// advance notes how far the kind has been read, and hands over what came with that. The caller holds mu.
func (m *mirror) advance(to uint64, updates ...source.Update) {
	m.at = max(m.at, to)
	m.queue.push(progress{name: m.name(), position: to}, updates...)
}

// reached implements provable.
func (m *mirror) reached() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.at
}

// prove implements provable. The watch has told all up to m.at, of what is not kept too; so nothing has happened since
// when no object of the list is younger, and none that is kept has gone.
func (m *mirror) prove(list map[string]uint64, at uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.at >= at {
		return true
	}
	for _, position := range list {
		if position > m.at {
			return false
		}
	}
	for key := range m.known {
		if _, is := list[key]; !is {
			return false
		}
	}
	m.advance(at)
	return true
}

func (m *mirror) change(obj any, gone bool) error {
	key, version, err := keyOf(obj)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	at := position(version)
	if at != 0 && at <= m.at {
		return nil // of an object that had come and gone when a list proved more than the watch had told
	}
	updates, err := m.set(nil, key, version, obj, gone)
	m.advance(at, updates...)
	return err
}

// set appends the change of one object, if it is one for the receiver.
func (m *mirror) set(updates []source.Update, key, version string, obj any, gone bool) ([]source.Update, error) {
	var out any
	var err error
	if !gone {
		out, err = m.convert(obj)
	}
	if out != nil {
		m.known[key] = version
		return append(updates, source.Update{Ref: m.ref(key), Object: out}), err
	}
	if _, had := m.known[key]; had {
		delete(m.known, key)
		updates = append(updates, source.Update{Ref: m.ref(key)})
	}
	return updates, err
}

// Replace implements cache.ReflectorStore: it takes a complete list, which is one burst.
func (m *mirror) Replace(list []any, version string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var updates []source.Update
	there := make(map[string]bool, len(list))
	for _, obj := range list {
		key, version, err := keyOf(obj)
		if err != nil {
			return err
		}
		there[key] = true
		if m.known[key] == version {
			continue
		}
		if updates, err = m.set(updates, key, version, obj, false); err != nil {
			return err
		}
	}
	for key := range m.known {
		if !there[key] {
			updates, _ = m.set(updates, key, "", nil, true)
		}
	}
	m.at = position(version)
	m.queue.push(progress{name: m.name(), position: m.at, listed: true}, updates...)
	return nil
}

// drop deletes all objects, as their kind is gone. The mirror's reflector must have ended.
func (m *mirror) drop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	var updates []source.Update
	for key := range m.known {
		updates, _ = m.set(updates, key, "", nil, true)
	}
	m.queue.push(progress{name: m.name(), gone: true}, updates...)
}

func keyOf(obj any) (key, version string, err error) {
	o, err := meta.Accessor(obj)
	if err != nil {
		return "", "", fmt.Errorf("read metadata: %w", err)
	}
	return model.Key(o.GetNamespace(), o.GetName()), o.GetResourceVersion(), nil
}

// position reads a resourceVersion as the number that it is in every API server that stands on etcd. What is none moves no
// position.
func position(resourceVersion string) uint64 {
	n, err := strconv.ParseUint(resourceVersion, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
