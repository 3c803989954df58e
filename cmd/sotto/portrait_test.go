package main

import (
	"bytes"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"strings"
	"testing"
)

func encoded(t *testing.T, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestPortrait: the middle of a picture is left, small, on white, and nothing of what else the file tells.
func TestPortrait(t *testing.T) {
	wide := image.NewNRGBA(image.Rect(10, 20, 910, 420)) // transparent, with a red middle
	for y := 20; y < 420; y++ {
		for x := 360; x < 560; x++ {
			wide.Set(x, y, color.NRGBA{R: 0xFF, A: 0xFF})
		}
	}
	file := encoded(t, wide)
	secret := "\x00\x00\x00\x06tEXtsecret\x00\x00\x00\x00" // a chunk with a wrong checksum would be refused: at the end it is not read
	small, err := portrait(strings.NewReader(string(file) + secret))
	if err != nil {
		t.Fatal(err)
	}
	got, err := jpeg.Decode(bytes.NewReader(small))
	if err != nil || got.Bounds() != image.Rect(0, 0, 256, 256) || bytes.Contains(small, []byte("secret")) {
		t.Fatalf("%v, %v", got.Bounds(), err)
	}
	for at, want := range map[image.Point]color.RGBA{{X: 8, Y: 128}: {0xFF, 0xFF, 0xFF, 0xFF}, {X: 128, Y: 128}: {0xFF, 0, 0, 0xFF}} {
		r, g, b, _ := got.At(at.X, at.Y).RGBA()
		if near := func(a uint32, b uint8) bool { return max(a>>8, uint32(b))-min(a>>8, uint32(b)) < 12 }; !near(r, want.R) || !near(g, want.G) || !near(b, want.B) {
			t.Errorf("at %v: %x %x %x", at, r>>8, g>>8, b>>8)
		}
	}
}

// TestPortraitOfFrame: the first frame of a GIF, wherever on its canvas it lies, is cut in its own middle.
func TestPortraitOfFrame(t *testing.T) {
	frame := image.NewPaletted(image.Rect(300, 200, 500, 300), color.Palette{color.White, color.RGBA{R: 0xFF, A: 0xFF}})
	for y := 200; y < 300; y++ {
		for x := 350; x < 450; x++ {
			frame.SetColorIndex(x, y, 1)
		}
	}
	var file bytes.Buffer
	canvas := image.Config{ColorModel: frame.Palette, Width: 600, Height: 400}
	if err := gif.EncodeAll(&file, &gif.GIF{Image: []*image.Paletted{frame}, Delay: []int{0}, Config: canvas}); err != nil {
		t.Fatal(err)
	}
	small, err := portrait(&file)
	if err != nil {
		t.Fatal(err)
	}
	got, err := jpeg.Decode(bytes.NewReader(small))
	if err != nil || got.Bounds() != image.Rect(0, 0, 100, 100) {
		t.Fatalf("%v, %v", got.Bounds(), err)
	}
	for _, x := range []int{4, 96} {
		if r, g, b, _ := got.At(x, 50).RGBA(); r>>8 < 0xF0 || g>>8 > 0x10 || b>>8 > 0x10 {
			t.Errorf("at %d: %x %x %x", x, r>>8, g>>8, b>>8)
		}
	}
}

// TestPortraitRefuses: what is no picture, or too much of one, is refused with what to do.
func TestPortraitRefuses(t *testing.T) {
	bomb := encoded(t, image.NewPaletted(image.Rect(0, 0, 10_000, 5_001), color.Palette{color.Black}))
	for want, file := range map[string]string{
		"this is no JPEG":        "<svg/>",
		"take one of at most 50": string(bomb),
		"is damaged":             string(encoded(t, image.NewGray(image.Rect(0, 0, 90, 90)))[:60]),
		"more than 20 MB":        strings.Repeat("x", maxFile+1),
	} {
		if _, err := portrait(strings.NewReader(file)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
}
