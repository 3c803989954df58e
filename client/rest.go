package client

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"sotto/api"
)

// renewEarly is how long before its expiry a token is renewed.
const renewEarly = time.Minute

// call makes a request of the signed-in login. A token that is about to expire, or that the server no longer takes, is
// renewed once; a refused request has changed nothing, so repeating it is safe.
func (c *Client) call(ctx context.Context, method, path string, req, res any) error {
	token, err := c.token(ctx, "")
	if err != nil {
		return err
	}
	err = c.request(ctx, method, path, token, req, res)
	if CodeOf(err) != api.CodeUnauthenticated {
		return err
	}
	if token, err = c.token(ctx, token); err != nil {
		return err
	}
	return c.request(ctx, method, path, token, req, res)
}

// request makes one request and decodes the answer into res. Answers may have fields that a later server added.
func (c *Client) request(ctx context.Context, method, path, token string, req, res any) error {
	r := Request{Method: method, URL: c.server + path, Header: map[string]string{
		api.HeaderProtocol: strconv.Itoa(api.ProtocolHighest),
	}}
	if token != "" {
		r.Header["Authorization"] = "Bearer " + token
	}
	if err := r.carry(req); err != nil {
		return err
	}
	answer, err := c.network.Do(ctx, r)
	if err != nil {
		return networkError(method+" "+path, err)
	}
	switch {
	case answer.Status >= 200 && answer.Status < 300:
		if res == nil || answer.Status == statusNoContent {
			return nil
		}
		if whole, ok := res.(*octets); ok {
			*whole = answer.Body
			return nil
		}
		if err := json.Unmarshal(answer.Body, res); err != nil {
			return serverError("%s %s: %w", method, path, err)
		}
		return nil
	default:
		var p api.Problem
		if err := json.Unmarshal(answer.Body, &p); err != nil || p.Code == "" {
			// Not Sotto: a proxy in between, or another server.
			p = api.Problem{Code: CodeServer, Status: answer.Status, Title: statusText(answer.Status)}
			if answer.Status >= 500 {
				p.Code = api.CodeUnavailable
			}
		}
		return problemError(p)
	}
}

// octets is a body that is no JSON, of a request or an answer.
type octets []byte

// span asks for a part of what a GET answers with.
type span struct{ from, to int64 } // to is the byte after the last

// carry puts into a request what call was given for it.
func (r *Request) carry(req any) (err error) {
	switch v := req.(type) {
	case nil:
	case octets:
		r.Body, r.Header["Content-Type"] = v, "application/octet-stream"
	case span:
		r.Header["Range"] = "bytes=" + strconv.FormatInt(v.from, 10) + "-" + strconv.FormatInt(v.to-1, 10)
	default:
		if r.Body, err = json.Marshal(req); err != nil {
			return fail(CodeArgument, "The request cannot be written as JSON.").because(err)
		}
		r.Header["Content-Type"] = "application/json"
	}
	return nil
}

// token returns a token that is good for a while, and not the refused one.
func (c *Client) token(ctx context.Context, refused string) (string, error) {
	c.renewing.Lock()
	defer c.renewing.Unlock()
	l, err := c.currentLogin()
	if err != nil {
		return "", err
	}
	if l.Token != refused && l.Expires > c.now().Add(renewEarly).UnixMilli() {
		return l.Token, nil
	}
	var renewed api.Login
	err = c.request(ctx, "POST", "/api/user/login/renew", "", api.RenewRequest{LoginID: l.ID, Renewal: l.Renewal}, &renewed)
	if CodeOf(err) == api.CodeUnauthenticated {
		return "", fail(CodeLoginEnded, "This device was signed out. Log in again.").because(err)
	}
	if err != nil {
		return "", err
	}
	l.Token, l.Expires = renewed.Token, c.tokenEnd()
	c.mu.Lock()
	defer c.mu.Unlock()
	b := &batch{}
	b.put(keyLogin, l)
	return l.Token, c.commit(b)
}

// tokenEnd is when a token that has just arrived ends, by this device's clock: the server's own time would make every
// token of a device whose clock is ahead look expired, and each renewal ends the one before with its socket.
func (c *Client) tokenEnd() int64 { return c.millis() + api.TokenLifetimeSeconds*1000 }

func (c *Client) currentLogin() (login, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d, err := c.device()
	if err != nil {
		return login{}, err
	}
	if err := d.usable(); err != nil {
		return login{}, err
	}
	l, found, err := get[login](c, keyLogin)
	if err == nil && !found {
		err = fail(CodeLoginEnded, "This device was signed out. Log in again.")
	}
	return l, err
}

const statusNoContent = 204

func statusText(status int) string { return "HTTP status " + strconv.Itoa(status) }
