package e2ee

import (
	"bytes"
	"fmt"
)

const (
	// MinPadded and MaxPadded are the smallest and the largest size class, in
	// bytes. Each class is twice the one before, so the server learns the size of
	// a content to within a factor of two.
	MinPadded = 256
	MaxPadded = 64 << 10

	// MaxContent is the longest content that can be padded, in bytes.
	MaxContent = MaxPadded - 1

	padMark = 0x80
)

// Pad appends 0x80 and zeros up to the next size class. It returns
// [ErrTooLarge] for a content of more than MaxContent bytes.
func Pad(content []byte) ([]byte, error) {
	if len(content) > MaxContent {
		return nil, fmt.Errorf("padding %d bytes: %w", len(content), ErrTooLarge)
	}
	padded := make([]byte, sizeClass(len(content)+1))
	copy(padded, content)
	padded[len(content)] = padMark
	return padded, nil
}

// Unpad returns the content, which aliases padded. It returns [ErrFormat] for
// anything that Pad does not make, also for a class larger than needed: the
// size of a content says nothing but its length.
func Unpad(padded []byte) ([]byte, error) {
	end := len(bytes.TrimRight(padded, "\x00")) - 1
	if end < 0 || padded[end] != padMark || len(padded) > MaxPadded || len(padded) != sizeClass(end+1) {
		return nil, fmt.Errorf("padding: %w", ErrFormat)
	}
	return padded[:end:end], nil
}

// sizeClass is the smallest class of at least n bytes.
func sizeClass(n int) int {
	class := MinPadded
	for class < n {
		class *= 2
	}
	return class
}
