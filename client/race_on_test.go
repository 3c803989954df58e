//go:build race

package client_test

// raceDetector makes every step several times slower; tests of volume then send less.
const raceDetector = true
