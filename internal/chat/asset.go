package chat

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"time"

	"sotto/api"
	"sotto/internal/asset"
	"sotto/internal/errs"
	"sotto/internal/httpx"
	"sotto/internal/token"
)

// The assets of accounts are sealed: what is in them, and what sort of thing it is, only clients know.

func (s *Service) handleBeginAsset(_ http.ResponseWriter, r *http.Request, actor token.Actor) (any, error) {
	var req api.BeginAsset
	if err := httpx.Decode(r, &req); err != nil {
		return nil, err
	}
	return answer(s.Assets.Begin(r.Context(), actor.Account, req))
}

func (s *Service) handleAssets(_ http.ResponseWriter, r *http.Request, actor token.Actor) (any, error) {
	query := r.URL.Query()
	limit, err := queryNumber(query, "limit", api.MaxAssetPage)
	if err != nil {
		return nil, err
	}
	return answer(s.Assets.List(r.Context(), actor.Account, query.Get("after"), int(min(limit, api.MaxAssetPage+1))))
}

func (s *Service) handleUpload(_ http.ResponseWriter, r *http.Request, actor token.Actor) (any, error) {
	id, err := httpx.PathID(r, "id", api.ParseUploadID)
	if err != nil {
		return nil, err
	}
	return answer(s.Assets.Upload(r.Context(), actor.Account, id))
}

// handleAppend reads the whole part first, so that a slow client holds neither row nor object.
func (s *Service) handleAppend(_ http.ResponseWriter, r *http.Request, actor token.Actor) (any, error) {
	id, err := httpx.PathID(r, "id", api.ParseUploadID)
	if err != nil {
		return nil, err
	}
	query := r.URL.Query()
	offset, err := queryNumber(query, "offset", 0)
	if err == nil && !query.Has("offset") {
		err = errs.Invalidf("Say with offset where the part begins.")
	}
	if err != nil {
		return nil, err
	}
	content, err := readPart(r)
	if err != nil {
		return nil, err
	}
	return answer(s.Assets.Append(r.Context(), actor.Account, id, offset, content))
}

func readPart(r *http.Request) ([]byte, error) {
	if mt, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || mt != "application/octet-stream" {
		return nil, errs.Invalidf("Send the part with Content-Type: application/octet-stream.")
	}
	content, err := io.ReadAll(r.Body)
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, errs.New(errs.TooLarge, api.CodeTooLarge, "The part is larger than one may be.").
			WithDetails(map[string]int64{"limit": tooLarge.Limit})
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, errs.New(errs.Unavailable, api.CodeUnavailable, "The part did not arrive in time. Repeat it, or send a smaller one.").
			WithRetryAfter(time.Second).Because(err)
	}
	if err != nil {
		return nil, errs.Invalidf("The part ended early.").Because(err)
	}
	return content, nil
}

func (s *Service) handleAsset(w http.ResponseWriter, r *http.Request, _ token.Actor) (any, error) {
	return httpx.Written, asset.ServeNamed(w, r, s.Assets.Sealed)
}

func (s *Service) handleDeleteAsset(_ http.ResponseWriter, r *http.Request, actor token.Actor) (any, error) {
	sum, err := asset.ParseName(r.PathValue("sha256"))
	if err != nil {
		return nil, err
	}
	return nil, s.Assets.Delete(r.Context(), actor.Account, sum)
}
