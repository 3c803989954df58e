package s3_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"sotto/internal/asset/assettest"
	"sotto/internal/asset/s3"
)

const key, secret, region, bucket = "key-of-the-test", "secret-of-the-test", "somewhere", "sotto-assets"

var authorization = regexp.MustCompile(
	`^AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/s3/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$`)

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// signed verifies the signature of a request (AWS Signature Version 4), which the server behind it leaves out.
func signed(r *http.Request) bool {
	m := authorization.FindStringSubmatch(r.Header.Get("Authorization"))
	if m == nil || m[1] != key || m[3] != region {
		return false
	}
	var headers strings.Builder
	for _, name := range strings.Split(m[4], ";") {
		value := r.Header.Get(name)
		if name == "host" {
			value = r.Host
		}
		headers.WriteString(name + ":" + strings.TrimSpace(value) + "\n")
	}
	request := strings.Join([]string{
		r.Method, r.URL.EscapedPath(), strings.ReplaceAll(r.URL.Query().Encode(), "+", "%20"), headers.String(), m[4],
		r.Header.Get("X-Amz-Content-Sha256"),
	}, "\n")
	scope := m[2] + "/" + region + "/s3/aws4_request"
	text := "AWS4-HMAC-SHA256\n" + r.Header.Get("X-Amz-Date") + "\n" + scope + "\n" + hash(request)
	signing := []byte("AWS4" + secret)
	for _, part := range []string{m[2], region, "s3", "aws4_request"} {
		signing = mac(signing, part)
	}
	return hex.EncodeToString(mac(signing, text)) == m[5]
}

func start(t *testing.T) (*assettest.Gate, string) {
	t.Helper()
	memory := s3mem.New()
	if err := memory.CreateBucket(bucket); err != nil {
		t.Fatal(err)
	}
	store := gofakes3.New(memory, gofakes3.WithIntegrityCheck(true)).Server()
	gate := &assettest.Gate{Next: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !signed(r) {
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(http.StatusForbidden)
			// As some stores do, it says too much.
			_, _ = w.Write([]byte(`<Error><Code>SignatureDoesNotMatch</Code><Message>not ` + secret + `</Message></Error>`))
			return
		}
		store.ServeHTTP(w, r)
	})}
	server := httptest.NewServer(gate)
	t.Cleanup(server.Close)
	return gate, server.URL
}

func open(t *testing.T, endpoint, bucket, secret string) *s3.S3 {
	t.Helper()
	b, err := s3.Open(s3.Config{Bucket: bucket, Prefix: "chat/", Endpoint: endpoint, Region: region, Key: key, Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBackend(t *testing.T) {
	_, url := start(t)
	assettest.Run(t, open(t, url, bucket, secret))
}

func TestFailures(t *testing.T) {
	gate, url := start(t)
	assettest.Remote(t, gate, open(t, url, bucket, secret), open(t, url, bucket, "another secret"), secret, "another secret")
}

func TestBucketThatIsNotThere(t *testing.T) {
	_, url := start(t)
	b := open(t, url, "nowhere", secret)
	if err := b.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Error(err)
	}
	if err := b.Put(t.Context(), assettest.Name(), []byte("x")); err == nil {
		t.Error("an object was stored nowhere")
	}
}

func TestBadEndpoint(t *testing.T) {
	for _, endpoint := range []string{"s3.example.org", "ftp://s3.example.org", "https://key:secret@s3.example.org", "https://"} {
		if _, err := s3.Open(s3.Config{Bucket: bucket, Endpoint: endpoint}); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", endpoint, err)
		}
	}
}
