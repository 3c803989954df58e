//go:build js

// These tests run in a browser; test/wasm builds and drives them.
package idbstore_test

import (
	"bytes"
	"context"
	"errors"
	"syscall/js"
	"testing"
	"time"

	"sotto/client"
	"sotto/client/idbstore"
	"sotto/client/storetest"
)

func open(t *testing.T, name string) *idbstore.Store {
	t.Helper()
	s, err := idbstore.Open(t.Context(), name, false)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T, name string) client.Store { return open(t, "conformance."+name) })
}

func batch(key, value string) client.Batch {
	return client.Batch{Put: []client.Item{{Key: []byte(key), Value: []byte(value)}}}
}

func apply(t *testing.T, s client.Store, key, value string) {
	t.Helper()
	if err := s.Apply(batch(key, value)); err != nil {
		t.Fatal(err)
	}
}

func TestInUse(t *testing.T) {
	first := open(t, "in-use")
	apply(t, first, "k", "by the first")
	if _, err := idbstore.Open(t.Context(), "in-use", false); !errors.Is(err, idbstore.ErrInUse) {
		t.Fatalf("a second store: %v, want ErrInUse", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	gaveUp := make(chan error)
	go func() {
		_, err := idbstore.Open(ctx, "in-use", true)
		gaveUp <- err
	}()
	cancel()
	if err := <-gaveUp; !errors.Is(err, context.Canceled) {
		t.Errorf("who stopped waiting got %v", err)
	}
	waited := make(chan *idbstore.Store)
	go func() {
		s, err := idbstore.Open(t.Context(), "in-use", true)
		if err != nil {
			t.Error(err)
		}
		waited <- s
	}()
	select {
	case <-waited:
		t.Fatal("two stores are open at once")
	default:
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := <-waited
	defer second.Close()
	if got, err := second.Get([]byte("k")); err != nil || string(got) != "by the first" {
		t.Errorf("the second reads %q, %v", got, err)
	}
}

// TestFenced takes the lock away from a store, as a browser should never do.
func TestFenced(t *testing.T) {
	first := open(t, "fenced")
	defer first.Close()
	apply(t, first, "k", "first")
	promise(t, js.Global().Get("navigator").Get("locks").Call("request", "fenced", map[string]any{"steal": true},
		js.FuncOf(func(js.Value, []js.Value) any { return nil })))
	second := open(t, "fenced")
	defer second.Close()
	if err := first.Apply(batch("k", "late")); !errors.Is(err, idbstore.ErrFenced) {
		t.Fatalf("the first store wrote, or got %v", err)
	}
	apply(t, second, "l", "second")
	if got, err := second.Get([]byte("k")); err != nil || string(got) != "first" {
		t.Errorf("after the refusal k is %q, %v", got, err)
	}
}

// promise waits for one and fails the test when it is rejected.
func promise(t *testing.T, p js.Value) js.Value {
	t.Helper()
	type outcome struct {
		value js.Value
		ok    bool
	}
	done := make(chan outcome, 1)
	settle := func(ok bool) js.Func {
		f := js.FuncOf(func(_ js.Value, args []js.Value) any {
			done <- outcome{args[0], ok}
			return nil
		})
		t.Cleanup(f.Release)
		return f
	}
	p.Call("then", settle(true), settle(false))
	o := <-done
	if !o.ok {
		t.Fatalf("rejected: %s", o.value.Call("toString").String())
	}
	return o.value
}

// raw opens a database behind the store's back; use makes a request in a transaction, whose result is returned.
func raw(t *testing.T, name string, use func(tx js.Value) js.Value) js.Value {
	t.Helper()
	wait := js.Global().Call("eval", `(async (name, use) => {
		const settled = (r) => new Promise((resolve, reject) => { r.onsuccess = () => resolve(r.result); r.onerror = () => reject(r.error); });
		const db = await settled(indexedDB.open(name));
		try { return await settled(use(db.transaction(["kv", "meta"], "readwrite"))); } finally { db.close(); }
	})`)
	f := js.FuncOf(func(_ js.Value, args []js.Value) any { return use(args[0]) })
	defer f.Release()
	return promise(t, wait.Invoke(name, f))
}

func rawGet(t *testing.T, name, store string, key any) js.Value {
	return raw(t, name, func(tx js.Value) js.Value { return tx.Call("objectStore", store).Call("get", key) })
}

func jsBytes(s string) js.Value {
	array := js.Global().Get("Uint8Array").New(len(s))
	js.CopyBytesToJS(array, []byte(s))
	return array
}

func goBytes(array js.Value) []byte {
	b := make([]byte, array.Length())
	js.CopyBytesToGo(b, array)
	return b
}

func TestSealed(t *testing.T) {
	s := open(t, "sealed")
	defer s.Close()
	apply(t, s, "key", "a value nobody reads")
	apply(t, s, "other", "a value nobody reads")
	one, two := goBytes(rawGet(t, "sealed", "kv", jsBytes("key"))), goBytes(rawGet(t, "sealed", "kv", jsBytes("other")))
	if bytes.Contains(one, []byte("nobody")) || bytes.Equal(one, two) {
		t.Errorf("values are stored as %q and %q", one, two)
	}
	key := rawGet(t, "sealed", "meta", "key")
	if key.Get("extractable").Bool() || key.Get("type").String() != "secret" {
		t.Error("the sealing key can be exported")
	}
	raw(t, "sealed", func(tx js.Value) js.Value {
		moved := js.Global().Get("Uint8Array").New(len(two))
		js.CopyBytesToJS(moved, two)
		return tx.Call("objectStore", "kv").Call("put", moved, jsBytes("key"))
	})
	if got, err := s.Get([]byte("key")); !errors.Is(err, idbstore.ErrDamaged) {
		t.Errorf("a value that was moved to another key reads as %q, %v", got, err)
	}
	if got, err := s.Scan(nil, nil, 10); !errors.Is(err, idbstore.ErrDamaged) {
		t.Errorf("a scan over a moved value gives %v, %v", got, err)
	}
}

// TestDurability looks over the shoulder of every transaction that writes.
func TestDurability(t *testing.T) {
	spy := js.Global().Call("eval", `(() => {
		const proto = IDBDatabase.prototype, real = proto.transaction, seen = [];
		proto.transaction = function (stores, mode, options) {
			if (mode === "readwrite") seen.push(String(options?.durability));
			return real.call(this, stores, mode, options);
		};
		return { seen, restore() { proto.transaction = real; } };
	})()`)
	defer spy.Call("restore")
	s := open(t, "durability")
	defer s.Close()
	apply(t, s, "k", "v")
	if got := spy.Get("seen").Call("join").String(); got != "strict,strict" {
		t.Errorf("durability of the transactions: %s", got)
	}
}

func TestKeyLost(t *testing.T) {
	s := open(t, "key-lost")
	apply(t, s, "k", "v")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	raw(t, "key-lost", func(tx js.Value) js.Value { return tx.Call("objectStore", "meta").Call("delete", "key") })
	if _, err := idbstore.Open(t.Context(), "key-lost", false); !errors.Is(err, idbstore.ErrDamaged) {
		t.Fatalf("values without their key: %v", err)
	}
	if key := rawGet(t, "key-lost", "meta", "key"); !key.IsUndefined() {
		t.Error("a refused store got a new key")
	}
}

func TestDestroy(t *testing.T) {
	s := open(t, "destroyed")
	apply(t, s, "k", "v")
	if err := s.Destroy(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closing what was destroyed: %v", err)
	}
	all := promise(t, js.Global().Get("indexedDB").Call("databases"))
	for i := range all.Length() {
		if name := all.Index(i).Get("name").String(); name == "destroyed" {
			t.Error("the database is still there")
		}
	}
	again := open(t, "destroyed")
	defer again.Close()
	if _, err := again.Get([]byte("k")); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("reading after the deletion: %v", err)
	}
}

// TestDeletedMeanwhile: somebody clears the page's data while a store is open.
func TestDeletedMeanwhile(t *testing.T) {
	s := open(t, "cleared")
	defer s.Close()
	apply(t, s, "k", "v")
	deleted := js.Global().Call("eval", `(name) => new Promise((resolve, reject) => {
		const r = indexedDB.deleteDatabase(name); r.onsuccess = () => resolve(true); r.onerror = () => reject(r.error);
	})`)
	promise(t, deleted.Invoke("cleared"))
	if err := s.Apply(batch("k", "w")); !errors.Is(err, idbstore.ErrClosed) {
		t.Errorf("writing after the deletion: %v", err)
	}
	if _, err := s.Get([]byte("k")); !errors.Is(err, idbstore.ErrClosed) {
		t.Errorf("reading after the deletion: %v", err)
	}
}

// TestRefused replaces what the browser offers.
func TestRefused(t *testing.T) {
	throwing := func(name string) js.Value {
		return js.Global().Call("eval", `(name) => ({ open() { throw new DOMException("refused for the test", name); } })`).Invoke(name)
	}
	for _, tc := range []struct {
		name, global string
		fake         js.Value
		want         error
	}{
		{"storage switched off", "indexedDB", throwing("SecurityError"), idbstore.ErrDenied},
		{"private window", "indexedDB", throwing("InvalidStateError"), idbstore.ErrDenied},
		{"no room", "indexedDB", throwing("QuotaExceededError"), idbstore.ErrFull},
		{"newer layout", "indexedDB", throwing("VersionError"), idbstore.ErrNewer},
		{"no IndexedDB", "indexedDB", js.Undefined(), idbstore.ErrUnsupported},
		{"not https", "crypto", js.Global().Get("Object").New(), idbstore.ErrUnsupported},
	} {
		t.Run(tc.name, func(t *testing.T) {
			swap := js.Global().Call("eval", `(name, fake) => {
				Object.defineProperty(globalThis, name, { value: fake, configurable: true });
				return () => { delete globalThis[name]; };
			}`)
			restore := swap.Invoke(tc.global, tc.fake)
			s, err := idbstore.Open(t.Context(), "refused", false)
			restore.Invoke()
			if !errors.Is(err, tc.want) {
				t.Fatalf("opening: %v, %v, want %v", s, err, tc.want)
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s, err := idbstore.Open(ctx, "refused", true)
	if err != nil {
		t.Fatalf("the lock was kept after a refusal: %v", err)
	}
	defer s.Close()
}

func TestNames(t *testing.T) {
	for _, name := range []string{"", "a b", "ä", "a/b", string(make([]byte, 65))} {
		if _, err := idbstore.Open(t.Context(), name, false); err == nil {
			t.Errorf("a store named %q was opened", name)
		}
	}
}
