package main

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	_ "image/gif" // one of the forms that image.Decode reads
	"image/jpeg"
	_ "image/png" // another one
	"io"

	"sotto/client"
)

const (
	side      = 256      // pixels of a picture that leaves
	maxFile   = 20 << 20 // bytes of the file
	maxPixels = 50e6     // that a file may unfold to: 200 MB
)

// portrait cuts the middle square out of a picture, scales it down, turns it upright and encodes it anew, so that nothing
// else that the file tells, such as where it was taken, is left.
func portrait(file io.Reader) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxFile {
		return nil, fmt.Errorf("the file has more than %d MB; take a smaller one", maxFile>>20)
	}
	about, _, err := image.DecodeConfig(bytes.NewReader(content))
	if err != nil {
		return nil, fmt.Errorf("this is no JPEG, PNG or GIF (%w)", err)
	}
	if float64(about.Width)*float64(about.Height) > maxPixels {
		return nil, fmt.Errorf("the picture has %d × %d pixels; take one of at most 50 million", about.Width, about.Height)
	}
	whole, _, err := image.Decode(bytes.NewReader(content))
	if err != nil {
		return nil, fmt.Errorf("the picture is damaged (%w)", err)
	}
	small := scaled(whole, orientation(content))
	for _, quality := range []int{88, 70, 50, 30} {
		var out bytes.Buffer
		if err := jpeg.Encode(&out, small, &jpeg.Options{Quality: quality}); err != nil {
			return nil, err
		}
		if out.Len() <= client.MaxPicture {
			return out.Bytes(), nil
		}
	}
	return nil, fmt.Errorf("the picture cannot be made small enough; take another one")
}

// scaled is the middle square, upright, of at most side pixels a side, each the average of those that it stands for, on
// white.
func scaled(m image.Image, orientation int) image.Image {
	b := m.Bounds()
	cut := min(b.Dx(), b.Dy())
	n := min(cut, side)
	left, top := b.Min.X+(b.Dx()-cut)/2, b.Min.Y+(b.Dy()-cut)/2
	out := image.NewRGBA(image.Rect(0, 0, n, n))
	for y := range n {
		for x := range n {
			toX, toY := turned(orientation, x, y, n)
			out.Set(toX, toY, average(m, image.Rect(left+x*cut/n, top+y*cut/n, left+(x+1)*cut/n, top+(y+1)*cut/n)))
		}
	}
	return out
}

func average(m image.Image, r image.Rectangle) color.Color {
	var red, green, blue, n uint64
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			cr, cg, cb, ca := m.At(x, y).RGBA() // multiplied by ca already
			white := uint64(0xFFFF - ca)
			red, green, blue, n = red+uint64(cr)+white, green+uint64(cg)+white, blue+uint64(cb)+white, n+1
		}
	}
	return color.RGBA64{R: uint16(red / n), G: uint16(green / n), B: uint16(blue / n), A: 0xFFFF}
}
