package main

import (
	"bytes"
	"encoding/binary"
)

// A camera stores a picture as its sensor lay, and notes in the Exif part of the JPEG which side is up: orientation 1 to 8.

// orientation reads that note. It is 1, upright, when there is none or it makes no sense. A picture wrongly turned does no
// harm, so nothing here is an error; every place that the file names is held against its length.
func orientation(file []byte) int {
	tiff := exif(file)
	var order binary.ByteOrder = binary.LittleEndian
	switch {
	case bytes.HasPrefix(tiff, []byte("II*\x00")):
	case bytes.HasPrefix(tiff, []byte("MM\x00*")):
		order = binary.BigEndian
	default:
		return 1
	}
	entries := from(tiff, uint64(order.Uint32(tiff[4:])))
	if len(entries) < 2 {
		return 1
	}
	count := int(order.Uint16(entries)) // 65,535 at most
	for entries = entries[2:]; count > 0 && len(entries) >= 12; count, entries = count-1, entries[12:] {
		if order.Uint16(entries) == 0x0112 { // orientation: one number of two bytes
			value := int(order.Uint16(entries[8:]))
			if order.Uint16(entries[2:]) == 3 && order.Uint32(entries[4:]) == 1 && value >= 1 && value <= 8 {
				return value
			}
			return 1
		}
	}
	return 1
}

// exif is the Exif part of a JPEG from its header on, of 8 bytes or more; nil when there is none before the picture itself.
func exif(file []byte) []byte {
	rest, jpeg := bytes.CutPrefix(file, []byte("\xFF\xD8"))
	for jpeg && len(rest) >= 4 && rest[0] == 0xFF && rest[1] != 0xDA {
		end := 2 + int(binary.BigEndian.Uint16(rest[2:]))
		if end < 4 || end > len(rest) {
			return nil
		}
		if tiff, found := bytes.CutPrefix(rest[4:end], []byte("Exif\x00\x00")); found && rest[1] == 0xE1 {
			if len(tiff) < 8 {
				return nil
			}
			return tiff
		}
		rest = rest[end:]
	}
	return nil
}

func from(b []byte, at uint64) []byte {
	if at > uint64(len(b)) {
		return nil
	}
	return b[at:]
}

// turned is where a pixel of a stored square of n pixels a side belongs in the upright one.
func turned(orientation, x, y, n int) (toX, toY int) {
	right, bottom := n-1-x, n-1-y // counted from the other side
	switch orientation {
	case 2:
		return right, y
	case 3:
		return right, bottom
	case 4:
		return x, bottom
	case 5:
		return y, x
	case 6:
		return bottom, x
	case 7:
		return bottom, right
	case 8:
		return y, right
	}
	return x, y
}
