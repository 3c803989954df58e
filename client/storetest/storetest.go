// Package storetest is the conformance suite of [client.Store].
package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"sotto/client"
)

// Run holds the stores that open makes against the contract. open must give an empty store on the first call for a name,
// and the same store again on later calls, after it was closed.
func Run(t *testing.T, open func(t *testing.T, name string) client.Store) {
	tests := []struct {
		name string
		run  func(t *testing.T, reopen func() client.Store)
	}{
		{"get, put, delete", getPutDelete},
		{"scan", scan},
		{"all or nothing", allOrNothing},
		{"bounds", bounds},
		{"reopened", reopened},
		{"closed", closed},
		{"values are copies", copies},
		{"model", model},
	}
	for i, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			var last client.Store
			t.Cleanup(func() {
				if last != nil {
					_ = last.Close() // some tests have closed it
				}
			})
			tc.run(t, func() client.Store {
				if last != nil {
					if err := last.Close(); err != nil {
						t.Fatalf("closing: %v", err)
					}
				}
				last = open(t, fmt.Sprintf("store%d", i))
				return last
			})
		})
	}
}

func item(key, value string) client.Item {
	return client.Item{Key: []byte(key), Value: []byte(value)}
}

func put(items ...client.Item) client.Batch { return client.Batch{Put: items} }

func apply(t *testing.T, s client.Store, b client.Batch) {
	t.Helper()
	if err := s.Apply(b); err != nil {
		t.Fatalf("applying: %v", err)
	}
}

// want checks the whole contents.
func want(t *testing.T, s client.Store, items ...client.Item) {
	t.Helper()
	got, err := s.Scan(nil, nil, client.MaxScan)
	if err != nil {
		t.Fatalf("scanning: %v", err)
	}
	// The largest value is too long for a comparison byte by byte through reflection.
	if diff := cmp.Diff(items, got, cmp.Comparer(bytes.Equal)); diff != "" {
		t.Errorf("contents (-want +got):\n%s", diff)
	}
}

func getPutDelete(t *testing.T, reopen func() client.Store) {
	s := reopen()
	if _, err := s.Get([]byte("a")); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("an unknown key: %v, want ErrNotFound", err)
	}
	apply(t, s, put(item("a", "1"), item("b", ""), item("\x00\xff", "\x00")))
	for key, value := range map[string]string{"a": "1", "b": "", "\x00\xff": "\x00"} {
		if got, err := s.Get([]byte(key)); err != nil || string(got) != value {
			t.Errorf("%q is %q, %v, want %q", key, got, err, value)
		}
	}
	apply(t, s, client.Batch{Put: []client.Item{item("a", "2")}, Delete: [][]byte{[]byte("b"), []byte("none")}})
	want(t, s, item("\x00\xff", "\x00"), item("a", "2"))
	apply(t, s, client.Batch{})
}

func scan(t *testing.T, reopen func() client.Store) {
	s := reopen()
	apply(t, s, put(item("p", "0"), item("p\x00", "1"), item("pa", "2"), item("p\xff", "3"), item("p\xff\xff", "4"),
		item("q", "5"), item("\xff", "6"), item("\xff\xff", "7")))
	for _, tc := range []struct {
		prefix, from string
		limit        int
		want         string
	}{
		{"", "", 100, "01234567"},
		{"p", "", 100, "01234"},
		{"p", "", 2, "01"},
		{"p", "pa", 100, "234"},
		{"p", "pb", 100, "34"},
		{"p", "q", 100, ""},
		{"p", "a", 100, "01234"},
		{"p\xff", "", 100, "34"},
		{"\xff", "", 100, "67"},
		{"\xff\xff", "", 100, "7"},
		{"r", "", 100, ""},
	} {
		var from []byte
		if tc.from != "" {
			from = []byte(tc.from)
		}
		items, err := s.Scan([]byte(tc.prefix), from, tc.limit)
		if err != nil {
			t.Fatalf("scanning: %v", err)
		}
		got := ""
		for _, it := range items {
			got += string(it.Value)
		}
		if got != tc.want {
			t.Errorf("prefix %q from %q limit %d: %s, want %s", tc.prefix, tc.from, tc.limit, got, tc.want)
		}
	}
}

// allOrNothing: a batch with one item that is refused changes nothing.
func allOrNothing(t *testing.T, reopen func() client.Store) {
	s := reopen()
	apply(t, s, put(item("keep", "1")))
	bad := client.Batch{Put: []client.Item{item("new", "1"), item("", "no key")}, Delete: [][]byte{[]byte("keep")}}
	if err := s.Apply(bad); err == nil {
		t.Error("a batch with an empty key was applied")
	}
	want(t, s, item("keep", "1"))
}

func bounds(t *testing.T, reopen func() client.Store) {
	s := reopen()
	long := client.Item{Key: bytes.Repeat([]byte("k"), client.MaxKey), Value: bytes.Repeat([]byte("v"), client.MaxValue)}
	apply(t, s, put(long))
	if got, err := s.Get(long.Key); err != nil || !bytes.Equal(got, long.Value) {
		t.Errorf("the largest item came back as %d bytes, %v", len(got), err)
	}
	many := client.Batch{}
	for i := range client.MaxBatchSize + 1 {
		many.Put = append(many.Put, item(fmt.Sprint("i", i), ""))
	}
	for name, b := range map[string]client.Batch{
		"key":   put(client.Item{Key: append(long.Key, 'k')}),
		"value": put(client.Item{Key: []byte("v"), Value: append(long.Value, 'v')}),
		"batch": many,
	} {
		if err := s.Apply(b); err == nil {
			t.Errorf("a %s over the bound was taken", name)
		}
	}
	for _, limit := range []int{-1, 0, client.MaxScan + 1} {
		if _, err := s.Scan(nil, nil, limit); err == nil {
			t.Errorf("a scan of %d items was done", limit)
		}
	}
	want(t, s, long)
	many.Put = many.Put[1:]
	apply(t, s, many)
}

func reopened(t *testing.T, reopen func() client.Store) {
	s := reopen()
	apply(t, s, put(item("a", "1"), item("b", "2")))
	apply(t, s, client.Batch{Delete: [][]byte{[]byte("a")}})
	s = reopen()
	want(t, s, item("b", "2"))
}

func closed(t *testing.T, reopen func() client.Store) {
	s := reopen()
	apply(t, s, put(item("a", "1")))
	if err := s.Close(); err != nil {
		t.Fatalf("closing: %v", err)
	}
	if _, err := s.Get([]byte("a")); err == nil || errors.Is(err, client.ErrNotFound) {
		t.Errorf("reading a closed store: %v", err)
	}
	if err := s.Apply(put(item("b", "1"))); err == nil {
		t.Error("a closed store took a batch")
	}
	if _, err := s.Scan(nil, nil, 1); err == nil {
		t.Error("a closed store was scanned")
	}
}

// copies: what goes in and comes out may be changed by the caller.
func copies(t *testing.T, reopen func() client.Store) {
	s := reopen()
	it := item("a", "1")
	apply(t, s, put(it))
	it.Value[0] = 'x'
	got, err := s.Get([]byte("a"))
	if err != nil {
		t.Fatal(err)
	}
	got[0] = 'y'
	want(t, s, item("a", "1"))
}

// model compares a store with a map under random changes and reopenings.
func model(t *testing.T, reopen func() client.Store) {
	s := reopen()
	rapid.Check(t, func(rt *rapid.T) {
		all, err := s.Scan(nil, nil, client.MaxScan)
		if err != nil {
			rt.Fatal(err)
		}
		expect := map[string]string{}
		for _, it := range all {
			expect[string(it.Key)] = string(it.Value)
		}
		key := rapid.StringMatching(`[a-c\x00]{1,3}`)
		for range rapid.IntRange(1, 8).Draw(rt, "steps") {
			b := client.Batch{}
			used := map[string]bool{}
			for _, k := range rapid.SliceOfN(key, 0, 4).Draw(rt, "keys") {
				if used[k] {
					continue
				}
				used[k] = true
				if rapid.Bool().Draw(rt, "delete") {
					b.Delete = append(b.Delete, []byte(k))
					delete(expect, k)
				} else {
					v := rapid.StringN(0, 8, 8).Draw(rt, "value")
					b.Put = append(b.Put, item(k, v))
					expect[k] = v
				}
			}
			if err := s.Apply(b); err != nil {
				rt.Fatal(err)
			}
		}
		if rapid.IntRange(0, 9).Draw(rt, "reopen") == 0 {
			s = reopen()
		}
		all, err = s.Scan(nil, nil, client.MaxScan)
		if err != nil {
			rt.Fatal(err)
		}
		got := map[string]string{}
		for i, it := range all {
			if i > 0 && bytes.Compare(all[i-1].Key, it.Key) >= 0 {
				rt.Fatalf("keys out of order at %q", it.Key)
			}
			got[string(it.Key)] = string(it.Value)
		}
		if diff := cmp.Diff(expect, got); diff != "" {
			rt.Fatalf("contents (-want +got):\n%s", diff)
		}
	})
}
