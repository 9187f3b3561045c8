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

// Load implements rotate.Roster.
func (c *configMap) Load(ctx context.Context) ([]rotate.Present, error) {
	m, err := c.client.CoreV1().ConfigMaps(c.namespace).Get(ctx, c.name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read nodes: %w", err)
	}
	return decode([]byte(m.Data[key]), "ConfigMap "+c.namespace+"/"+c.name)
}

// Save implements rotate.Roster.
func (c *configMap) Save(ctx context.Context, list []rotate.Present) error {
	data, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("save nodes: %w", err)
	}
	api := c.client.CoreV1().ConfigMaps(c.namespace)
	m := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: c.name}, Data: map[string]string{key: string(data)},
	}
	// No resourceVersion: the one that leads knows best.
	if _, err = api.Update(ctx, m, metav1.UpdateOptions{}); apierrors.IsNotFound(err) {
		_, err = api.Create(ctx, m, metav1.CreateOptions{})
	}
	if err != nil {
		return fmt.Errorf("save nodes: %w", err)
	}
	return nil
}

type file string

// NewFile keeps the list in a file.
func NewFile(path string) rotate.Roster { return file(path) }

// Load implements rotate.Roster.
func (f file) Load(context.Context) ([]rotate.Present, error) {
	data, err := os.ReadFile(string(f))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read nodes: %w", err)
	}
	return decode(data, string(f))
}

// Save implements rotate.Roster. The file is replaced as a whole.
func (f file) Save(_ context.Context, list []rotate.Present) error {
	data, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("save nodes: %w", err)
	}
	half, err := os.CreateTemp(filepath.Dir(string(f)), ".nodes-*")
	if err != nil {
		return fmt.Errorf("save nodes: %w", err)
	}
	_, err = half.Write(data)
	if err = errors.Join(err, half.Sync(), half.Close()); err == nil {
		err = os.Rename(half.Name(), string(f))
	}
	if err != nil {
		return fmt.Errorf("save nodes: %w", errors.Join(err, os.Remove(half.Name())))
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
