//go:build !race

package client_test

// raceDetector is true under -race.
const raceDetector = false
