package identity_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"fairlead.io/fairlead/pkg/ca/rotate"
)

// ca runs `fairlead ca` at a replica as an operator does, and gives what it prints.
func (s *server) ca(args ...string) (string, error) {
	args = append(append([]string{"ca"}, args...), "--server", s.admin)
	out, err := exec.CommandContext(s.w.Context(), filepath.Join(binaries, "fairlead"), args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("fairlead %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// must runs a command that has to succeed.
func (s *server) must(args ...string) string {
	s.w.Helper()
	out, err := s.ca(args...)
	if err != nil {
		s.w.Fatal(err)
	}
	s.w.Logf("$ fairlead ca %s\n%s", strings.Join(args, " "), out)
	return out
}

// refused runs a command that must fail with these words.
func (s *server) refused(words string, args ...string) {
	s.w.Helper()
	if out, err := s.ca(args...); err == nil || !strings.Contains(err.Error(), words) {
		s.w.Errorf("ca %v: %v %s; want %q", args, err, out, words)
	}
}

// rotation is `fairlead ca status -o json`.
func (s *server) rotation() (rotate.Status, error) {
	var st rotate.Status
	out, err := s.ca("status", "-o", "json")
	if err == nil {
		err = json.Unmarshal([]byte(out), &st)
	}
	return st, err
}

// until waits for a stage, and for words in what is waited for ("" for any).
func (s *server) until(stage, words string) rotate.Status {
	s.w.Helper()
	var st rotate.Status
	s.w.eventually(s.name+": "+stage+" "+words, func() (err error) {
		if st, err = s.rotation(); err != nil {
			return err
		}
		var waiting []string
		for i := range st.Waiting {
			waiting = append(waiting, st.Waiting[i].String())
		}
		if text := strings.Join(waiting, "; "); st.Stage != stage || !strings.Contains(text, words) {
			return errors.New(st.Stage + ": " + st.Message + ": " + text)
		}
		return nil
	})
	return st
}

// awaits waits until a rotation is distributed to all but a node's agent, and that is said to be away.
func (s *server) awaits(node string) rotate.Status {
	s.w.Helper()
	var st rotate.Status
	s.w.eventually(s.name+" waits for "+node+" alone", func() (err error) {
		if st, err = s.rotation(); err != nil {
			return err
		}
		if st.Stage != "Distributing" || len(st.Waiting) != 1 || st.Waiting[0].Node != node || st.Waiting[0].Away == nil {
			return fmt.Errorf("%s: %+v", st.Stage, st.Waiting)
		}
		return nil
	})
	return st
}
