package cloudinary_test

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sotto/internal/asset/assettest"
	"sotto/internal/asset/cloudinary"
)

const cloud, key, secret = "sotto-test", "123456789012345", "secret-of-the-test"

// service does what Cloudinary documents of the raw upload API and of delivery. It can forget what ranges are.
type service struct {
	t        *testing.T
	noRanges bool

	mu      sync.Mutex
	objects map[string][]byte
}

// signed verifies a signature as documented: every parameter but file, cloud_name, resource_type and api_key, in the order
// of the names, with the secret at the end. It is good for an hour.
func signed(form map[string][]string) bool {
	var pairs []string
	for name, values := range form {
		if !slices.Contains([]string{"file", "cloud_name", "resource_type", "api_key", "signature"}, name) {
			pairs = append(pairs, name+"="+strings.Join(values, ","))
		}
	}
	slices.Sort(pairs)
	text := []byte(strings.Join(pairs, "&") + secret)
	one, two := sha1.Sum(text), sha256.Sum256(text)
	given := first(form, "signature")
	at, err := strconv.ParseInt(first(form, "timestamp"), 10, 64)
	return err == nil && time.Since(time.Unix(at, 0)).Abs() < time.Hour && first(form, "api_key") == key &&
		(given == hex.EncodeToString(one[:]) || given == hex.EncodeToString(two[:]))
}

func first(form map[string][]string, name string) string {
	if len(form[name]) == 0 {
		return ""
	}
	return form[name][0]
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	const api, delivery = "/v1_1/" + cloud + "/", "/" + cloud + "/raw/upload/"
	switch {
	case r.Method == http.MethodGet && r.URL.Path == api+"ping":
		if name, password, ok := r.BasicAuth(); !ok || name != key || password != secret {
			s.refuse(w)
			return
		}
		s.say(w, map[string]any{"status": "ok"})
	case r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, api+"raw/"):
		if err := r.ParseMultipartForm(4 << 20); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if !signed(r.MultipartForm.Value) {
			s.refuse(w)
			return
		}
		s.change(w, r, strings.TrimPrefix(r.URL.Path, api+"raw/"))
	case r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, delivery):
		s.deliver(w, r, strings.TrimPrefix(r.URL.Path, delivery))
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (s *service) refuse(w http.ResponseWriter) {
	w.WriteHeader(http.StatusUnauthorized)
	s.say(w, map[string]any{"error": map[string]string{"message": "Invalid Signature. String to sign - " + secret}})
}

func (s *service) say(w io.Writer, v any) {
	if err := json.NewEncoder(w).Encode(v); err != nil {
		s.t.Log(err) // the client may be gone
	}
}

func (s *service) change(w http.ResponseWriter, r *http.Request, action string) {
	id := r.FormValue("public_id")
	s.mu.Lock()
	defer s.mu.Unlock()
	switch action {
	case "upload":
		file, _, err := r.FormFile("file")
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		content, err := io.ReadAll(file)
		if err != nil || r.FormValue("overwrite") != "true" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		s.objects[id] = content
		s.say(w, map[string]any{"public_id": id, "bytes": len(content), "resource_type": "raw"})
	case "destroy":
		result := "ok"
		if _, ok := s.objects[id]; !ok {
			result = "not found"
		}
		delete(s.objects, id)
		s.say(w, map[string]any{"result": result})
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (s *service) deliver(w http.ResponseWriter, r *http.Request, id string) {
	s.mu.Lock()
	content, ok := s.objects[id]
	noRanges := s.noRanges
	s.mu.Unlock()
	switch {
	case !ok:
		w.WriteHeader(http.StatusNotFound)
	case noRanges:
		_, _ = w.Write(content) // the client may have enough of it
	default:
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}
}

func start(t *testing.T) (*service, *assettest.Gate, string) {
	t.Helper()
	s := &service{t: t, objects: map[string][]byte{}}
	gate := &assettest.Gate{Next: s}
	server := httptest.NewServer(gate)
	t.Cleanup(server.Close)
	return s, gate, server.URL
}

func open(t *testing.T, url, secret string, now func() time.Time) *cloudinary.Cloudinary {
	t.Helper()
	c, err := cloudinary.Open(cloudinary.Config{
		Cloud: cloud, Prefix: "sotto/chat/", Key: key, Secret: secret, Now: now, API: url, Delivery: url,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestBackend(t *testing.T) {
	_, _, url := start(t)
	assettest.Run(t, open(t, url, secret, time.Now))
}

func TestBackendWithoutRanges(t *testing.T) {
	s, _, url := start(t)
	s.noRanges = true
	assettest.Run(t, open(t, url, secret, time.Now))
}

func TestFailures(t *testing.T) {
	_, gate, url := start(t)
	assettest.Remote(t, gate, open(t, url, secret, time.Now), open(t, url, "another secret", time.Now), secret, "another secret")
}

func TestClockThatIsWrong(t *testing.T) {
	_, _, url := start(t)
	c := open(t, url, secret, func() time.Time { return time.Now().Add(-2 * time.Hour) })
	if err := c.Put(t.Context(), assettest.Name(), []byte("x")); err == nil || !strings.Contains(err.Error(), "clock") {
		t.Error(err)
	}
}

func TestShortStore(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"public_id":"x","bytes":1}`))
	}))
	t.Cleanup(server.Close)
	if err := open(t, server.URL, secret, time.Now).Put(t.Context(), assettest.Name(), []byte("xy")); err == nil {
		t.Error("a part of it was taken for the whole")
	}
}

func TestCloudName(t *testing.T) {
	for _, name := range []string{"", "a/b", "..", "a?b", strings.Repeat("x", 65)} {
		if _, err := cloudinary.Open(cloudinary.Config{Cloud: name}); err == nil {
			t.Errorf("%q was taken", name)
		}
	}
}
