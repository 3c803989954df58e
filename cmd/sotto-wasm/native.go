//go:build !js

// Command sotto-wasm is for browsers only: see main.go.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "sotto-wasm runs in browsers; make wasm builds it.")
	os.Exit(2)
}
