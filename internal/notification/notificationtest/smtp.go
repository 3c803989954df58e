// Package notificationtest has the other ends that notifications go to: a mail server and a push service, for tests.
package notificationtest

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/mail"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// MailServer is a real SMTP server that keeps what it takes.
type MailServer struct {
	Host string
	Port int

	mu     sync.Mutex
	mails  []Delivered
	refuse func(to string, try int) error
	tries  map[string]int
	hang   chan struct{} // while not nil, DATA is never answered
}

// Delivered is a mail as it arrived.
type Delivered struct {
	From, To string
	TLS      bool
	User     string // who signed in
	Raw      []byte
	*mail.Message
}

// MailOptions say how the server behaves.
type MailOptions struct {
	TLS      *tls.Config // STARTTLS is offered; with Implicit it is the first thing
	Implicit bool
	Password string // required of "sottod" when not empty
}

// NewMailServer starts a server that stops with the test.
func NewMailServer(t testing.TB, o MailOptions) *MailServer {
	t.Helper()
	m := &MailServer{tries: map[string]int{}}
	server := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		_, secure := c.TLSConnectionState()
		return &session{server: m, tls: secure, password: o.Password}, nil
	}))
	server.Domain, server.TLSConfig, server.ErrorLog = "localhost", o.TLS, quiet{}
	server.ReadTimeout, server.WriteTimeout, server.AllowInsecureAuth = time.Minute, time.Minute, false
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.Host, m.Port = "127.0.0.1", listener.Addr().(*net.TCPAddr).Port
	if o.Implicit {
		listener = tls.NewListener(listener, o.TLS)
	}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() {
		m.Hang(false)
		_ = server.Close()
	})
	return m
}

// Refuse decides about each recipient; try counts its mails from 1 on. Nil takes everything.
func (m *MailServer) Refuse(decide func(to string, try int) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refuse = decide
}

// Hang makes the server leave DATA without an answer until it is called with false.
func (m *MailServer) Hang(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case on && m.hang == nil:
		m.hang = make(chan struct{})
	case !on && m.hang != nil:
		close(m.hang)
		m.hang = nil
	}
}

// Mails are those that were taken so far.
func (m *MailServer) Mails() []Delivered {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]Delivered(nil), m.mails...)
}

// Answers that mail servers give.
var (
	Greylisted = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 7, 1}, Message: "Greylisted, try again later"}
	NoMailbox  = &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "No such mailbox"}
)

type quiet struct{}

func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}

// session is one SMTP connection.
type session struct {
	server         *MailServer
	tls            bool
	password, user string
	from, to       string
}

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != "sottod" || password != s.password {
			return errors.New("wrong password")
		}
		s.user = user
		return nil
	}), nil
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	if s.password != "" && s.user == "" {
		return smtp.ErrAuthRequired
	}
	s.from = from
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	m := s.server
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tries[to]++
	if m.refuse != nil {
		if err := m.refuse(to, m.tries[to]); err != nil {
			return err
		}
	}
	s.to = to
	return nil
}

func (s *session) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	m := s.server
	m.mu.Lock()
	hang := m.hang
	m.mu.Unlock()
	if hang != nil {
		<-hang
		return errors.New("too late")
	}
	parsed, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mails = append(m.mails, Delivered{From: s.from, To: s.to, TLS: s.tls, User: s.user, Raw: raw, Message: parsed})
	return nil
}

func (s *session) Reset()        { s.from, s.to = "", "" }
func (s *session) Logout() error { return nil }
