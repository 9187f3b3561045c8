package table

import (
	"context"
	"testing"
	"time"
)

// A Release while a pass is running publishes with the next one: what was submitted before the Release must be in the first
// snapshot, and the running pass has not seen it.
func TestReleaseDuringAPass(t *testing.T) {
	e := New(Options{})
	words := NewSource[string](e, "words")
	entered, resume := make(chan struct{}), make(chan struct{})
	copies := NewDerived(e, "copies", func(r *Reader, key string) (string, bool) {
		entered <- struct{}{}
		<-resume
		return Get(r, words, key)
	}, []Trigger{words})
	out := Publish(copies)
	e.Hold()
	b := e.NewBatch()
	words.Set(b, "first", "1")
	e.Submit(b)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	<-entered
	b = e.NewBatch()
	words.Set(b, "second", "2")
	e.Submit(b)
	newer := e.Snapshot().Next()
	e.Release()
	resume <- struct{}{}
	<-entered // the second pass runs, so the first one is over
	if seq := e.Snapshot().Seq; seq != 0 {
		t.Errorf("snapshot %d is published without what was submitted before the Release", seq)
	}
	resume <- struct{}{}
	select {
	case <-newer:
	case <-time.After(20 * time.Second):
		t.Fatal("nothing is published")
	}
	if n := out.Len(e.Snapshot()); n != 2 {
		t.Errorf("the first snapshot has %d rows, want 2", n)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
