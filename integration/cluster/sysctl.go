package cluster

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// A kubelet sets these for the whole machine. The first cluster notes them, and the last one puts them back.
var machineSysctls = []string{
	"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys",
	"kernel/keys/root_maxbytes",
}

func sysctlFile(root string) string { return filepath.Join(root, "sysctl.json") }

// saveSysctls is called with the lock held.
func saveSysctls(root string) error {
	if _, err := os.Stat(sysctlFile(root)); err == nil {
		return nil
	}
	values := map[string]string{}
	for _, name := range machineSysctls {
		data, err := os.ReadFile("/proc/sys/" + name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		values[name] = strings.TrimSpace(string(data))
	}
	data, err := json.Marshal(values)
	if err != nil {
		return err
	}
	return os.WriteFile(sysctlFile(root), data, 0o600)
}

// restoreSysctls is called with the lock held, when no cluster is left.
func restoreSysctls(root string) error {
	data, err := os.ReadFile(sysctlFile(root))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	values := map[string]string{}
	if err := json.Unmarshal(data, &values); err != nil {
		return err
	}
	var errs []error
	for name, value := range values {
		now, err := os.ReadFile("/proc/sys/" + name)
		if err == nil && strings.TrimSpace(string(now)) != value {
			err = os.WriteFile("/proc/sys/"+name, []byte(value), 0o644)
		}
		errs = append(errs, err)
	}
	return errors.Join(append(errs, os.Remove(sysctlFile(root)))...)
}
