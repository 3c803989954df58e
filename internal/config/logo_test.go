package config_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"slices"
	"strings"
	"testing"

	"sotto/internal/config"
)

// Chunks of WebP files of 6 × 4 pixels that a browser wrote: lossy, lossless, and the header of the extended form.
const (
	vp8  = "VlA4ICwAAACQAQCdASoGAAQAAsBMJaACdLoAA5gA/u5DH+5sc4twV/9tD/9aH/60P+lAAA=="
	vp8l = "VlA4TA8AAAAvBcAAAAcQ/Y/+ByKi/wEA"
	vp8x = "VlA4WAoAAAAgAAAABQAAAwAA"
)

// webp wraps chunks.
func webp(t *testing.T, chunks ...string) string {
	t.Helper()
	content := []byte("WEBP")
	for _, c := range chunks {
		b, err := base64.StdEncoding.DecodeString(c)
		if err != nil {
			t.Fatal(err)
		}
		content = append(content, b...)
	}
	return "RIFF" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(content)))) + string(content)
}

func encoded(t *testing.T, width, height int, encode func(io.Writer, image.Image) error) string {
	t.Helper()
	var b bytes.Buffer
	if err := encode(&b, image.NewGray(image.Rect(0, 0, width, height))); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func asJPEG(w io.Writer, m image.Image) error { return jpeg.Encode(w, m, nil) }
func asGIF(w io.Writer, m image.Image) error  { return gif.Encode(w, m, nil) }

// TestLogoIsLookedInto: what mail programs show is taken with its type and size, as it is.
func TestLogoIsLookedInto(t *testing.T) {
	for name, c := range map[string]struct {
		content, typ  string
		width, height int
	}{
		"PNG":           {encoded(t, 300, 40, png.Encode), "image/png", 300, 40},
		"largest":       {encoded(t, 1000, 1000, png.Encode), "image/png", 1000, 1000},
		"JPEG":          {encoded(t, 20, 10, asJPEG), "image/jpeg", 20, 10},
		"WebP":          {webp(t, vp8), "image/webp", 6, 4},
		"WebP lossless": {webp(t, vp8l), "image/webp", 6, 4},
		"WebP extended": {webp(t, vp8x, vp8), "image/webp", 6, 4},
	} {
		conf, err := parse(t, nil, "", "--mail-logo="+write(t, c.content))
		if err != nil {
			t.Fatal(err)
		}
		l, err := conf.Logo()
		if err != nil || l.Type != c.typ || l.Width != c.width || l.Height != c.height || string(l.Content) != c.content {
			t.Errorf("%s: %+v, %v", name, l, err)
		}
	}
	if l, err := (&config.Config{}).Logo(); l != nil || err != nil {
		t.Errorf("without: %v, %v", l, err)
	}
}

func TestOddLogosAreRefusedWithASentence(t *testing.T) {
	picture := encoded(t, 100, 100, png.Encode)
	wide := []byte(webp(t, vp8))
	binary.LittleEndian.PutUint16(wide[26:], 5000)
	for name, c := range map[string]struct{ content, want string }{
		"nothing":          {"", "none of these"},
		"text":             {"<svg xmlns='http://www.w3.org/2000/svg'/>", "none of these"},
		"page":             {"<html><script>alert(1)</script>", "none of these"},
		"GIF":              {encoded(t, 5, 5, asGIF), "none of these"},
		"wide":             {encoded(t, 1001, 1, png.Encode), "1001 × 1 pixels"},
		"high":             {encoded(t, 1, 1001, asJPEG), "1 × 1001 pixels"},
		"heavy":            {picture + strings.Repeat("x", 256<<10), "more than 262144"},
		"PNG cut":          {picture[:len(picture)-20], "damaged"},
		"PNG header only":  {picture[:20], "damaged"},
		"JPEG cut":         {encoded(t, 100, 100, asJPEG)[:400], "damaged"},
		"WebP cut":         {webp(t, vp8)[:40], "damaged"},
		"WebP no picture":  {webp(t, strings.Replace(vp8x, "VlA4WA", "VlA4Wg", 1), vp8), "damaged"},
		"WebP wide":        {string(wide), "5000 × 4 pixels"},
		"WebP header only": {"RIFF\x08\x00\x00\x00WEBPVP8 ", "damaged"},
	} {
		conf := config.Config{MailLogo: write(t, c.content)}
		l, err := conf.Logo()
		if err == nil {
			t.Errorf("%s: %+v", name, l)
			continue
		}
		for _, want := range []string{"SOTTO_MAIL_LOGO", conf.MailLogo, c.want, "name a PNG, JPEG or WebP of at most 262144 bytes and 1000 pixels"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", name, err, want)
			}
		}
	}
	for _, path := range []string{"/nowhere/at/all", t.TempDir()} {
		conf := config.Config{MailLogo: path}
		if _, err := conf.Logo(); err == nil || !strings.Contains(err.Error(), "name a PNG") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func FuzzLogo(f *testing.F) {
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 3, 3))); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	for _, c := range []string{vp8, vp8l, vp8x} {
		chunk, err := base64.StdEncoding.DecodeString(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(slices.Concat([]byte("RIFF\x38\x00\x00\x00WEBP"), chunk))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		conf := config.Config{MailLogo: write(t, string(content))}
		if l, err := conf.Logo(); err == nil && (l.Width < 1 || l.Height < 1 || l.Width > 1000 || l.Height > 1000) {
			t.Errorf("%d × %d", l.Width, l.Height)
		}
	})
}
