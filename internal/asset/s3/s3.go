// Package s3 keeps the objects of assets in a bucket of whatever speaks the protocol of Amazon S3.
package s3

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // Content-MD5 of the protocol, against damage on the way
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"sotto/internal/asset"
)

const (
	dialTimeout   = 10 * time.Second
	answerTimeout = 30 * time.Second // from the end of a request to the header of its answer
	idleTimeout   = 90 * time.Second
	maxIdle       = 16 // connections between requests
	tries         = 2  // of a request that met 5xx or a broken connection; the client of the server repeats, too
	awsEndpoint   = "https://s3.amazonaws.com"
)

// Config is where the bucket is. It must exist.
type Config struct {
	Bucket, Prefix string      // prefix of every name, with a slash at its end
	Endpoint       string      // https URL; empty for Amazon's
	Region         string      // empty when the endpoint has no regions
	Key, Secret    string      //
	TLS            *tls.Config // nil for the system's authorities
}

// S3 is an asset.Backend.
type S3 struct {
	core           *minio.Core
	bucket, prefix string
}

// Open checks the settings, without a request.
func Open(c Config) (*S3, error) {
	if c.Endpoint == "" {
		c.Endpoint = awsEndpoint
	}
	u, err := url.Parse(c.Endpoint)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.User != nil {
		return nil, errors.New("the endpoint of S3 cannot be read; write it like https://s3.example.org")
	}
	core, err := minio.NewCore(u.Host, &minio.Options{
		Creds: credentials.NewStaticV4(c.Key, c.Secret, ""), Secure: u.Scheme == "https", Region: c.Region, MaxRetries: tries,
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext,
			TLSHandshakeTimeout: dialTimeout, TLSClientConfig: c.TLS, ResponseHeaderTimeout: answerTimeout,
			IdleConnTimeout: idleTimeout, MaxIdleConnsPerHost: maxIdle, ForceAttemptHTTP2: true,
			DisableCompression: true, // what is kept is ciphertext, and lengths have to be those of the object
		},
	})
	if err != nil {
		return nil, fmt.Errorf("the settings of S3: %w", err)
	}
	return &S3{core: core, bucket: c.Bucket, prefix: c.Prefix}, nil
}

// Put sends the object in one request with its hashes, so that the store takes all of it or nothing.
func (s *S3) Put(ctx context.Context, name string, content []byte) error {
	if err := asset.CheckName(name); err != nil {
		return err
	}
	sum, check := sha256.Sum256(content), md5.Sum(content) //nolint:gosec // see the import
	_, err := s.core.PutObject(ctx, s.bucket, s.prefix+name, bytes.NewReader(content), int64(len(content)),
		base64.StdEncoding.EncodeToString(check[:]), hex.EncodeToString(sum[:]),
		minio.PutObjectOptions{ContentType: "application/octet-stream"})
	return explain("writing to S3", err)
}

// Open reads a range of an object.
func (s *S3) Open(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	if err := asset.CheckName(name); err != nil {
		return nil, err
	}
	var o minio.GetObjectOptions
	if err := o.SetRange(offset, offset+length-1); err != nil {
		return nil, fmt.Errorf("reading from S3: %w", err)
	}
	body, _, _, err := s.core.GetObject(ctx, s.bucket, s.prefix+name, o)
	if err != nil {
		return nil, explain("reading from S3", err)
	}
	return body, nil
}

// Delete removes an object.
func (s *S3) Delete(ctx context.Context, name string) error {
	if err := asset.CheckName(name); err != nil {
		return err
	}
	err := explain("deleting from S3", s.core.RemoveObject(ctx, s.bucket, s.prefix+name, minio.RemoveObjectOptions{}))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Check tells whether the bucket is there for the key.
func (s *S3) Check(ctx context.Context) error {
	there, err := s.core.BucketExists(ctx, s.bucket)
	if err == nil && !there {
		return fmt.Errorf("S3 has no bucket %s", s.bucket)
	}
	return explain("asking S3", err)
}

var plainCode = regexp.MustCompile(`^[A-Za-z0-9]{1,64}$`)

// explain says what an answer means. It repeats the code and nothing else that the store wrote, which may hold the key.
func explain(doing string, err error) error {
	if err == nil {
		return nil
	}
	answer, ok := errors.AsType[minio.ErrorResponse](err)
	if !ok || answer.StatusCode == 0 {
		return fmt.Errorf("%s: %w", doing, err)
	}
	code := answer.Code
	if !plainCode.MatchString(code) {
		code = "without a code"
	}
	switch answer.StatusCode {
	case http.StatusNotFound:
		if code == "NoSuchBucket" {
			return fmt.Errorf("%s: there is no such bucket", doing)
		}
		return fmt.Errorf("%s: %w", doing, fs.ErrNotExist)
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%s: the key is refused (%s); check SOTTO_ASSET_KEY, SOTTO_ASSET_SECRET, the region and the rights of the key", doing, code)
	}
	return fmt.Errorf("%s: it answered %d %s", doing, answer.StatusCode, code)
}
