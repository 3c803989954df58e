package user

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/mail"
	"slices"
	"strings"
	"time"

	"sotto/api"
	"sotto/e2ee"
	"sotto/internal/errs"
	"sotto/internal/event"
	"sotto/internal/httpx"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

const (
	emailCodeFor   = time.Hour // until a code expires
	emailCodeTries = 5         // wrong codes, after which a new one is needed
	emailCodeLabel = "sotto email code v1"
	maxLocalPart   = 64 // bytes before the @, RFC 5321
)

// parseAddress returns the folded address. It takes only what every mail server takes: ASCII, one @, a domain with a dot,
// neither quotes nor comments.
func parseAddress(text string) (string, error) {
	refused := errs.Invalidf("An e-mail address looks like name@example.org and has at most %d bytes.", maxLoginName)
	if len(text) > maxLoginName || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return "", refused
	}
	parsed, err := mail.ParseAddress(text)
	if err != nil || parsed.Address != text || parsed.Name != "" || strings.ContainsAny(text, "\"<>(),:;\\[]") {
		return "", refused
	}
	at := strings.LastIndexByte(text, '@')
	if domain := text[at+1:]; at < 1 || at > maxLocalPart || !strings.Contains(strings.Trim(domain, "."), ".") || strings.HasSuffix(domain, ".") {
		return "", refused
	}
	return foldName(text), nil
}

// emailCode is what the mail brings. It is computed again when it is needed, so that no table holds it.
func (s *Service) emailCode(account api.AccountID, r emailRequest) string {
	h := hmac.New(sha256.New, s.AttemptKey)
	h.Write([]byte(emailCodeLabel))
	h.Write(account[:])
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(r.expires)))
	h.Write([]byte(r.address))
	return fmt.Sprintf("%0*d", api.EmailCodeLength, binary.BigEndian.Uint64(h.Sum(nil))%100_000_000)
}

// StartEmail sends a code to an address. Whether the address belongs to another account, only the mail says.
func (s *Service) StartEmail(ctx context.Context, actor token.Actor, req api.EmailStartRequest) error {
	address, err := parseAddress(req.Address)
	if err != nil {
		return err
	}
	known, err := readVerifier(ctx, s.DB, actor.Account)
	if err != nil {
		return errs.Wrap("reading the verifier", err)
	}
	if err := s.proveAgain(ctx, actor, known, req.Proof); err != nil {
		return err
	}
	r := emailRequest{address: address, expires: s.Now().Add(emailCodeFor).UnixMilli()}
	err = s.accountTx(ctx, actor.Account, "start email", func(tx *sqldb.Tx) error {
		if err := writeEmailRequest(ctx, tx, actor.Account, r); err != nil {
			return err
		}
		return s.addEvent(ctx, tx, event.AddressGiven, actor.Account, struct{}{})
	})
	s.WakeRelay()
	return errs.Wrap("storing the address", err)
}

var errWrongCode = errs.New(errs.Forbidden, api.CodeWrongLogin, "The code is wrong or has expired. Ask for a new one.")

// PutEmail makes the address, to which the code was sent, one to sign in with.
func (s *Service) PutEmail(ctx context.Context, actor token.Actor, req api.EmailRequest) error {
	noDigit := func(r rune) bool { return r < '0' || r > '9' }
	if len(req.Code) != api.EmailCodeLength || strings.ContainsFunc(req.Code, noDigit) {
		return errs.Invalidf("The code has %d digits.", api.EmailCodeLength)
	}
	password := newPassword{req.Method, req.Salt, req.Iterations, req.Auth}
	if err := password.check(); err != nil {
		return err
	}
	known, err := readVerifier(ctx, s.DB, actor.Account)
	if err != nil {
		return errs.Wrap("reading the verifier", err)
	}
	if err := checkEmailSlot(req.Bundle, actor.Account, &password); err != nil {
		return err
	}
	if err := s.proveAgain(ctx, actor, known, req.Proof); err != nil {
		return err
	}
	verifier, err := s.hashing.Make(ctx, req.Auth)
	if err != nil {
		return err
	}
	wrong := false
	err = s.accountTx(ctx, actor.Account, "email", func(tx *sqldb.Tx) error {
		r, err := readEmailRequest(ctx, tx, actor.Account)
		if errors.Is(err, sqldb.ErrNoRows) {
			return errWrongCode
		}
		if err != nil {
			return err
		}
		right := subtle.ConstantTimeCompare([]byte(s.emailCode(actor.Account, r)), []byte(req.Code)) == 1
		if wrong = !right || r.expires <= s.nowMillis() || r.tries >= emailCodeTries; wrong {
			return countEmailTry(ctx, tx, actor.Account, emailCodeTries)
		}
		return s.storeEmail(ctx, tx, actor.Account, r.address, password, verifier, req.Bundle)
	})
	if err == nil && wrong {
		err = errWrongCode
	}
	if sqldb.IsUnique(err) {
		return errs.New(errs.Conflict, api.CodeExists, "Another account uses this address.")
	}
	s.WakeRelay()
	return errs.Wrap("storing the address", err)
}

func (s *Service) storeEmail(
	ctx context.Context, tx *sqldb.Tx, account api.AccountID, address string, p newPassword, verifier []byte, b api.Bundle,
) error {
	if err := swapBundle(ctx, tx, account, b, s.nowMillis()); err != nil {
		return err
	}
	if err := deleteEmail(ctx, tx, account); err != nil {
		return err
	}
	if err := insertEmail(ctx, tx, account, address, p, verifier, s.nowMillis()); err != nil {
		return err
	}
	return s.addNotice(ctx, tx, account, api.NotifyEmailChanged)
}

// RemoveEmail takes the address away, and with it mail and the way to sign in.
func (s *Service) RemoveEmail(ctx context.Context, actor token.Actor, req api.EmailRemoval) error {
	known, err := readVerifier(ctx, s.DB, actor.Account)
	if err != nil {
		return errs.Wrap("reading the verifier", err)
	}
	if err := checkEmailSlot(req.Bundle, actor.Account, nil); err != nil {
		return err
	}
	if err := s.proveAgain(ctx, actor, known, req.Proof); err != nil {
		return err
	}
	err = s.accountTx(ctx, actor.Account, "remove email", func(tx *sqldb.Tx) error {
		if err := swapBundle(ctx, tx, actor.Account, req.Bundle, s.nowMillis()); err != nil {
			return err
		}
		return deleteEmail(ctx, tx, actor.Account)
	})
	return errs.Wrap("removing the address", err)
}

// checkEmailSlot wants exactly the slot that belongs to the e-mail login, or none.
func checkEmailSlot(b api.Bundle, account api.AccountID, p *newPassword) error {
	slots, err := checkBundle(b, account)
	if err != nil {
		return err
	}
	found := slices.IndexFunc(slots, func(s e2ee.SlotInfo) bool { return s.Type == e2ee.SlotEmail })
	switch {
	case p == nil && found < 0:
		return nil
	case p != nil && found >= 0 && string(slots[found].Parameters) == string(p.parameters()):
		return nil
	}
	return errs.Invalidf("The key bundle has a slot for the e-mail login exactly when there is one, under its parameters.")
}

// checkEmailPassword is for a change of password: it covers the e-mail login exactly when there is one.
func (s *Service) checkEmailPassword(ctx context.Context, account api.AccountID, c *passwordChange) error {
	has, err := hasEmail(ctx, s.DB, account)
	if err != nil {
		return errs.Wrap("reading the address", err)
	}
	if !has || c.Email == nil {
		if has != (c.Email != nil) {
			return errs.Invalidf("A change of password covers the e-mail login exactly when there is one.")
		}
		return checkEmailSlot(c.Bundle, account, nil)
	}
	password := newPassword{c.Method, c.Email.Salt, c.Email.Iterations, c.Email.Auth}
	if err := password.check(); err != nil {
		return err
	}
	if err := checkEmailSlot(c.Bundle, account, &password); err != nil {
		return err
	}
	c.emailVerifier, err = s.hashing.Make(ctx, c.Email.Auth)
	return err
}

// Recipient tells the notification service where mail for an account goes, and what mails with codes say.
func (s *Service) Recipient(ctx context.Context, id api.AccountID) (r api.Recipient, err error) {
	r, err = readRecipient(ctx, s.DB, id)
	if errors.Is(err, sqldb.ErrNoRows) {
		return r, nil
	}
	if err != nil {
		return r, errs.Wrap("reading the recipient", err)
	}
	if err := s.addMailedReset(ctx, id, &r); err != nil {
		return r, err
	}
	pending, err := readEmailRequest(ctx, s.DB, id)
	if errors.Is(err, sqldb.ErrNoRows) || pending.expires <= s.nowMillis() {
		return r, nil
	}
	if err != nil {
		return r, errs.Wrap("reading the address", err)
	}
	r.Pending, r.Code = pending.address, s.emailCode(id, pending)
	owner, err := readEmailOwner(ctx, s.DB, pending.address)
	if err == nil && owner != id {
		r.Code, r.Taken = "", true
	}
	if errors.Is(err, sqldb.ErrNoRows) {
		err = nil
	}
	return r, errs.Wrap("reading the address", err)
}

// FindRecipient finds an account by its username, for a program that has only the database.
func FindRecipient(ctx context.Context, db *sqldb.DB, username string) (id api.AccountID, r api.Recipient, err error) {
	id, err = readAccountByUsername(ctx, db, foldName(username))
	if errors.Is(err, sqldb.ErrNoRows) {
		return id, r, fmt.Errorf("nobody here is called %s", username)
	}
	if err != nil {
		return id, r, errs.Wrap("looking the name up", err)
	}
	r, err = readRecipient(ctx, db, id)
	return id, r, errs.Wrap("reading the recipient", err)
}

func (s *Service) handleStartEmail(_ http.ResponseWriter, r *http.Request, actor token.Actor) (any, error) {
	var req api.EmailStartRequest
	if err := httpx.Decode(r, &req); err != nil {
		return nil, err
	}
	return nil, s.StartEmail(r.Context(), actor, req)
}

func (s *Service) handlePutEmail(_ http.ResponseWriter, r *http.Request, actor token.Actor) (any, error) {
	var req api.EmailRequest
	if err := httpx.Decode(r, &req); err != nil {
		return nil, err
	}
	return nil, s.PutEmail(r.Context(), actor, req)
}

func (s *Service) handleRemoveEmail(_ http.ResponseWriter, r *http.Request, actor token.Actor) (any, error) {
	var req api.EmailRemoval
	if err := httpx.Decode(r, &req); err != nil {
		return nil, err
	}
	return nil, s.RemoveEmail(r.Context(), actor, req)
}
