//go:build js

// Command sotto-wasm is the client core for a browser: package client in a Web Worker, behind messages. worker.js starts
// it; api.md is its contract: what messages look like, and each operation with the types of its arguments and result.
package main

import "syscall/js"

func main() {
	scope := js.Global()
	array := scope.Get("Uint8Array")
	c := newCore(func(b []byte) {
		bytes := array.New(len(b))
		js.CopyBytesToJS(bytes, b)
		scope.Call("postMessage", bytes, []any{bytes.Get("buffer")}) // handed over, not copied
	})
	scope.Set("sottoReceive", js.FuncOf(func(_ js.Value, args []js.Value) any {
		if len(args) != 1 || !args[0].InstanceOf(array) {
			c.refuse(0, refusal(codeArgument, "A message is a Uint8Array."))
			return nil
		}
		if n := args[0].Length(); n > maxRequest {
			c.refuse(0, refusal(codeArgument, "A message of %d bytes; at most %d are taken.", n, maxRequest))
			return nil
		}
		b := make([]byte, args[0].Length())
		js.CopyBytesToGo(b, args[0])
		c.receive(b)
		return nil
	}))
	c.ready()
	select {}
}
