package chat

import (
	"context"
	"net/http"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/httpx"
	"sotto/internal/token"
)

const (
	maxRegistrationID = 1<<14 - 1
	maxRecordBytes    = 96 << 10 // a padded content of 64 KiB, its fields and the seal
	maxEphemeralBytes = 16 << 10 // of one envelope; it has to fit a hint
	hour              = 3_600_000
	maxKeyEpoch       = 1 << 31
	maxKeyEpochStep   = 100_000 // by which one record may raise the archive epoch: after a reset that is the bundle's version
)

// send is a checked request with who asks.
type send struct {
	actor      token.Actor
	generation uint64
	req        api.Send
}

// pendingSend is a send on its way.
type pendingSend struct {
	send   send
	answer <-chan outcome[sendResult]
	sent   *api.Sent // class ephemeral is answered at once
}

// Send stores a message or a silent one, durably when it returns, or passes an ephemeral one. The rules are those of
// api.Send; after any error but "unavailable" nothing was stored. Repeating a send is always safe.
func (s *Service) Send(ctx context.Context, actor token.Actor, generation uint64, req api.Send) (api.Sent, error) {
	p, err := s.submitSend(ctx, actor, generation, req)
	if err != nil {
		return api.Sent{}, err
	}
	return s.awaitSend(ctx, p)
}

// submitSend checks and queues a send. Sends of one caller are stored in the order of the calls.
func (s *Service) submitSend(ctx context.Context, actor token.Actor, generation uint64, req api.Send) (*pendingSend, error) {
	if err := validateSend(req); err != nil {
		return nil, err
	}
	if err := s.allow(ctx, limitSend, actor); err != nil {
		return nil, err
	}
	p := &pendingSend{send: send{actor: actor, generation: generation, req: req}}
	if req.Class == api.ClassEphemeral {
		sent, err := s.passEphemeral(ctx, p.send)
		p.sent = &sent
		return p, err
	}
	var err error
	p.answer, err = s.sends.submit(p.send)
	return p, err
}

// awaitSend returns the answer. A send that names a newer list than this service has is stored after that list was
// fetched, within the same request.
func (s *Service) awaitSend(ctx context.Context, p *pendingSend) (api.Sent, error) {
	if p.sent != nil {
		return *p.sent, nil
	}
	r, err := s.sends.wait(ctx, p.answer)
	if err != nil {
		return api.Sent{}, errs.Wrap("storing a send", err)
	}
	if len(r.newer) == 0 {
		return r.sent, r.err
	}
	for _, id := range r.newer {
		if err := s.refreshAccount(ctx, id); err != nil {
			return api.Sent{}, err
		}
	}
	r, err = s.sends.do(ctx, p.send)
	if err != nil {
		return api.Sent{}, errs.Wrap("storing a send", err)
	}
	return r.sent, r.err
}

func (s *Service) handleSend(_ http.ResponseWriter, r *http.Request, actor token.Actor) (any, error) {
	generation, err := generationOf(r)
	if err != nil {
		return nil, err
	}
	var req api.Send
	if err := httpx.Decode(r, &req); err != nil {
		return nil, err
	}
	return answer(s.Send(r.Context(), actor, generation, req))
}

// validateSend checks everything that needs no database.
func validateSend(req api.Send) error {
	switch {
	case req.ConversationID.IsZero() || req.MessageID.IsZero():
		return errs.Invalidf("A send names its conversation and its message id.")
	case len(req.Commitment) != api.CommitmentSize:
		return errs.Invalidf("The commitment has %d bytes.", api.CommitmentSize)
	case len(req.Shared) > api.MaxEnvelopeBytes:
		return errs.New(errs.TooLarge, api.CodeTooLarge, "The shared ciphertext is too large.")
	case len(req.Envelopes) > api.MaxEnvelopes:
		return errs.New(errs.TooLarge, api.CodeTooLarge, "There are too many envelopes.")
	case req.SenderDevice > api.MaxWireDeviceID:
		return errs.Invalidf("There is no such sender device.")
	case req.After != nil && (req.After.IsZero() || *req.After == req.MessageID):
		return errs.Invalidf("A send follows another message or none.")
	}
	if err := validateEraseAfter(req.EraseAfter); err != nil {
		return err
	}
	if err := validateEnvelopes(req); err != nil {
		return err
	}
	return validateClass(req)
}

// validateClass checks what each class may carry.
func validateClass(req api.Send) error {
	switch req.Class {
	case api.ClassMessage:
		if req.Record == nil {
			return nil
		}
		if req.Record.ConversationID != req.ConversationID || req.Record.MessageID != req.MessageID {
			return errs.Invalidf("The archive record is of another message.")
		}
		return validateRecord(*req.Record)
	case api.ClassSilent, api.ClassEphemeral:
		if req.Record != nil || req.After != nil || req.EraseAfter != 0 || req.SenderDevice != 0 {
			return errs.Invalidf("Only a send of class message has a record, a predecessor, a time of erasure and another sender device.")
		}
		if len(req.Envelopes) == 0 {
			return errs.Invalidf("A send of this class names the devices it is for.")
		}
		if req.Class == api.ClassEphemeral && len(req.Shared) > 0 {
			return errs.Invalidf("An ephemeral send has no shared ciphertext.")
		}
		return nil
	}
	return errs.Invalidf("There is no such class.")
}

func validateEnvelopes(req api.Send) error {
	named := make(map[api.DeviceRef]bool, len(req.Envelopes))
	for _, e := range req.Envelopes {
		ref := api.DeviceRef{AccountID: e.AccountID, DeviceID: e.DeviceID}
		switch {
		case e.AccountID.IsZero() || e.DeviceID < 1 || e.DeviceID > api.MaxWireDeviceID,
			e.RegistrationID < 1 || e.RegistrationID > maxRegistrationID:
			return errs.Invalidf("An envelope names an account, a device and its registration id.")
		case named[ref]:
			return errs.Invalidf("A device has two envelopes.")
		case len(e.Bytes) > api.MaxEnvelopeBytes, req.Class == api.ClassEphemeral && len(e.Bytes) > maxEphemeralBytes:
			return errs.New(errs.TooLarge, api.CodeTooLarge, "An envelope is too large.")
		}
		named[ref] = true
		switch e.Type {
		case api.EnvelopeWhisper, api.EnvelopePreKey, api.EnvelopeSenderKey, api.EnvelopePlaintext:
			if len(e.Bytes) == 0 {
				return errs.Invalidf("An envelope is empty.")
			}
		case 0:
			if len(e.Bytes) > 0 || len(req.Shared) == 0 {
				return errs.Invalidf("An envelope without a type stands for the shared ciphertext alone.")
			}
		default:
			return errs.Invalidf("There is no such type of envelope.")
		}
	}
	return nil
}

func validateRecord(r api.Record) error {
	switch {
	case r.ConversationID.IsZero() || r.MessageID.IsZero():
		return errs.Invalidf("An archive record names its conversation and its message id.")
	case len(r.Sealed) == 0:
		return errs.Invalidf("The archive record is empty.")
	case len(r.Sealed) > maxRecordBytes:
		return errs.New(errs.TooLarge, api.CodeTooLarge, "The archive record is too large.")
	case r.KeyEpoch < 1 || r.KeyEpoch > maxKeyEpoch:
		return errs.Invalidf("The archive record names no archive epoch.")
	}
	return validateEraseAfter(r.EraseAfter)
}

func validateEraseAfter(at int64) error {
	if at < 0 || at%hour != 0 {
		return errs.Invalidf("A time of erasure is rounded up to the hour.")
	}
	return nil
}
