package notification

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/mail"
	"net/url"
	"time"
)

const mailAPITimeout = 30 * time.Second // for the whole exchange

// MailAPI hands mail to a provider that takes it over HTTP in the form of Brevo's v3/smtp/email.
type MailAPI struct {
	url, key string
	from     apiAddress
	client   *http.Client
}

type apiAddress struct {
	Name  string `json:"name,omitempty"`
	Email string `json:"email"`
}

// apiMail is the body of a request.
type apiMail struct {
	Sender  apiAddress        `json:"sender"`
	To      []apiAddress      `json:"to"`
	Subject string            `json:"subject"`
	HTML    string            `json:"htmlContent"`
	Text    string            `json:"textContent"`
	Headers map[string]string `json:"headers"`
}

// NewMailAPI takes the address of the interface, its key, and the sender: an address, or name and address.
func NewMailAPI(address, key, from string) (*MailAPI, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || key == "" {
		return nil, errors.New("the mail provider needs a URL and a key")
	}
	sender, err := mail.ParseAddress(from)
	if err != nil {
		return nil, fmt.Errorf("the sender of mail: %w", err)
	}
	return &MailAPI{
		url: address, key: key, from: apiAddress{Name: sender.Name, Email: sender.Address}, client: newAPIClient(mailAPITimeout),
	}, nil
}

// String, for every verb of fmt that would otherwise print the fields, keeps the key out of logs.
func (a *MailAPI) String() string { return "mail provider at " + a.url }

// GoString is String for %#v.
func (a *MailAPI) GoString() string { return a.String() }

// Send makes one request. What the provider refuses for good wraps ErrGiveUp. What it answers is not repeated: the text
// may hold the address.
func (a *MailAPI) Send(ctx context.Context, m Mail) error {
	body, err := json.Marshal(a.mail(m))
	if err != nil {
		return fmt.Errorf("%w: composing the mail: %w", ErrGiveUp, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w: composing the request: %w", ErrGiveUp, err)
	}
	req.Header.Set("Api-Key", a.key)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	res, err := a.client.Do(req)
	if err != nil {
		return fmt.Errorf("handing a mail to the mail provider: %w", err)
	}
	readAnswer(res)
	return judge("the mail provider", res)
}

// mail writes a mail as the provider takes it. A repeated try is told by two headers: mail programs know the Message-ID,
// and the provider itself drops what has the same idempotencyKey for a while.
func (a *MailAPI) mail(m Mail) apiMail {
	headers := map[string]string{
		"Message-Id": "<" + m.MessageID + ">", "idempotencyKey": idempotencyKey(m.MessageID), "Auto-Submitted": "auto-generated",
	}
	if m.Unsubscribe != "" {
		headers["List-Unsubscribe"] = "<" + m.Unsubscribe + ">"
		headers["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
	}
	return apiMail{
		Sender: a.from, To: []apiAddress{{Email: m.To}}, Subject: m.Subject, HTML: m.HTML, Text: m.Text, Headers: headers,
	}
}
