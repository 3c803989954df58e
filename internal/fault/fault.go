//go:build !faultpoints

// Package fault marks the places at which test/chaos ends the program: between two steps whose order a promise rests on.
// In every build but that of the chaos tests (tag faultpoints) a point is an empty function, which the compiler removes.
package fault

// Point is where the program may end in a chaos test.
func Point(string) {}
