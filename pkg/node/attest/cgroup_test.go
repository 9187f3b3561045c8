package attest

import (
	"errors"
	"path"
	"slices"
	"strings"
	"testing"
)

const static = "0123456789abcdef0123456789abcdef"

func TestLocate(t *testing.T) {
	v1 := func(p string) string {
		return "12:pids:" + p + "\n11:cpu,cpuacct:" + p + "\n10:memory:" + p + "\n9:rdma:/\n1:name=systemd:" + p + "\n0::/system.slice/containerd.service\n"
	}
	for name, c := range map[string]struct {
		file string
		root []string
		uid  string
		want error
	}{
		"v2, cgroupfs":              {"0::/kubepods/burstable/pod" + uidA + "/0f\n", nil, uidA, nil},
		"v2, guaranteed":            {"0::/kubepods/pod" + uidA + "/0f\n", nil, uidA, nil},
		"v2, the pod's own cgroup":  {"0::/kubepods/pod" + uidA + "\n", nil, uidA, nil},
		"v2, systemd":               {"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + under(uidA) + ".slice/cri-containerd-0f.scope\n", nil, uidA, nil},
		"v2, systemd, guaranteed":   {"0::/kubepods.slice/kubepods-pod" + under(uidA) + ".slice/crio-0f.scope\n", nil, uidA, nil},
		"v2, systemd, in a cluster": {"0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod" + under(uidA) + ".slice/a.scope\n", []string{"/kubelet.slice/kubelet-kubepods.slice"}, uidA, nil},
		"v1":                        {v1("/kubepods/besteffort/pod" + uidA + "/0f"), nil, uidA, nil},
		"v1, cgroup root":           {v1("/node-a/kubepods/besteffort/pod" + uidA + "/0f"), []string{"/node-a/kubepods"}, uidA, nil},
		"static pod":                {"0::/kubepods/burstable/pod" + static + "/0f\n", nil, static, nil},
		"a colon below the pod":     {"0::/kubepods/pod" + uidA + "/a:b\n", nil, uidA, nil},
		"a pod below the pod":       {"0::/kubepods/pod" + uidA + "/0f/kubepods/pod" + uidB + "/0e\n", nil, uidA, nil},
		"a slice below the pod":     {"0::/kubepods.slice/kubepods-pod" + under(uidA) + ".slice/a.scope/kubepods-pod" + under(uidB) + ".slice\n", nil, uidA, nil},

		"a named one outside, v2": {"1:name=systemd:/\n0::/kubepods/pod" + uidA + "\n", nil, uidA, nil},
		"containerd, kind":        {"0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" + under(uidA) + ".slice/cri-containerd-0f.scope/init.scope\n", []string{"/kubelet.slice/kubelet-kubepods.slice"}, uidA, nil},
		"CRI-O's container below": {"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + under(uidA) + ".slice/crio-0f.scope/container\n", nil, uidA, nil},
		"CRI-O's helper":          {"0::/kubepods/burstable/pod" + uidA + "/crio-conmon-0f\n", nil, uidA, nil},
		"cri-dockerd":             {"0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + under(uidA) + ".slice/docker-0f.scope\n", nil, uidA, nil},
		"v1, systemd":             {v1("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + under(uidA) + ".slice/cri-containerd-0f.scope"), nil, uidA, nil},

		"a class of the other driver":    {"0::/kubepods.slice/burstable/kubepods-burstable-pod" + under(uidA) + ".slice\n", nil, "", ErrAmbiguous},
		"a slice of the other driver":    {"0::/kubepods/kubepods-burstable.slice/pod" + uidA + "\n", nil, "", ErrAmbiguous},
		"systemd, no prefix":             {"0::/kubepods.slice/pod" + under(uidA) + ".slice\n", nil, "", ErrAmbiguous},
		"systemd, no slice":              {"0::/kubepods.slice/kubepods-pod" + under(uidA) + "\n", nil, "", ErrAmbiguous},
		"no pod before the UID":          {"0::/kubepods/" + uidA + "\n", nil, "", ErrAmbiguous},
		"a short hash":                   {"0::/kubepods/pod" + static[1:] + "\n", nil, "", ErrAmbiguous},
		"the node":                       {"0::/system.slice/sshd.service\n", nil, "", ErrNoPod},
		"the root":                       {"0::/\n", nil, "", ErrNoPod},
		"a user's own kubepods":          {"0::/user.slice/u/kubepods/pod" + uidA + "/0f\n", nil, "", ErrNoPod},
		"another node's kubepods":        {v1("/node-b/kubepods/pod" + uidA + "/0f"), []string{"/node-a/kubepods"}, "", ErrNoPod},
		"a name that begins as kubepods": {"0::/kubepods-mine/pod" + uidA + "\n", nil, "", ErrNoPod},
		"kubepods itself":                {"0::/kubepods\n", nil, "", ErrAmbiguous},
		"a class":                        {"0::/kubepods/burstable\n", nil, "", ErrAmbiguous},
		"a class twice":                  {"0::/kubepods/burstable/burstable/pod" + uidA + "\n", nil, "", ErrAmbiguous},
		"something else in kubepods":     {"0::/kubepods/mine/pod" + uidA + "\n", nil, "", ErrAmbiguous},
		"capital letters":                {"0::/kubepods/pod" + strings.ToUpper(uidA) + "\n", nil, "", ErrAmbiguous},
		"short":                          {"0::/kubepods/pod" + uidA[1:] + "\n", nil, "", ErrAmbiguous},
		"underscores with cgroupfs":      {"0::/kubepods/pod" + under(uidA) + "\n", nil, "", ErrAmbiguous},
		"dashes with systemd":            {"0::/kubepods.slice/kubepods-pod" + uidA + ".slice\n", nil, "", ErrAmbiguous},
		"removed":                        {"0::/kubepods/pod" + uidA + " (deleted)\n", nil, "", ErrAmbiguous},
		"another class's name":           {"0::/kubepods.slice/kubepods-burstable.slice/kubepods-besteffort-pod" + under(uidA) + ".slice\n", nil, "", ErrAmbiguous},
		"outside of what is seen":        {"0::/../../pod" + uidA + "/0f\n", nil, "", ErrAmbiguous},
		"dots":                           {"0::/kubepods/pod" + uidA + "/../pod" + uidB + "\n", nil, "", ErrAmbiguous},
		"two pods":                       {"2:memory:/kubepods/pod" + uidA + "\n1:pids:/kubepods/pod" + uidB + "\n", nil, "", ErrAmbiguous},
		"two pods, a named one":          {"2:memory:/kubepods/pod" + uidA + "\n1:name=x:/kubepods/pod" + uidB + "\n", nil, "", ErrAmbiguous},
		"in memory only":                 {"2:memory:/kubepods/pod" + uidA + "\n1:pids:/\n", nil, "", ErrAmbiguous},
		"in a named one only":            {"2:memory:/\n1:name=x:/kubepods/pod" + uidA + "\n", nil, "", ErrAmbiguous},
		"in the unified one only":        {"2:memory:/\n0::/kubepods/pod" + uidA + "\n", nil, "", ErrAmbiguous},
		"named, while v2 decides":        {"1:name=x:/kubepods/pod" + uidA + "\n0::/\n", nil, "", ErrAmbiguous},
	} {
		t.Run(name, func(t *testing.T) {
			all, err := parseCgroup([]byte(c.file))
			if err != nil {
				t.Fatal(err)
			}
			if c.root == nil {
				c.root = []string{"/kubepods", "/kubepods.slice"}
			}
			at, err := locate(all, c.root)
			if at.uid != c.uid || !errors.Is(err, c.want) {
				t.Fatalf("pod %q, %v; want %q, %v", at.uid, err, c.uid, c.want)
			}
		})
	}
}

// The hierarchy in which a pod's processes are looked for is one that every process of it is in.
func TestLocateDecides(t *testing.T) {
	pod := "/kubepods/pod" + uidA
	for file, want := range map[string]string{
		"13:name=x:" + pod + "\n12:memory:" + pod + "\n1:name=systemd:" + pod + "\n0::" + pod + "\n": "memory",
		"12:memory:" + pod + "\n0::" + pod + "/y\n":                                                  "memory",
		"1:name=systemd:" + pod + "\n0::" + pod + "\n":                                               "",
		"0::" + pod + "\n1:name=systemd:" + pod + "\n":                                               "",
	} {
		all, err := parseCgroup([]byte(file))
		if err != nil {
			t.Fatal(err)
		}
		at, err := locate(all, []string{"/kubepods"})
		if err != nil || hierarchy(at.in) != want || at.pod != pod {
			t.Errorf("%q: %q %s, %v; want %q", file, hierarchy(at.in), at.pod, err, want)
		}
	}
}

func under(uid string) string { return strings.ReplaceAll(uid, "-", "_") }

func TestParseCgroupErrors(t *testing.T) {
	for _, s := range []string{"", "\n", "0:\n", "0::\n", "0::kubepods\n", "3::/a\n", "0::/" + strings.Repeat("a", maxCgroup)} {
		if all, err := parseCgroup([]byte(s)); err == nil {
			t.Errorf("%.20q: %v", s, all)
		}
	}
}

// An agent in a cgroup namespace of its own sees the others from there.
func TestAnchor(t *testing.T) {
	a := anchor{"": "/kubepods/besteffort/pod" + uidB + "/agent"}
	for in, want := range map[string]string{
		"/":                           "/kubepods/besteffort/pod" + uidB + "/agent",
		"/below":                      "/kubepods/besteffort/pod" + uidB + "/agent/below",
		"/../../pod" + uidA + "/app":  "/kubepods/besteffort/pod" + uidA + "/app",
		"/../../../../system.slice/x": "/system.slice/x",
		"/../../../../../beyond":      "/../../../../../beyond",
		"/..a":                        "/kubepods/besteffort/pod" + uidB + "/agent/..a",
	} {
		m := []membership{{path: in}}
		if a.absolute(m); m[0].path != want {
			t.Errorf("%s is %s, want %s", in, m[0].path, want)
		}
	}
}

// What is below a pod's cgroup is of that pod, whatever it is called; and nothing but the names of pods gives a pod.
func FuzzCgroup(f *testing.F) {
	f.Add("0::/kubepods/burstable/pod"+uidA+"/0f\n", "kubepods/pod"+uidB)
	f.Add("0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod"+under(uidA)+".slice/a.scope\n", "kubepods.slice")
	f.Add("12:pids:/kubepods/pod"+static+"\n2:memory:/kubepods/pod"+static+"\n0::/\n", "..")
	f.Fuzz(func(t *testing.T, file, below string) {
		roots := []string{"/kubepods", "/kubepods.slice"}
		all, err := parseCgroup([]byte(file))
		if err != nil {
			return
		}
		at, err := locate(all, roots)
		if err != nil {
			if at.uid != "" {
				t.Fatalf("%v with pod %q", err, at.uid)
			}
			return
		}
		if !isUID(at.uid) {
			t.Fatalf("%q is no UID", at.uid)
		}
		if !strings.Contains(file, at.uid) && !strings.Contains(file, under(at.uid)) {
			t.Fatalf("nothing names pod %s", at.uid)
		}
		if strings.Contains(below, "\n") || strings.HasPrefix(path.Clean("/"+below), "/..") || path.Clean("/"+below) != "/"+below {
			return
		}
		for i := range all {
			if uid, _, _ := podOf(all[i].path, roots); uid != "" {
				all[i].path = path.Join(all[i].path, below)
			}
		}
		deeper, err := locate(all, roots)
		if err != nil || deeper.uid != at.uid || !slices.Equal(deeper.in.controllers, at.in.controllers) {
			t.Fatalf("below %s: %s, %v", at.uid, deeper.uid, err)
		}
	})
}
