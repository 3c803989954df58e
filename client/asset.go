package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"sotto/api"
	"sotto/e2ee"
)

// Files travel sealed: the server keeps ciphertext under its hash, and whoever is to read it gets key and hash in a
// content. The key of an upload is stored before anything leaves, under the hash of the plaintext. Sealing is a function
// of both, so that the same file goes on where it was cut off, also after a crash, and no key ever seals two files.
//
// The key stays until the pointer is used, in the Apply that uses it. Whatever was not used in a day is deleted here and
// at the server, which drops uploads that make no progress for so long by itself.

const (
	assetPart        = 256 << 10          // bytes of one request of an upload: within its deadline from 5 KB/s on
	assetSpan        = api.MaxAssetPart   // bytes of one request of a download
	assetTries       = 5                  // failures in a row without progress; then the caller gets the error, and may repeat
	assetKept        = 24 * time.Hour     // that was uploaded and not used, or fell out of use
	maxUnusedUploads = 4 * api.MaxUploads // uploads whose pointers are not used yet; more are refused with CodeQueueFull
)

const pathAssets = "/api/chat/assets"

// assetPath is where the server shows the asset of that hash.
func assetPath(hash []byte) string { return pathAssets + "/" + hex.EncodeToString(hash) }

// pendingAsset is what the store keeps of an upload.
type pendingAsset struct {
	Key   []byte `json:"key"`
	Asset []byte `json:"asset"` // SHA-256 of the ciphertext
	Since int64  `json:"since"`
}

// upload seals a file and gives it to the server. It returns when all of it is there; repeating it after an error, or in
// another process, goes on where it stopped. The caller puts the pointer to use.
//
// Errors: CodeArgument, CodeQueueFull, api.CodeQuota, CodeNetwork.
func (c *Client) upload(ctx context.Context, plaintext []byte) (e2ee.Attachment, error) {
	sealed, a, err := c.sealAsset(plaintext)
	if err != nil {
		return a, err
	}
	return a, c.insistOnAsset(ctx, func() (int64, error) { return c.uploadRest(ctx, a, sealed) })
}

// insistOnAsset repeats what was cut off, until it fails some times in a row without getting any further than before.
func (c *Client) insistOnAsset(ctx context.Context, try func() (reached int64, err error)) error {
	best := int64(0)
	for failures := 0; ; {
		reached, err := try()
		switch CodeOf(err) {
		case CodeNetwork, api.CodeUnavailable, api.CodeLimited, api.CodeConflict, api.CodeAssetHash:
		default:
			return err
		}
		if reached > best {
			best, failures = reached, 0
		}
		if failures++; failures == assetTries {
			return err
		}
		pause, jitterErr := c.backoff(failures)
		if jitterErr != nil {
			return jitterErr
		}
		if e, ok := errors.AsType[*Error](err); ok {
			pause = max(pause, e.RetryAfter)
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// uploadRest sends what the server does not have yet. It returns how far that went.
func (c *Client) uploadRest(ctx context.Context, a e2ee.Attachment, sealed []byte) (int64, error) {
	var now api.Asset
	size := int64(len(sealed))
	if err := c.call(ctx, "POST", pathAssets, api.BeginAsset{SHA256: a.Hash[:], Size: size}, &now); err != nil {
		return 0, err
	}
	for at := int64(-1); ; {
		if now.Received <= at || now.Received > size {
			return at, serverError("an upload of %d bytes went from %d to %d", size, at, now.Received)
		}
		if at = now.Received; at == size {
			return at, nil
		}
		path := pathAssets + "/uploads/" + now.UploadID.String() + "?offset=" + strconv.FormatInt(at, 10)
		if err := c.call(ctx, "PATCH", path, octets(sealed[at:min(at+assetPart, size)]), &now); err != nil {
			return at, err
		}
	}
}

// sealAsset makes the ciphertext of an upload, the same one as before when this file's upload was begun before.
func (c *Client) sealAsset(plaintext []byte) (sealed []byte, a e2ee.Attachment, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	me, err := c.device()
	if err == nil {
		err = me.usable()
	}
	if err != nil {
		return nil, a, err
	}
	at := keyAsset(sha256.Sum256(plaintext))
	p, found, err := get[pendingAsset](c, at)
	if err != nil {
		return nil, a, err
	}
	var key [32]byte
	if copy(key[:], p.Key); !found {
		waiting, err := c.store.Scan([]byte{prefixAsset}, nil, maxUnusedUploads)
		if err != nil {
			return nil, a, storeError(err)
		}
		if len(waiting) == maxUnusedUploads {
			return nil, a, fail(CodeQueueFull, "%d files were uploaded and not used. Wait a day, or repeat one of them.", maxUnusedUploads)
		}
		if err := c.random(key[:]); err != nil {
			return nil, a, err
		}
	}
	if sealed, a, err = e2ee.SealAttachment(key, plaintext); err != nil {
		return nil, a, fail(CodeArgument, "A file has 1 to %d bytes.", e2ee.MaxAttachmentPlain).because(err)
	}
	b := &batch{} // used once more, it is kept for as long as a new one
	b.put(at, pendingAsset{Key: key[:], Asset: a.Hash[:], Since: c.millis()})
	return sealed, a, c.commit(b)
}

// download reads and opens a file of at most limit bytes, sealed. Nothing is returned but what was sealed.
//
// Errors: CodeAsset for other bytes, and for a pointer that is too large; api.CodeNotFound, CodeNetwork.
func (c *Client) download(ctx context.Context, a e2ee.Attachment, limit uint64) ([]byte, error) {
	if a.Size > limit {
		return nil, fail(CodeAsset, "This file is larger than what is read here.")
	}
	sealed := make([]byte, 0, a.Size)
	err := c.insistOnAsset(ctx, func() (int64, error) {
		for at := int64(len(sealed)); at < int64(a.Size); at = int64(len(sealed)) {
			var piece octets
			want := span{at, min(at+assetSpan, int64(a.Size))}
			if err := c.call(ctx, "GET", assetPath(a.Hash[:]), want, &piece); err != nil {
				return at, err
			}
			if len(piece) != int(want.to-want.from) {
				return at, errOtherAsset.because(fmt.Errorf("%d bytes from %d to %d", len(piece), want.from, want.to))
			}
			sealed = append(sealed, piece...)
		}
		return int64(len(sealed)), nil
	})
	if err != nil {
		return nil, err
	}
	plaintext, err := a.Open(sealed)
	if err != nil {
		return nil, errOtherAsset.because(err)
	}
	return plaintext, nil
}

var errOtherAsset = fail(CodeAsset, "The server does not show the file that was sent. It is not used.")

// tidyAssets deletes at the server what has not been used for a day. Deleting what is not there is no error.
func (c *Client) tidyAssets(ctx context.Context) error {
	old, err := c.unusedAssets()
	for i := 0; i < len(old) && err == nil; i++ {
		err = c.call(ctx, "DELETE", assetPath(old[i].asset), nil, nil)
		if err == nil {
			err = c.forgetAsset(old[i])
		}
	}
	return err
}

// unusedAsset is an asset to delete, with the note that says so.
type unusedAsset struct{ note, value, asset []byte }

func (c *Client) unusedAssets() (out []unusedAsset, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.millis() - assetKept.Milliseconds()
	for _, prefix := range []byte{prefixAsset, prefixUnused} {
		items, err := c.store.Scan([]byte{prefix}, nil, MaxScan)
		if err != nil {
			return nil, storeError(err)
		}
		for _, it := range items {
			var p pendingAsset
			if prefix == prefixUnused {
				p.Asset = it.Key[1:]
				err = decode(it.Value, &p.Since)
			} else {
				err = decode(it.Value, &p)
			}
			if err != nil {
				return nil, err
			}
			if p.Since < before {
				out = append(out, unusedAsset{note: it.Key, value: it.Value, asset: p.Asset})
			}
		}
	}
	return out, nil
}

// forgetAsset removes the note, unless it was renewed meanwhile.
func (c *Client) forgetAsset(u unusedAsset) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, found, err := c.getRaw(u.note)
	if err != nil || !found || !bytes.Equal(now, u.value) {
		return err
	}
	b := &batch{}
	b.delete(u.note)
	return c.commit(b)
}
