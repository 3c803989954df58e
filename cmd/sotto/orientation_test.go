package main

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/color"
	"image/jpeg"
	"testing"
)

var quarters = map[byte]color.RGBA{'A': {R: 0xE0, A: 0xFF}, 'B': {G: 0xC0, A: 0xFF}, 'C': {B: 0xE0, A: 0xFF}, 'D': {R: 0xE0, G: 0xE0, B: 0xE0, A: 0xFF}}

// noted is a JPEG whose Exif part has an orientation among other notes.
func noted(t testing.TB, m image.Image, order binary.AppendByteOrder, orientation uint16) []byte {
	t.Helper()
	var file bytes.Buffer
	if err := jpeg.Encode(&file, m, nil); err != nil {
		t.Fatal(err)
	}
	note := func(tag uint16, value uint16) []byte {
		b := order.AppendUint16(order.AppendUint16(nil, tag), 3)
		return order.AppendUint16(order.AppendUint16(order.AppendUint32(b, 1), value), 0)
	}
	tiff := []byte("Exif\x00\x00II")
	if order.String() == binary.BigEndian.String() {
		tiff = []byte("Exif\x00\x00MM")
	}
	tiff = order.AppendUint16(order.AppendUint32(order.AppendUint16(tiff, 42), 10), 0xAAAA) // a gap before the notes
	tiff = append(append(append(order.AppendUint16(tiff, 3), note(0x0103, 6)...), note(0x0112, orientation)...), note(0x0213, 2)...)
	app := func(marker byte, content []byte) []byte {
		return append(binary.BigEndian.AppendUint16([]byte{0xFF, marker}, uint16(len(content)+2)), content...)
	}
	out := append([]byte("\xFF\xD8"), app(0xE0, []byte("JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"))...)
	return append(append(out, app(0xE1, tiff)...), file.Bytes()[2:]...)
}

// TestOrientation: a picture of quarters A B over C D comes out upright, however it was stored. What is stored is spelt
// out from what the Exif standard says of the first row and the first column.
func TestOrientation(t *testing.T) {
	for orientation, stored := range map[uint16]string{
		1: "ABCD", // row: top,    column: left
		2: "BADC", // row: top,    column: right
		3: "DCBA", // row: bottom, column: right
		4: "CDAB", // row: bottom, column: left
		5: "ACBD", // row: left,   column: top
		6: "BDAC", // row: right,  column: top
		7: "DBCA", // row: right,  column: bottom
		8: "CADB", // row: left,   column: bottom
		0: "ABCD", // no orientation
		9: "ABCD",
	} {
		for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
			m := image.NewRGBA(image.Rect(0, 0, 420, 300))
			for y := range 300 {
				for x := range 420 {
					m.Set(x, y, quarters[stored[2*(y/150)+x/210]])
				}
			}
			out, err := portrait(bytes.NewReader(noted(t, m, order, orientation)))
			if err != nil {
				t.Fatal(err)
			}
			got, err := jpeg.Decode(bytes.NewReader(out))
			if err != nil {
				t.Fatal(err)
			}
			for i, name := range []byte("ABCD") {
				want, at := quarters[name], image.Pt(64+i%2*128, 64+i/2*128)
				r, g, b, _ := got.At(at.X, at.Y).RGBA()
				for j, pair := range [][2]int{{int(r >> 8), int(want.R)}, {int(g >> 8), int(want.G)}, {int(b >> 8), int(want.B)}} {
					if d := pair[0] - pair[1]; d < -16 || d > 16 {
						t.Errorf("orientation %d, %v: %c has %d in channel %d, want %d", orientation, order, name, pair[0], j, pair[1])
					}
				}
			}
		}
	}
}

// FuzzOrientation: whatever a file says, it is one of the eight, and reading it ends.
func FuzzOrientation(f *testing.F) {
	small := image.NewGray(image.Rect(0, 0, 8, 8))
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		file := noted(f, small, order, 6)
		if got := orientation(file); got != 6 {
			f.Fatalf("the seed has orientation %d", got)
		}
		f.Add(file)
		f.Add(file[:60])
		head := bytes.Clone(file)
		copy(head[34:], "\xFF\xFF\xFF\xFF") // the notes are said to be far away
		f.Add(head)
		long := bytes.Clone(file)
		copy(long[40:], "\xFF\xFF") // so many notes, and no orientation among them
		copy(long[54:], "\xFF\xFF")
		f.Add(long)
		f.Add(noted(f, small, order, 9))
	}
	f.Add([]byte("\xFF\xD8\xFF\xE1\x00\x00"))
	f.Add([]byte("\xFF\xD8\xFF\xE1\x00\x0CExif\x00\x00II*\x00"))
	f.Fuzz(func(t *testing.T, file []byte) {
		if got := orientation(file); got < 1 || got > 8 {
			t.Errorf("orientation %d", got)
		}
	})
}
