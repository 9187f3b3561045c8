package attest

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// maxCgroup is the longest /proc/PID/cgroup that is read: a dozen hierarchies with paths of up to 4 KiB.
const maxCgroup = 64 << 10

// membership is one line of /proc/PID/cgroup: where a process is in one hierarchy.
type membership struct {
	// controllers is empty for the unified hierarchy, "name=…" for a named one.
	controllers []string
	// path is absolute; it begins with "/.." where it leaves the reader's cgroup namespace.
	path string
}

func (m membership) unified() bool { return len(m.controllers) == 0 }

// parseCgroup reads /proc/PID/cgroup (cgroups(7)): "<hierarchy>:<controllers>:<path>" a line. The kernel lets no name have a line feed.
func parseCgroup(b []byte) ([]membership, error) {
	if len(b) >= maxCgroup {
		return nil, fmt.Errorf("parse cgroups: longer than %d bytes", maxCgroup)
	}
	var out []membership
	for line := range strings.Lines(string(b)) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 || !strings.HasPrefix(parts[2], "/") {
			return nil, fmt.Errorf("parse cgroups: line %q is not hierarchy:controllers:/path", clip(line))
		}
		m := membership{path: parts[2]}
		if parts[1] != "" {
			m.controllers = strings.Split(parts[1], ",")
		} else if parts[0] != "0" {
			return nil, fmt.Errorf("parse cgroups: line %q has no controllers", clip(line))
		}
		out = append(out, m)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("parse cgroups: no hierarchy")
	}
	return out, nil
}

// decides tells whether a hierarchy of version 1 is one that kubelet and every runtime put a pod into. Others (rdma, misc, named
// ones) may be anywhere outside pods.
func (m membership) decides() bool {
	return slices.ContainsFunc(m.controllers, func(c string) bool {
		switch c {
		case "cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids":
			return true
		}
		return false
	})
}

// position is a process's pod, and where its cgroup is in one of the hierarchies.
type position struct {
	uid string
	// in is the hierarchy that pod, the path of the pod's cgroup, is of.
	in  membership
	pod string
}

// locate gives the pod that all hierarchies agree on. kubepods are the cgroups that kubelet keeps pods in; a cgroup of that name
// anywhere else is nobody's word.
func locate(all []membership, kubepods []string) (position, error) {
	var at position
	v1 := slices.ContainsFunc(all, membership.decides)
	for _, m := range all {
		uid, pod, err := podOf(m.path, kubepods)
		if err != nil {
			return position{}, fmt.Errorf("%w: %w", ErrAmbiguous, err)
		}
		if uid == "" {
			continue
		}
		if at.uid != "" && at.uid != uid {
			return position{}, fmt.Errorf("%w: its cgroups are of the pods %s and %s", ErrAmbiguous, at.uid, uid)
		}
		if at.uid == "" || m.decides() || !v1 && m.unified() {
			at = position{uid: uid, in: m, pod: pod}
		}
	}
	if at.uid == "" {
		return position{}, ErrNoPod
	}
	for _, m := range all {
		if uid, _, _ := podOf(m.path, kubepods); uid == "" && (m.decides() || !v1 && m.unified()) {
			return position{}, fmt.Errorf("%w: it is of pod %s in some hierarchies, and of none in %q", ErrAmbiguous, at.uid, strings.Join(m.controllers, ","))
		}
	}
	return at, nil
}

// podOf gives the UID of the pod whose cgroup is p or above it, and that cgroup; none for a path outside kubepods. What is below a
// pod's cgroup is the pod's own business.
//
//	/kubepods/[burstable|besteffort/]pod<uid>/…                                                   (driver cgroupfs)
//	/kubepods.slice/[kubepods-<qos>.slice/]kubepods[-<qos>]-pod<uid, dashes as underscores>.slice/…  (driver systemd)
func podOf(p string, kubepods []string) (uid, pod string, err error) {
	if p != path.Clean(p) { // "/.." too
		return "", "", fmt.Errorf("cgroup %q is outside of what can be seen", clip(p))
	}
	for _, root := range kubepods {
		if p == root {
			return "", "", fmt.Errorf("cgroup %q is of no pod", clip(p))
		}
		rest, ok := strings.CutPrefix(p, root+"/")
		if !ok {
			continue
		}
		segments := strings.SplitN(rest, "/", 3)
		slice, systemd := strings.CutSuffix(path.Base(root), ".slice")
		at := 0
		if qos := segmentQoS(segments[0], slice, systemd); qos != "" {
			slice += "-" + qos
			at = 1
		}
		if len(segments) > at {
			if uid := segmentUID(segments[at], slice, systemd); uid != "" {
				return uid, path.Join(append([]string{root}, segments[:at+1]...)...), nil
			}
		}
		return "", "", fmt.Errorf("cgroup %q is of no pod", clip(p))
	}
	return "", "", nil
}

func segmentQoS(s, slice string, systemd bool) string {
	for _, qos := range []string{"burstable", "besteffort"} {
		if !systemd && s == qos || systemd && s == slice+"-"+qos+".slice" {
			return qos
		}
	}
	return ""
}

// segmentUID gives the UID in the name of a pod's cgroup; empty when it is no such name.
func segmentUID(s, slice string, systemd bool) string {
	if systemd {
		var ok bool
		if s, ok = strings.CutPrefix(s, slice+"-"); !ok {
			return ""
		}
		if s, ok = strings.CutSuffix(s, ".slice"); !ok || strings.Contains(s, "-") {
			return ""
		}
		s = strings.ReplaceAll(s, "_", "-")
	}
	uid, ok := strings.CutPrefix(s, "pod")
	if !ok || !isUID(uid) {
		return ""
	}
	return uid
}

// uuidLength and hashLength tell the two kinds of a pod's UID apart.
const (
	uuidLength = 36
	hashLength = 32
)

// isUID accepts what kubelet names pods by: a UUID in small letters, or the MD5 of a static pod's manifest.
func isUID(s string) bool {
	if len(s) != uuidLength && len(s) != hashLength {
		return false
	}
	for i, c := range []byte(s) {
		if len(s) == uuidLength && (i == 8 || i == 13 || i == 18 || i == 23) {
			if c != '-' {
				return false
			}
		} else if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// clip keeps what strangers named out of logs beyond 200 bytes.
func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}
