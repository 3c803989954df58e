package local_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"sotto/api"
	"sotto/internal/hint/hinttest"
	"sotto/internal/hint/local"
)

func TestContract(t *testing.T) {
	hinttest.Run(t, func(*testing.T) hinttest.Pair {
		now := time.Unix(1000, 0)
		h := local.New(func() time.Time { return now })
		return hinttest.Pair{Here: h, There: h, Pass: func(d time.Duration) { now = now.Add(d) }}
	})
}

func TestASlowSubscriberLosesHintsAndDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := local.New(time.Now)
		alice := api.AccountID{15: 1}
		var slow, quick hinttest.Inbox
		release := make(chan struct{})
		defer h.Subscribe(alice, func(p []byte) { <-release; slow.Take(p) })()
		defer h.Subscribe(alice, quick.Take)()
		const n = 1000
		for i := range n {
			hinttest.Publish(t, h, alice, fmt.Sprint(i))
			synctest.Wait()
		}
		close(release)
		synctest.Wait()
		got := slow.List()
		if len(quick.List()) != n || len(got) < 256 || len(got) > 258 || got[0] != "0" || got[255] != "255" {
			t.Errorf("quick got %d, slow %d", len(quick.List()), len(got))
		}
	})
}

func TestTheMapIsBounded(t *testing.T) {
	now := time.Unix(1000, 0)
	h := local.New(func() time.Time { return now })
	for i := range local.MaxValues + 10 {
		ttl := time.Minute
		if i%2 == 0 {
			ttl = time.Second
		}
		if i == local.MaxValues {
			now = now.Add(time.Second) // half of them expire
		}
		if err := h.Set(t.Context(), fmt.Sprint(i), nil, ttl); err != nil {
			t.Fatal(err)
		}
	}
	if n := h.Len(); n != local.MaxValues/2+10 {
		t.Errorf("%d values are kept", n)
	}
	if _, ok, _ := h.Get(t.Context(), "1"); !ok {
		t.Error("a value went that had not expired")
	}
}
