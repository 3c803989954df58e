package config

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"io"
	"net/http"
)

// Logo is the picture at the top of mails.
type Logo struct {
	Type          string // image/png, image/jpeg or image/webp
	Content       []byte
	Width, Height int // pixels
}

// Bounds of a logo: the reader of every mail loads it.
const (
	maxLogo     = 256 << 10 // bytes
	maxLogoSide = 1000      // pixels
)

// Logo reads the file of SOTTO_MAIL_LOGO; it is nil where that is not set. Only processes that notify have to have the file.
func (c *Config) Logo() (*Logo, error) {
	if c.MailLogo == "" {
		return nil, nil //nolint:nilnil // there is no logo
	}
	content, err := readBounded(c.MailLogo, maxLogo)
	l := &Logo{Content: []byte(content)}
	if err == nil {
		err = l.look()
	}
	if err != nil {
		return nil, fmt.Errorf("SOTTO_MAIL_LOGO is %s: %w; name a PNG, JPEG or WebP of at most %d bytes and %d pixels a side, "+
			"or leave it out", c.MailLogo, err, maxLogo, maxLogoSide)
	}
	return l, nil
}

// look finds out what the content is, and refuses what mail programs could not show. The size is checked before anything
// is unfolded.
func (l *Logo) look() error {
	var size func(io.Reader) (image.Config, error)
	var decode func(io.Reader) (image.Image, error)
	switch l.Type = http.DetectContentType(l.Content); l.Type {
	case "image/png":
		size, decode = png.DecodeConfig, png.Decode
	case "image/jpeg":
		size, decode = jpeg.DecodeConfig, jpeg.Decode
	case "image/webp":
		return l.lookWebP()
	default:
		return errors.New("it is none of these")
	}
	found, err := size(bytes.NewReader(l.Content))
	if err != nil {
		return fmt.Errorf("it is damaged: %w", err)
	}
	if err := l.measure(found.Width, found.Height); err != nil {
		return err
	}
	if _, err := decode(bytes.NewReader(l.Content)); err != nil {
		return fmt.Errorf("it is damaged: %w", err)
	}
	return nil
}

func (l *Logo) measure(width, height int) error {
	if width < 1 || height < 1 || width > maxLogoSide || height > maxLogoSide {
		return fmt.Errorf("it has %d × %d pixels", width, height)
	}
	l.Width, l.Height = width, height
	return nil
}

// lookWebP reads the header only: the standard library does not decode WebP. The length in it tells a file that was cut.
func (l *Logo) lookWebP() error {
	b := l.Content
	if len(b) < 30 || int(binary.LittleEndian.Uint32(b[4:])) != len(b)-8 {
		return errors.New("it is damaged: its length is not the one that it tells")
	}
	const side = 1<<14 - 1 // 14 bits
	switch string(b[12:16]) {
	case "VP8 ":
		return l.measure(int(binary.LittleEndian.Uint16(b[26:])&side), int(binary.LittleEndian.Uint16(b[28:])&side))
	case "VP8L":
		sides := binary.LittleEndian.Uint32(b[21:])
		return l.measure(int(sides&side)+1, int(sides>>14&side)+1)
	case "VP8X":
		return l.measure(int(binary.LittleEndian.Uint32(b[23:])>>8)+1, int(binary.LittleEndian.Uint32(b[26:])>>8)+1)
	}
	return errors.New("it is damaged: it has no picture")
}
