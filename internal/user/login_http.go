package user

import (
	"net/http"
	"time"

	"sotto/api"
	"sotto/internal/httpx"
	"sotto/internal/token"
)

// answerLogin gives browsers the token as a cookie, too.
func (s *Service) answerLogin(w http.ResponseWriter, login api.Login, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	httpx.SetTokenCookie(w, login.Token, time.UnixMilli(login.ExpiresAt), s.SecureCookie)
	return login, nil
}

func (s *Service) handleRegister(w http.ResponseWriter, r *http.Request, _ token.Actor) (any, error) {
	var req api.RegisterRequest
	body, err := readWithBody(r, &req)
	if err != nil {
		return nil, err
	}
	login, err := s.Register(r.Context(), req, body)
	return s.answerLogin(w, login, err)
}

func (s *Service) handleAddDevice(w http.ResponseWriter, r *http.Request, actor token.Actor) (any, error) {
	var req api.AddDeviceRequest
	body, err := readWithBody(r, &req)
	if err != nil {
		return nil, err
	}
	login, err := s.AddDevice(r.Context(), actor, req, body)
	return s.answerLogin(w, login, err)
}

// readWithBody decodes strictly and also returns the bytes, for rules that recognise a repeated request by them.
func readWithBody(r *http.Request, dst any) ([]byte, error) {
	body, err := httpx.ReadBody(r)
	if err != nil {
		return nil, err
	}
	return body, httpx.Strict(body, dst)
}

func (s *Service) handleLoginFinish(w http.ResponseWriter, r *http.Request, _ token.Actor) (any, error) {
	var req api.LoginFinishRequest
	if err := httpx.Decode(r, &req); err != nil {
		return nil, err
	}
	login, err := s.LoginFinish(r.Context(), req)
	return s.answerLogin(w, login, err)
}

func (s *Service) handleLoginRenew(w http.ResponseWriter, r *http.Request, _ token.Actor) (any, error) {
	var req api.RenewRequest
	if err := httpx.Decode(r, &req); err != nil {
		return nil, err
	}
	login, err := s.LoginRenew(r.Context(), req)
	return s.answerLogin(w, login, err)
}

func (s *Service) handleLogout(w http.ResponseWriter, r *http.Request, actor token.Actor) (any, error) {
	if err := s.Logout(r.Context(), actor); err != nil {
		return nil, err
	}
	httpx.SetTokenCookie(w, "", time.Time{}, s.SecureCookie)
	return nil, nil
}
