// Package cloudinary keeps the objects of assets at Cloudinary, as files of the type raw: it makes nothing of them.
package cloudinary

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sotto/internal/asset"
)

const (
	dialTimeout   = 10 * time.Second
	answerTimeout = 60 * time.Second // from the end of a request to the header of its answer
	idleTimeout   = 90 * time.Second
	maxIdle       = 16      // connections between requests
	maxAnswer     = 1 << 20 // bytes of an answer that is not an object
	apiURL        = "https://api.cloudinary.com"
	deliveryURL   = "https://res.cloudinary.com"
)

// Config names the product environment.
type Config struct {
	Cloud, Prefix string // prefix of every public id, with a slash at its end
	Key, Secret   string
	Now           func() time.Time

	API, Delivery string      // base URLs; empty for Cloudinary's own
	TLS           *tls.Config // nil for the system's authorities
}

// Cloudinary is an asset.Backend.
type Cloudinary struct {
	Config
	client *http.Client
}

var cloudName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

// Open checks the settings, without a request.
func Open(c Config) (*Cloudinary, error) {
	if !cloudName.MatchString(c.Cloud) {
		return nil, fmt.Errorf("%q is not the name of a cloud at Cloudinary", c.Cloud)
	}
	if c.API == "" {
		c.API = apiURL
	}
	if c.Delivery == "" {
		c.Delivery = deliveryURL
	}
	return &Cloudinary{Config: c, client: &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext,
			TLSHandshakeTimeout: dialTimeout, TLSClientConfig: c.TLS, ResponseHeaderTimeout: answerTimeout,
			IdleConnTimeout: idleTimeout, MaxIdleConnsPerHost: maxIdle, ForceAttemptHTTP2: true, DisableCompression: true,
		},
		// A redirect would take a signed request elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// sign adds the time and the signature: SHA-256 over the parameters in the order of their names, and the secret.
func (c *Cloudinary) sign(parameters map[string]string) map[string]string {
	parameters["timestamp"] = strconv.FormatInt(c.Now().Unix(), 10)
	var pairs []string
	for name, value := range parameters {
		pairs = append(pairs, name+"="+value)
	}
	slices.Sort(pairs)
	sum := sha256.Sum256([]byte(strings.Join(pairs, "&") + c.Secret))
	parameters["signature"] = hex.EncodeToString(sum[:])
	parameters["api_key"] = c.Key // not among what is signed
	return parameters
}

// Put uploads the object in one signed request.
func (c *Cloudinary) Put(ctx context.Context, name string, content []byte) error {
	if err := asset.CheckName(name); err != nil {
		return err
	}
	var answer struct {
		PublicID string `json:"public_id"`
		Bytes    int64  `json:"bytes"`
	}
	parameters := map[string]string{"public_id": c.Prefix + name, "overwrite": "true", "invalidate": "true"}
	if err := c.post(ctx, "upload", parameters, content, &answer); err != nil {
		return fmt.Errorf("writing to Cloudinary: %w", err)
	}
	if answer.PublicID != c.Prefix+name || answer.Bytes != int64(len(content)) {
		return fmt.Errorf("writing to Cloudinary: it stored %d bytes instead of %d, or under another name", answer.Bytes, len(content))
	}
	return nil
}

// Delete removes an object. Copies in the delivery network go within the hour, as Cloudinary says.
func (c *Cloudinary) Delete(ctx context.Context, name string) error {
	if err := asset.CheckName(name); err != nil {
		return err
	}
	var answer struct {
		Result string `json:"result"`
	}
	parameters := map[string]string{"public_id": c.Prefix + name, "invalidate": "true"}
	err := c.post(ctx, "destroy", parameters, nil, &answer)
	if err == nil && answer.Result != "ok" && answer.Result != "not found" {
		err = errors.New("it did not say that the object is gone")
	}
	if err != nil {
		return fmt.Errorf("deleting from Cloudinary: %w", err)
	}
	return nil
}

func (c *Cloudinary) post(ctx context.Context, action string, parameters map[string]string, file []byte, answer any) error {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for name, value := range c.sign(parameters) {
		if err := form.WriteField(name, value); err != nil {
			return err
		}
	}
	if file != nil {
		w, err := form.CreateFormFile("file", "object")
		if err != nil {
			return err
		}
		if _, err := w.Write(file); err != nil {
			return err
		}
	}
	if err := form.Close(); err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.API+"/v1_1/"+c.Cloud+"/raw/"+action, &body)
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", form.FormDataContentType())
	return c.ask(r, answer)
}

// ask makes a request whose answer is JSON.
func (c *Cloudinary) ask(r *http.Request, answer any) error {
	res, err := c.client.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if err := explain(res.StatusCode); err != nil {
		return err
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, answer); err != nil {
		return errors.New("its answer is not JSON")
	}
	return nil
}

// explain says what a status means. What Cloudinary writes with it is left out: it repeats what was signed.
func explain(status int) error {
	switch {
	case status >= 200 && status < 300:
		return nil
	case status == http.StatusNotFound:
		return fs.ErrNotExist
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return fmt.Errorf("the key is refused (%d); check SOTTO_ASSET_KEY, SOTTO_ASSET_SECRET and the clock", status)
	}
	return fmt.Errorf("it answered %d", status)
}

// Open reads a range of an object from the delivery network.
func (c *Cloudinary) Open(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	if err := asset.CheckName(name); err != nil {
		return nil, err
	}
	address, err := url.JoinPath(c.Delivery, c.Cloud, "raw", "upload", c.Prefix+name)
	if err != nil {
		return nil, fmt.Errorf("reading from Cloudinary: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("reading from Cloudinary: %w", err)
	}
	r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, offset+length-1))
	res, err := c.client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("reading from Cloudinary: %w", err)
	}
	if err = explain(res.StatusCode); err == nil && res.StatusCode == http.StatusOK {
		_, err = io.CopyN(io.Discard, res.Body, offset) // whoever does not know ranges answers with everything
	}
	if err != nil {
		_ = res.Body.Close()
		return nil, fmt.Errorf("reading from Cloudinary: %w", err)
	}
	return section{io.LimitReader(res.Body, length), res.Body}, nil
}

type section struct {
	io.Reader
	io.Closer
}

// Check asks whether the key is taken.
func (c *Cloudinary) Check(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.API+"/v1_1/"+c.Cloud+"/ping", nil)
	if err != nil {
		return fmt.Errorf("asking Cloudinary: %w", err)
	}
	r.SetBasicAuth(c.Key, c.Secret)
	var answer struct {
		Status string `json:"status"`
	}
	if err := c.ask(r, &answer); err != nil {
		return fmt.Errorf("asking Cloudinary: %w", err)
	}
	if answer.Status != "ok" {
		return errors.New("asking Cloudinary: it does not say that it is well")
	}
	return nil
}
