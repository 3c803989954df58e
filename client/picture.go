package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"

	"sotto/api"
	"sotto/e2ee"
)

// Bounds of a profile's picture. The sides are bounded, because few bytes can unfold to a picture that fills the memory.
const (
	MaxPicture     = 64<<10 - 16 // bytes: with its tag the largest size that is read here
	MaxPictureSide = 512         // pixels

	maxSealedPicture = 64 << 10 // bytes
)

// picture points to the sealed picture of a profile.
type picture struct {
	Hash      []byte `json:"hash"` // SHA-256 of the ciphertext
	Key       []byte `json:"key"`
	Size      uint64 `json:"size"`       // of the ciphertext
	PlainSize uint64 `json:"plain_size"` // bytes
}

// pictureOf keeps of a pointer what is used; nil for one of a cipher that this version does not know.
func pictureOf(a *e2ee.Attachment) *picture {
	if a == nil || a.Cipher != e2ee.CipherGCM {
		return nil
	}
	return &picture{Hash: bytes.Clone(a.Hash[:]), Key: bytes.Clone(a.Key[:]), Size: a.Size, PlainSize: a.PlainSize}
}

func (p *picture) name() string {
	if p == nil {
		return ""
	}
	return hex.EncodeToString(p.Hash)
}

// attachment is the pointer; an error without a picture.
func (p *picture) attachment() (a e2ee.Attachment, err error) {
	if p == nil || len(p.Hash) != len(a.Hash) || len(p.Key) != len(a.Key) {
		return a, fail(api.CodeNotFound, "This account shows no picture.")
	}
	a = e2ee.Attachment{
		AssetID: []byte(p.name()), Cipher: e2ee.CipherGCM, Hash: [32]byte(p.Hash), Key: [32]byte(p.Key),
		Size: p.Size, PlainSize: p.PlainSize,
	}
	return a, nil
}

// checkPicture takes JPEG and PNG, which no program runs as anything else, and nothing that unfolds to too much.
func checkPicture(b []byte) error {
	var width, height int
	switch {
	case len(b) > MaxPicture:
	case bytes.HasPrefix(b, []byte("\xFF\xD8")):
		width, height = jpegSize(b)
	case len(b) >= 24 && bytes.HasPrefix(b, []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR")):
		width, height = int(binary.BigEndian.Uint32(b[16:])), int(binary.BigEndian.Uint32(b[20:]))
	}
	if width < 1 || height < 1 || width > MaxPictureSide || height > MaxPictureSide {
		return fail(CodeArgument, "A picture is a JPEG or PNG of at most %d bytes and %d × %d pixels.", MaxPicture, MaxPictureSide, MaxPictureSide)
	}
	return nil
}

// jpegSize reads the frame header; zeros when there is none.
func jpegSize(b []byte) (width, height int) {
	for at := 2; at+9 <= len(b) && b[at] == 0xFF; at += 2 + int(binary.BigEndian.Uint16(b[at+2:])) {
		// C0 to CF are frames, but for those that hold tables.
		if m := b[at+1]; m >= 0xC0 && m <= 0xCF && m != 0xC4 && m != 0xC8 && m != 0xCC {
			return int(binary.BigEndian.Uint16(b[at+7:])), int(binary.BigEndian.Uint16(b[at+5:]))
		}
	}
	return 0, 0
}

// SetPicture gives the own profile another picture, a JPEG or PNG within the bounds above; nil takes it away. It is sent
// as it is: whoever calls this leaves out what else the file tells, such as where it was taken. It needs the server, and
// after an error it may be repeated and goes on where it stopped. The former picture is deleted at the server a day later:
// somebody may be about to read it, and whoever comes after that has the new one before the old pointer is of use.
//
// Errors: CodeArgument, CodeNetwork, api.CodeQuota.
func (c *Client) SetPicture(ctx context.Context, image []byte) error {
	var fresh *picture
	if len(image) > 0 {
		if err := checkPicture(image); err != nil {
			return err
		}
		a, err := c.upload(ctx, image)
		if err != nil {
			return err
		}
		fresh = pictureOf(&a)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	b := &batch{}
	if fresh != nil {
		b.drop(keyAsset(sha256.Sum256(image))) // in use from this Apply on
	}
	return c.changeProfile(b, func(own *storedProfile) {
		c.dropPicture(b, own.Picture, fresh)
		own.Picture = fresh
	})
}

// dropPicture notes that a picture of the own profile gave way to another one. The caller holds c.mu.
func (c *Client) dropPicture(b *batch, old, next *picture) {
	if old != nil && old.name() != next.name() {
		b.set(keyUnused(old.Hash), c.millis())
	}
}

// replacedProfile notes the picture that another device of the account has replaced: that device may be gone before it
// deletes it. The caller holds c.mu.
func (c *Client) replacedProfile(b *batch, old, next fact) error {
	var was, is storedProfile
	if len(old.Value) == 0 {
		return nil
	}
	if err := errors.Join(decode(old.Value, &was), decode(next.Value, &is)); err != nil {
		return err
	}
	c.dropPicture(b, was.Picture, is.Picture)
	return nil
}

// Picture returns the picture that an account shows, the own one or a peer's, a JPEG or PNG within the bounds above. It is
// kept in the store, and read from the server when it is not there yet. A stranger's is not read before their message
// request is accepted, and a blocked account's neither: it would tell the server that the request was looked at, and put on
// the screen what nobody asked for.
//
// Errors: api.CodeNotFound when there is none, none any more, or none that may be read; CodeAsset, CodeNetwork.
func (c *Client) Picture(ctx context.Context, account api.AccountID) ([]byte, error) {
	a, image, err := c.keptPicture(account)
	if err != nil || image != nil {
		return image, err
	}
	if image, err = c.download(ctx, a, maxSealedPicture); err != nil {
		return nil, err
	}
	if err := checkPicture(image); err != nil {
		return nil, fail(CodeAsset, "What this account shows is no picture. It is not used.").because(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	b := &batch{}
	b.putRaw(keyPicture(account), slices.Concat(a.Hash[:], image))
	return image, c.commit(b)
}

// keptPicture returns the pointer of a picture that may be read, and the picture if the store has it.
func (c *Client) keptPicture(account api.AccountID) (a e2ee.Attachment, image []byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, _, err := c.profileOf(account)
	if err != nil {
		return a, nil, err
	}
	me, err := c.device()
	if err != nil {
		return a, nil, err
	}
	if account != me.Account {
		v, _, err := get[conversation](c, keyConversation(e2ee.DirectConversation(me.Account, account)))
		if err != nil {
			return a, nil, err
		}
		p = v.shows(p)
	}
	if a, err = p.Picture.attachment(); err != nil {
		return a, nil, err
	}
	kept, _, err := c.getRaw(keyPicture(account))
	if image, found := bytes.CutPrefix(kept, a.Hash[:]); found && err == nil {
		return a, image, nil
	}
	return a, nil, err
}
