package user

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"time"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/event"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

const (
	resetMailLabel = "sotto reset code v1"
	resetMailFresh = time.Hour // a code that works for less than this is replaced when a mail is asked for
)

// mailedCode is the code that a mail brings. Like the code that confirms an address it is computed again when it is
// needed: no table, event or log holds it, only the table of codes its hash.
func (s *Service) mailedCode(account api.AccountID, expires int64) string {
	h := hmac.New(sha256.New, s.AttemptKey)
	h.Write([]byte(resetMailLabel))
	h.Write(account[:])
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(expires)))
	return resetCodePrefix + base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:resetCodeSize])
}

// isMailed tells whether a code of an account was made for a mail, and not by the operator.
func (s *Service) isMailed(account api.AccountID, p pendingReset) bool {
	return subtle.ConstantTimeCompare(hashCode(s.mailedCode(account, p.expires)), p.hash) == 1
}

// MailReset sends a one-time code to the verified address of the account with that username or address. Whether there is
// such an account, whether it has an address, and whether the operator has made a code already (which stays the one that
// works), only the mailbox tells: the answer and the work before it are the same, an event that is about nobody included.
func (s *Service) MailReset(ctx context.Context, _ token.Actor, req api.MailResetRequest) (none struct{}, err error) {
	parse := parseUsername
	if strings.Contains(req.Name, "@") {
		parse = parseAddress
	}
	name, err := parse(req.Name)
	if err != nil {
		return none, err
	}
	key := sha256.Sum256([]byte(name))
	if err := s.allow(ctx, limitResetName, string(key[:])); err != nil {
		return none, err
	}
	account, err := readAccountWithEmail(ctx, s.DB, name)
	nobody := errors.Is(err, sqldb.ErrNoRows)
	if nobody {
		_, err = io.ReadFull(s.Rand, account[:])
	}
	if err != nil {
		return none, errs.Wrap("looking the account up", err)
	}
	err = s.accountTx(ctx, account, "mail reset", func(tx *sqldb.Tx) error {
		if err := s.prepareMailedCode(ctx, tx, account, nobody); err != nil {
			return err
		}
		return s.addEvent(ctx, tx, event.ResetAsked, account, struct{}{})
	})
	s.WakeRelay()
	return none, errs.Wrap("preparing the reset", err)
}

func (s *Service) prepareMailedCode(ctx context.Context, tx *sqldb.Tx, account api.AccountID, nobody bool) error {
	pending, err := readPendingReset(ctx, tx, account, s.nowMillis())
	switch {
	case err != nil && !errors.Is(err, sqldb.ErrNoRows):
		return err
	case nobody, err == nil && (!s.isMailed(account, pending) || pending.expires > s.Now().Add(resetMailFresh).UnixMilli()):
		return nil
	}
	expires := s.Now().Add(resetLifetime).UnixMilli()
	return replaceResetCode(ctx, tx, account, s.mailedCode(account, expires), expires)
}

// addMailedReset tells the notification service the code that is to be mailed, if there is one.
func (s *Service) addMailedReset(ctx context.Context, account api.AccountID, r *api.Recipient) error {
	pending, err := readPendingReset(ctx, s.DB, account, s.nowMillis())
	if errors.Is(err, sqldb.ErrNoRows) {
		return nil
	}
	if err == nil && r.Address != "" && s.isMailed(account, pending) {
		r.Reset, r.ResetUntil = s.mailedCode(account, pending.expires), pending.expires
	}
	return errs.Wrap("reading the reset code", err)
}

// pendingReset is a code that can be used.
type pendingReset struct {
	hash    []byte
	expires int64
}

const sqlReadPendingReset = `
SELECT hash, expires_at FROM reset_code WHERE account_id = $1 AND used_at IS NULL AND expires_at > $2`

func readPendingReset(ctx context.Context, q sqldb.Querier, account api.AccountID, now int64) (p pendingReset, err error) {
	err = q.QueryRow(ctx, sqlReadPendingReset, account[:], now).Scan(&p.hash, &p.expires)
	return p, err
}

const sqlReadAccountWithEmail = `
SELECT u.account_id FROM login_name u JOIN login_name e ON e.account_id = u.account_id AND e.kind = 'email'
WHERE u.kind = 'username' AND u.name = $1`

// readAccountWithEmail finds an account by its username or its address: only the latter has an @ in it.
func readAccountWithEmail(ctx context.Context, q sqldb.Querier, name string) (id api.AccountID, err error) {
	if strings.Contains(name, "@") {
		return readEmailOwner(ctx, q, name)
	}
	err = q.QueryRow(ctx, sqlReadAccountWithEmail, name).Scan(sqldb.Blob(id[:]))
	return id, err
}
