package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"fairlead.io/fairlead/pkg/node/endpoints"
)

// placeFile has by UID where pods are attached, for the time after a restart.
type placeFile struct{ path string }

func (f *placeFile) read() (map[string]endpoints.Place, error) {
	data, err := os.ReadFile(f.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read endpoints: %w", err)
	}
	var out map[string]endpoints.Place
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("read endpoints %s: %w", f.path, err)
	}
	return out, nil
}

func (f *placeFile) write(places map[string]endpoints.Place) error {
	data, err := json.Marshal(places)
	if err != nil {
		return fmt.Errorf("write endpoints: %w", err)
	}
	next, err := os.CreateTemp(filepath.Dir(f.path), ".endpoints-")
	if err != nil {
		return fmt.Errorf("write endpoints: %w", err)
	}
	_, err = next.Write(data)
	err = errors.Join(err, next.Close())
	if err == nil {
		err = os.Rename(next.Name(), f.path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write endpoints: %w", err), os.Remove(next.Name()))
	}
	return nil
}
