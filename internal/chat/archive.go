package chat

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/httpx"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

// recordOverhead is counted for each record of a page beside its ciphertext.
const recordOverhead = 600 // bytes

var (
	errNoArchive = errs.New(errs.Forbidden, api.CodeForbidden, "This account keeps no archive.")
	errRevision  = errs.Conflictf("The archive record was replaced or erased meanwhile.")
)

// recordPlace is where a record stands among those of an account: the number of its message and its own.
type recordPlace struct{ message, id int64 }

func (p recordPlace) cursor() string { return fmt.Sprintf("%d-%d", p.message, p.id) }

// parseRecordPlace reads a cursor. The empty one is behind the newest record.
func parseRecordPlace(cursor string) (p recordPlace, err error) {
	if cursor == "" {
		return recordPlace{math.MaxInt64, math.MaxInt64}, nil
	}
	if _, err := fmt.Sscanf(cursor, "%d-%d", &p.message, &p.id); err != nil || p.cursor() != cursor {
		return p, errs.Invalidf("This cursor is not from here.")
	}
	return p, nil
}

// Archive returns a page of the account's records, newest first. The page ends early rather than exceed
// api.MaxArchivePageSize bytes, but holds at least one record when there is one. What is stored while somebody pages
// stands before the first page.
func (s *Service) Archive(ctx context.Context, actor token.Actor, req api.ArchiveRequest) (api.ArchivePage, error) {
	if req.Limit < 1 || req.Limit > api.MaxArchivePage {
		return api.ArchivePage{}, errs.Invalidf("A page has 1 to %d records.", api.MaxArchivePage)
	}
	before, err := parseRecordPlace(req.Before)
	if err != nil {
		return api.ArchivePage{}, err
	}
	if err := s.allow(ctx, limitRead, actor); err != nil {
		return api.ArchivePage{}, err
	}
	if _, err := s.actorDevice(ctx, actor); err != nil {
		return api.ArchivePage{}, err
	}
	page, err := readArchive(ctx, s.DB, actor.Account, before, req)
	if err == nil && req.Before == "" {
		page.Count, err = countRecords(ctx, s.DB, actor.Account, req.ConversationID)
	}
	return page, err
}

// PutRecord replaces a record by compare-and-swap on its revision. With revision 0 it stores one where there is none,
// also of a message that a restored server has forgotten. Repeating it is safe.
func (s *Service) PutRecord(ctx context.Context, actor token.Actor, r api.Record, revision uint64) (api.RecordRevision, error) {
	if err := validateRecord(r); err != nil {
		return api.RecordRevision{}, err
	}
	if _, err := s.actorDevice(ctx, actor); err != nil {
		return api.RecordRevision{}, err
	}
	var now api.RecordRevision
	err := s.accountsTx(ctx, []api.AccountID{actor.Account}, "archive record", func(tx *sqldb.Tx) (err error) {
		if err := checkOwner(ctx, tx, actor.Account, r); err != nil {
			return err
		}
		now.Revision, err = s.swapRecord(ctx, tx, actor.Account, r, revision)
		return err
	})
	return now, errs.Wrap("replacing an archive record", err)
}

// checkOwner finds out whether the account may store the record, and raises its archive epoch to the record's.
func checkOwner(ctx context.Context, tx *sqldb.Tx, id api.AccountID, r api.Record) error {
	var members []api.AccountID
	if err := readMembers(ctx, tx, []api.ConversationID{r.ConversationID}, func(_ api.ConversationID, m member) {
		members = append(members, m.account)
	}); err != nil {
		return err
	}
	if !slices.Contains(members, id) {
		return errNoConversation
	}
	accounts, err := readAccounts(ctx, tx, []api.AccountID{id})
	if err != nil {
		return err
	}
	a := accounts[id]
	if !a.keepsArchive {
		return errNoArchive
	}
	if err := a.checkKeyEpoch(r.KeyEpoch); err != nil {
		return err
	}
	return raiseArchiveEpoch(ctx, tx, id, r.KeyEpoch)
}

// swapRecord returns the revision that the record has afterwards.
func (s *Service) swapRecord(ctx context.Context, tx *sqldb.Tx, id api.AccountID, r api.Record, revision uint64) (uint64, error) {
	current, err := readRecord(ctx, tx, id, messageKey{r.ConversationID, r.MessageID})
	switch {
	case err != nil:
		return 0, err
	case current == nil && revision == 0:
		return 1, s.giveBackRecord(ctx, tx, id, r)
	case current == nil:
		return 0, errRevision
	case current.Revision == revision:
		return revision + 1, updateRecord(ctx, tx, id, r)
	case current.Revision == revision+1 && current.Record.KeyEpoch == r.KeyEpoch && bytes.Equal(current.Record.Sealed, r.Sealed):
		return current.Revision, nil // the answer to the first try was lost
	}
	return 0, errRevision.WithDetails(current)
}

// giveBackRecord stores a record that is not there.
func (s *Service) giveBackRecord(ctx context.Context, tx *sqldb.Tx, id api.AccountID, r api.Record) error {
	known, err := readMessages(ctx, tx, []api.MessageID{r.MessageID})
	if err != nil {
		return err
	}
	message := int64(0)
	if m := known[messageKey{r.ConversationID, r.MessageID}]; m != nil {
		if m.sent.Seq == 0 {
			return errs.Invalidf("Only messages with a position have an archive record.")
		}
		message = m.id
		if err := deleteOwed(ctx, tx, m.id, id); err != nil {
			return err
		}
	}
	return insertRecords(ctx, tx, recordRow(id, message, r, s.nowMillis()))
}

// EraseRecord erases a record of the account. For all, it takes the ciphertexts of the message from every mailbox, too:
// only its sender's account can do that. What is not there any more, or never was, is erased already.
func (s *Service) EraseRecord(ctx context.Context, actor token.Actor, key messageKey, forAll bool) error {
	if _, err := s.actorDevice(ctx, actor); err != nil {
		return err
	}
	return errs.Wrap("erasing an archive record", s.tx(ctx, "erase", func(tx *sqldb.Tx) error {
		if err := lockMembers(ctx, tx, []api.ConversationID{key.conversation}); err != nil {
			return err
		}
		if err := deleteRecord(ctx, tx, actor.Account, key); err != nil || !forAll {
			return err
		}
		ids, err := readNumbers(ctx, tx, sqlReadErasable, key.message[:], key.conversation[:], actor.Account[:])
		if err != nil || len(ids) == 0 {
			return err
		}
		return eraseAll(ctx, tx, ids, api.ReasonDeleted)
	}))
}

func (s *Service) handleEraseRecord(_ http.ResponseWriter, r *http.Request, actor token.Actor) (any, error) {
	conversation, err := httpx.PathID(r, "id", api.ParseConversationID)
	if err != nil {
		return nil, err
	}
	message, err := httpx.PathID(r, "message", api.ParseMessageID)
	if err != nil {
		return nil, err
	}
	return nil, s.EraseRecord(r.Context(), actor, messageKey{conversation, message}, r.URL.Query().Get("for_all") == "true")
}

func (s *Service) handleArchive(_ http.ResponseWriter, r *http.Request, actor token.Actor) (any, error) {
	q := r.URL.Query()
	limit, err := queryNumber(q, "limit", api.MaxArchivePage)
	if err != nil {
		return nil, err
	}
	req := api.ArchiveRequest{Before: q.Get("before"), Limit: int(min(limit, api.MaxArchivePage+1))}
	if q.Has("conversation") {
		id, err := api.ParseConversationID(q.Get("conversation"))
		if err != nil {
			return nil, errs.Invalidf("This is not the id of a conversation.").Because(err)
		}
		req.ConversationID = &id
	}
	return answer(s.Archive(r.Context(), actor, req))
}

func (s *Service) handlePutRecord(_ http.ResponseWriter, r *http.Request, actor token.Actor) (any, error) {
	conversation, err := httpx.PathID(r, "id", api.ParseConversationID)
	if err != nil {
		return nil, err
	}
	message, err := httpx.PathID(r, "message", api.ParseMessageID)
	if err != nil {
		return nil, err
	}
	var req api.RecordUpdate
	if err := httpx.Decode(r, &req); err != nil {
		return nil, err
	}
	return answer(s.PutRecord(r.Context(), actor, api.Record{
		ConversationID: conversation, MessageID: message, KeyEpoch: req.KeyEpoch, Sealed: req.Sealed, EraseAfter: req.EraseAfter,
	}, req.Revision))
}
