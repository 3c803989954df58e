package httpx

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/token"
)

// Handler answers one route. A value becomes a JSON body with status 200, nil becomes 204, an error becomes a problem
// document. A handler that wrote the answer itself returns Written.
type Handler func(w http.ResponseWriter, r *http.Request, actor token.Actor) (any, error)

// Written is returned by a handler that has written its answer itself.
var Written = &struct{}{}

// JSON adapts a rule that takes a request body.
func JSON[Req, Res any](rule func(ctx context.Context, actor token.Actor, req Req) (Res, error)) Handler {
	return func(_ http.ResponseWriter, r *http.Request, actor token.Actor) (any, error) {
		var req Req
		if err := Decode(r, &req); err != nil {
			return nil, err
		}
		return answer(rule(r.Context(), actor, req))
	}
}

// NoBody adapts a rule without a request body.
func NoBody[Res any](rule func(ctx context.Context, actor token.Actor) (Res, error)) Handler {
	return func(_ http.ResponseWriter, r *http.Request, actor token.Actor) (any, error) {
		return answer(rule(r.Context(), actor))
	}
}

func answer[Res any](res Res, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return res, nil
}

// Decode reads the whole body, which the route's bound already limits, and decodes it strictly.
func Decode(r *http.Request, dst any) error {
	b, err := ReadBody(r)
	if err != nil {
		return err
	}
	return Strict(b, dst)
}

// ReadBody returns the raw JSON body for rules that compare bytes.
func ReadBody(r *http.Request) ([]byte, error) {
	if mt, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || mt != "application/json" {
		return nil, errs.Invalidf("Send the body with Content-Type: application/json.")
	}
	b, err := io.ReadAll(r.Body)
	if err == nil {
		return b, nil
	}
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, errs.New(errs.TooLarge, api.CodeTooLarge, "The request body is larger than this route allows.").
			WithDetails(map[string]int64{"limit": e.Limit})
	}
	return nil, errs.Invalidf("The request body ended early.").Because(err)
}

// PathID reads an id from the path. A malformed one is not found, exactly as an unknown one.
func PathID[T any](r *http.Request, name string, parse func(string) (T, error)) (T, error) {
	id, err := parse(r.PathValue(name))
	if err != nil {
		return id, errs.NotFoundf("There is no such thing here.").Because(err)
	}
	return id, nil
}

// WriteJSON writes v with the headers that every answer of an interface has.
func WriteJSON(w http.ResponseWriter, status int, contentType string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, contentType, b = http.StatusInternalServerError, problemType, []byte(`{"type":"about:blank","title":"Internal Server Error","status":500,"code":"internal"}`)
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(b) // the peer may be gone; nothing is left to do then
}
