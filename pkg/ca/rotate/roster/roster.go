// Package roster keeps which nodes there are, so that a control plane that was restarted still misses those that are away.
//
// See package rotate, which asks, and package ca for the line on which it stands.
package roster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"fairlead.io/fairlead/pkg/ca/rotate"
)

// key is where the list is in a ConfigMap.
const key = "nodes.json"

type configMap struct {
	client          kubernetes.Interface
	namespace, name string
}

// NewConfigMap keeps the list in a ConfigMap, which is made when it is not there. The verbs get, create and update are needed.
func NewConfigMap(client kubernetes.Interface, namespace, name string) rotate.Roster {
	return &configMap{client, namespace, name}
}

// Update implements rotate.Roster.
func (c *configMap) Update(ctx context.Context, fn func([]rotate.Present) []rotate.Present) error {
	for {
		err := c.update(ctx, fn)
		if err == nil {
			return nil
		}
		if (!apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err)) || ctx.Err() != nil {
			return fmt.Errorf("keep the list of nodes: %w", err)
		}
	}
}

func (c *configMap) update(ctx context.Context, fn func([]rotate.Present) []rotate.Present) error {
	api := c.client.CoreV1().ConfigMaps(c.namespace)
	m, err := api.Get(ctx, c.name, metav1.GetOptions{})
	missing := apierrors.IsNotFound(err)
	if err != nil && !missing {
		return err
	}
	var list []rotate.Present
	if !missing {
		if list, err = decode([]byte(m.Data[key]), "ConfigMap "+c.namespace+"/"+c.name); err != nil {
			return err
		}
	}
	next := fn(list)
	if slices.Equal(next, list) {
		return nil
	}
	data, err := json.Marshal(next)
	if err != nil {
		return err
	}
	if missing {
		_, err = api.Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: c.name}, Data: map[string]string{key: string(data)},
		}, metav1.CreateOptions{})
		return err
	}
	m = m.DeepCopy()
	m.Data = map[string]string{key: string(data)}
	_, err = api.Update(ctx, m, metav1.UpdateOptions{})
	return err
}

type file string

// NewFile keeps the list in a file.
func NewFile(path string) rotate.Roster { return file(path) }

// Update implements rotate.Roster. The file is replaced as a whole; it belongs to one process.
func (f file) Update(_ context.Context, fn func([]rotate.Present) []rotate.Present) error {
	data, err := os.ReadFile(string(f))
	var list []rotate.Present
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("keep the list of nodes: %w", err)
	default:
		if list, err = decode(data, string(f)); err != nil {
			return err
		}
	}
	next := fn(list)
	if slices.Equal(next, list) {
		return nil
	}
	if data, err = json.Marshal(next); err == nil {
		err = f.replace(data)
	}
	if err != nil {
		return fmt.Errorf("keep the list of nodes: %w", err)
	}
	return nil
}

func (f file) replace(data []byte) error {
	half, err := os.CreateTemp(filepath.Dir(string(f)), ".nodes-*")
	if err != nil {
		return err
	}
	_, err = half.Write(data)
	if err = errors.Join(err, half.Sync(), half.Close()); err == nil {
		err = os.Rename(half.Name(), string(f))
	}
	if err != nil {
		return errors.Join(err, os.Remove(half.Name()))
	}
	return nil
}

func decode(data []byte, where string) ([]rotate.Present, error) {
	var list []rotate.Present
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("read nodes of %s: %w; delete it, and rotations wait for nodes that are away no more", where, err)
	}
	return list, nil
}
