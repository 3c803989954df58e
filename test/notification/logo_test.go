package notification_test

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"mime/quotedprintable"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sotto/internal/notification/notificationtest"
	"sotto/test/contract/rest"
)

// paint writes a picture to the file.
func paint(t *testing.T, path string, shade uint8) (content []byte) {
	t.Helper()
	m := image.NewGray(image.Rect(0, 0, 200, 50))
	for i := range m.Pix {
		m.Pix[i] = shade
	}
	m.Set(0, 0, color.Black)
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var aPicture = regexp.MustCompile(`<img src="([^"]+/api/notifications/images/[0-9a-f]{64})" alt="127\.0\.0\.1" width="200" height="50"`)

// picture is the address of the picture at the top of a mail; empty when there is none.
func (w *world) picture(m notificationtest.Delivered) string {
	w.Helper()
	b, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	if err != nil {
		w.Fatal(err)
	}
	found := aPicture.FindSubmatch(b)
	if found == nil {
		if strings.Contains(string(b), "<img") {
			w.Errorf("%s", b)
		}
		return ""
	}
	return string(found[1])
}

// load is what a mail program does, which has no token.
func (w *world) load(url string) (content []byte, typ string) {
	w.Helper()
	path, found := strings.CutPrefix(url, w.URL)
	if !found {
		w.Fatalf("%q is not at %s", url, w.URL)
	}
	answer := w.Do(w, rest.Request{Method: http.MethodGet, Path: path})
	if answer.Status != http.StatusOK {
		w.Errorf("%s: %d", url, answer.Status)
	}
	return answer.Body, answer.Header.Get("Content-Type")
}

func (w *world) health(url string) string {
	w.Helper()
	answer := (&rest.Server{URL: url}).Do(w, rest.Request{Method: http.MethodGet, Path: "/health"})
	return string(answer.Body)
}

// TestLogo: mails show the picture of the settings, and those of before keep theirs when it is replaced or taken away.
func TestLogo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "plain")
	if url := w.picture(w.to("plain@example.org")[1]); url != "" {
		t.Errorf("without a logo: %s", url)
	}
	file := filepath.Join(t.TempDir(), "logo.png")
	settings := w.process.Env
	restart := func(env ...string) {
		t.Helper()
		if err := w.process.Stop(); err != nil {
			t.Fatal(err)
		}
		w.process.Env = append(settings[:len(settings):len(settings)], env...)
		w.up()
	}
	var urls []string
	var contents [][]byte
	for i, name := range []string{"one", "two"} {
		contents = append(contents, paint(t, file, uint8(100+i)))
		restart("SOTTO_MAIL_LOGO=" + file)
		w.newPerson(name)
		for _, m := range w.to(name + "@example.org")[1:] { // newPerson has read the first
			urls = append(urls[:i], w.picture(m))
		}
	}
	readable := func(when string) {
		t.Helper()
		for i, url := range urls {
			if got, typ := w.load(url); !bytes.Equal(got, contents[i]) || typ != "image/png" || urls[0] == urls[1] {
				t.Errorf("%s: %s: %d bytes, %s", when, url, len(got), typ)
			}
		}
	}
	restart()
	readable("without a logo")
	w.newPerson("three")
	if url := w.picture(w.to("three@example.org")[1]); url != "" {
		t.Errorf("taken away: %s", url)
	}
	if lines := w.health(w.URL); strings.Count(lines, "asset store: ok") != 1 {
		t.Error(lines)
	}

	backup := filepath.Join(t.TempDir(), "backup")
	err := errors.Join(w.process.Backup(t.Context(), backup), w.process.Stop(),
		w.process.RestoreTo(t.Context(), backup, filepath.Join(t.TempDir(), "restored")))
	if err != nil {
		t.Fatal(err)
	}
	w.up()
	readable("restored")
}

// TestLogoTried: the operator sees what people will get, also that it is not there yet, and what is no picture keeps the
// server from starting.
func TestLogoTried(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ada")
	file := filepath.Join(t.TempDir(), "logo.png")
	content := paint(t, file, 200)
	try := func() (said, url string) {
		t.Helper()
		said, err := w.process.Command(t.Context(), "notify-test", "ada")
		if err != nil {
			t.Fatal(err)
		}
		mails := w.to("ada@example.org")
		return said, w.picture(mails[len(mails)-1])
	}
	w.process.Env = append(w.process.Env, "SOTTO_MAIL_LOGO="+file, "SOTTO_PUBLIC_URL="+w.URL)
	if said, url := try(); url != "" || !strings.Contains(said, "without the picture of SOTTO_MAIL_LOGO") {
		t.Errorf("%s\n%s", url, said)
	}
	if err := w.process.Stop(); err != nil {
		t.Fatal(err)
	}
	w.up()
	w.newPerson("bob") // whose mails wait for the picture
	if said, url := try(); strings.Contains(said, "without") {
		t.Error(said)
	} else if got, _ := w.load(url); !bytes.Equal(got, content) {
		t.Errorf("%s: %d bytes", url, len(got))
	}
	if err := w.process.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("<svg/>"), 0o600); err != nil {
		t.Fatal(err)
	}
	if said, err := w.process.Command(t.Context(), "serve"); err == nil || !strings.Contains(said, "name a PNG, JPEG or WebP") {
		t.Errorf("%v\n%s", err, said)
	}
}

// TestLogoOfServices is TestLogo over separate services: only those processes that notify have the file and the store.
func TestLogoOfServices(t *testing.T) {
	t.Parallel()
	_, server := newSplit(t, "logo")
	w := newEnds(t)
	file := filepath.Join(t.TempDir(), "logo.png")
	content := paint(t, file, 150)
	for _, p := range server.Processes {
		p.Env = append(append(p.Env, w.settings()...), "SOTTO_DATA_DIR="+t.TempDir(), "SOTTO_MAIL_LOGO="+file+"-of-another-host")
	}
	notifies := server.Named["notification"]
	notifies.Env[len(notifies.Env)-1] = "SOTTO_MAIL_LOGO=" + file
	if err := server.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.Server = &rest.Server{URL: server.URL}
	w.newPerson("ada")
	url := w.picture(w.to("ada@example.org")[1])
	if got, typ := w.load(url); !bytes.Equal(got, content) || typ != "image/png" {
		t.Errorf("%s: %d bytes, %s", url, len(got), typ)
	}
	listen := notifies.Args[len(notifies.Args)-1]
	if lines := w.health(fmt.Sprintf("http://%s", listen)); !strings.Contains(lines, "asset store: ok") {
		t.Error(lines)
	}
}
