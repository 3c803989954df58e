package contract_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"

	"sotto/api"
	"sotto/test/contract/rest"
)

const assetsPath = "/api/chat/assets"

func announce(content []byte) (req api.BeginAsset, path string) {
	sum := sha256.Sum256(content)
	return api.BeginAsset{SHA256: sum[:], Size: int64(len(content))}, assetsPath + "/" + hex.EncodeToString(sum[:])
}

func appendTo(a api.Asset, d *rest.Device, offset int64, content []byte) rest.Request {
	return rest.Request{
		Method: http.MethodPatch, Path: fmt.Sprintf("%s/uploads/%s?offset=%d", assetsPath, a.UploadID, offset), Token: d.Login.Token,
		Body: content, Header: http.Header{"Content-Type": {"application/octet-stream"}},
	}
}

// assets are uploaded by alice and read by bob, who was told the name.
func (s *script) assets(alice, bob *rest.Device) {
	s.Helper()
	content := make([]byte, api.MaxAssetPart+1000)
	_, _ = rand.Read(content)
	req, path := announce(content)
	var a api.Asset
	for range 2 { // the answer to the first may be lost
		s.Call(s, http.MethodPost, assetsPath, alice.Login.Token, req, &a)
	}
	s.do("", appendTo(a, alice, 0, content[:api.MaxAssetPart]))
	s.do(api.CodeConflict, appendTo(a, alice, 5, content[:api.MaxAssetPart]))
	s.do(api.CodeTooLarge, appendTo(a, alice, api.MaxAssetPart, append(content, content...)))
	s.do(api.CodeNotFound, appendTo(a, bob, api.MaxAssetPart, content[api.MaxAssetPart:]))
	s.refused(api.CodeNotFound, http.MethodGet, path, bob.Login.Token, nil)
	s.Call(s, http.MethodGet, assetsPath+"/uploads/"+a.UploadID.String(), alice.Login.Token, nil, &a)
	s.do("", appendTo(a, alice, a.Received, content[a.Received:]))
	s.readAsset(bob, path, content)

	var page api.Assets
	s.Call(s, http.MethodGet, assetsPath, alice.Login.Token, nil, &page)
	if len(page.Assets) != 1 || !page.Assets[0].Stored() || page.Used != int64(len(content)) {
		s.Errorf("%+v", page)
	}
	s.refused(api.CodeUnauthenticated, http.MethodGet, path, "", nil)
	s.Call(s, http.MethodDelete, path, bob.Login.Token, nil, nil) // which is not his
	s.readAsset(bob, path, content)
	s.Call(s, http.MethodDelete, path, alice.Login.Token, nil, nil)
	s.refused(api.CodeNotFound, http.MethodGet, path, bob.Login.Token, nil)

	req, _ = announce([]byte("announced"))
	s.Call(s, http.MethodPost, assetsPath, alice.Login.Token, req, &a)
	s.do(api.CodeAssetHash, appendTo(a, alice, 0, []byte("delivered")))
	s.overQuota(alice)
}

func (s *script) readAsset(d *rest.Device, path string, content []byte) {
	s.Helper()
	get := rest.Request{Method: http.MethodGet, Path: path, Token: d.Login.Token}
	if got := s.Do(s, get); got.Status != http.StatusOK || !bytes.Equal(got.Body, content) {
		s.Errorf("%d, %d bytes", got.Status, len(got.Body))
	}
	get.Header = http.Header{"Range": {"bytes=1048570-1048580"}}
	if got := s.Do(s, get); got.Status != http.StatusPartialContent || !bytes.Equal(got.Body, content[1048570:1048581]) {
		s.Errorf("%d, %d bytes", got.Status, len(got.Body))
	}
	get.Header = http.Header{"Range": {"bytes=2000000-"}}
	s.do(api.CodeInvalid, get)
	get.Header = http.Header{"If-None-Match": {`"` + path[len(assetsPath)+1:] + `"`}}
	if got := s.Do(s, get); got.Status != http.StatusNotModified {
		s.Errorf("%d", got.Status)
	}
}

// overQuota begins more than the 16 MiB that the server of this test gives an account.
func (s *script) overQuota(d *rest.Device) {
	s.Helper()
	sum := sha256.Sum256([]byte("large"))
	s.Call(s, http.MethodPost, assetsPath, d.Login.Token, api.BeginAsset{SHA256: sum[:], Size: api.MaxAssetSize}, nil)
	sum[0]++
	s.refused(api.CodeQuota, http.MethodPost, assetsPath, d.Login.Token, api.BeginAsset{SHA256: sum[:], Size: 1})
	s.refused(api.CodeTooLarge, http.MethodPost, assetsPath, d.Login.Token, api.BeginAsset{SHA256: sum[:], Size: api.MaxAssetSize + 1})
}
