// Command stripped does what the runtime needs the names of functions for, and then panics.
package main

import (
	"fmt"
	"reflect"
	"runtime"
)

type value struct{ text *string }

func (v value) String() string { return "a value" }

func (v value) twice(n int) string { runtime.GC(); return fmt.Sprint(*v.text, n) }

// Twice is found by reflection.
func (v value) Twice(n int) string { return v.twice(2 * n) }

func main() {
	var missing *value
	fmt.Println(missing) // fmt calls a method of the value that is not there, and recovers

	text := fmt.Sprint("te", "xt")
	method := reflect.ValueOf(value{&text}).MethodByName("Twice").Interface().(func(int) string)
	made := reflect.MakeFunc(reflect.TypeOf(method), func(args []reflect.Value) []reflect.Value {
		runtime.GC()
		return []reflect.Value{reflect.ValueOf(fmt.Sprint(args[0].Int() + 1))}
	}).Interface().(func(int) string)
	for i := range 20 {
		_, _ = method(i), made(i)
	}
	fmt.Println(method(2), made(2), runtime.NumGoroutine())
	crash(nil)
}

//go:noinline
func crash(none []int) { none[len(none)+3] = 1 }
