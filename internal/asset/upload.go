package asset

import (
	"context"
	"crypto/sha256"
	"encoding"
	"fmt"
	"hash"
	"io"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/fault"
	"sotto/internal/sqldb"
)

// Begin reserves room for a sealed asset and returns where its upload stands. Asking again for the same one, begun or
// stored, gets the same answer; only the account's own count, so that nobody learns what others have.
func (s *Store) Begin(ctx context.Context, account api.AccountID, req api.BeginAsset) (api.Asset, error) {
	if len(req.SHA256) != sha256.Size {
		return api.Asset{}, errs.Invalidf("A SHA-256 has %d bytes.", sha256.Size)
	}
	if req.Size < 1 {
		return api.Asset{}, errs.Invalidf("An asset has at least one byte.")
	}
	if req.Size > api.MaxAssetSize {
		return api.Asset{}, errs.New(errs.TooLarge, api.CodeTooLarge,
			fmt.Sprintf("An asset has at most %d bytes.", api.MaxAssetSize)).WithDetails(map[string]int64{"limit": api.MaxAssetSize})
	}
	a, err := s.begin(ctx, asset{account: account, sum: [32]byte(req.SHA256), size: req.Size}, s.checkRoom)
	return a.api(), err
}

// begin stores the row of a new asset unless it is there. room decides within the transaction whether there may be more.
func (s *Store) begin(ctx context.Context, a asset, room func(context.Context, *sqldb.Tx, asset) error) (asset, error) {
	if _, err := io.ReadFull(s.Rand, a.id[:]); err != nil {
		return a, errs.Wrap("reading randomness", err)
	}
	state, err := marshal(sha256.New())
	if err != nil {
		return a, err
	}
	a.state, a.hash, a.changedAt = stateOpen, state, s.millis()
	var found asset
	err = s.tx(ctx, "begin asset", func(tx *sqldb.Tx) error {
		if err := lockAccount(ctx, tx, a.account); err != nil {
			return err
		}
		var err error
		if found, err = readOwn(ctx, tx, a.account, a.sum); err == nil && found.state != "" {
			if found.size != a.size {
				return errs.Invalidf("What has this SHA-256 was announced with %d bytes.", found.size)
			}
			return nil
		} else if err != nil {
			return err
		}
		if err := room(ctx, tx, a); err != nil {
			return err
		}
		found = a
		return insertAsset(ctx, tx, a)
	})
	return found, errs.Wrap("beginning an asset", err)
}

// checkRoom holds a new asset against the bounds of its account. The account's row is locked, so that of two uploads at
// once the second one sees the first.
func (s *Store) checkRoom(ctx context.Context, tx *sqldb.Tx, a asset) error {
	u, err := readUsage(ctx, tx, a.account)
	switch {
	case err != nil:
		return err
	case u.open >= api.MaxUploads:
		return errs.New(errs.Limited, api.CodeLimited, fmt.Sprintf(
			"%d uploads are under way. Finish one of them, or delete it.", u.open)).WithRetryAfter(retryAfter)
	case u.bytes+a.size > s.Quota || u.count >= api.MaxAssets:
		return errs.New(errs.TooLarge, api.CodeQuota, "The account has no room for that. Delete something first.").
			WithDetails(api.QuotaDetails{Used: u.bytes, Quota: s.Quota, Assets: u.count, MaxAssets: api.MaxAssets})
	}
	return nil
}

// Upload tells where an upload of the account stands.
func (s *Store) Upload(ctx context.Context, account api.AccountID, id api.UploadID) (api.Asset, error) {
	a, err := s.own(ctx, account, id)
	return a.api(), err
}

// own reads an asset of the account. Another account's is not found, and neither is one that is being removed.
func (s *Store) own(ctx context.Context, account api.AccountID, id api.UploadID) (asset, error) {
	a, err := readAsset(ctx, s.DB, id)
	if err == nil && (a.account != account || a.state == stateGone) {
		err = errNoAsset
	}
	return a, errs.Wrap("reading an upload", err)
}

// Append adds a part at the end of what was received. Repeating a part is answered with where the upload stands now.
// Errors: api.CodeConflict with the right offset in its details, api.CodeAssetHash when the whole is not what was announced,
// with which the upload ends.
func (s *Store) Append(ctx context.Context, account api.AccountID, id api.UploadID, offset int64, content []byte) (api.Asset, error) {
	a, err := s.own(ctx, account, id)
	if err != nil {
		return api.Asset{}, err
	}
	p := part{asset: id, start: offset, sum: sha256.Sum256(content), size: int64(len(content))}
	if offset != a.received {
		return s.repeated(ctx, a, p)
	}
	if err := p.fits(a); err != nil {
		return api.Asset{}, err
	}
	hash, err := unmarshal(a.hash)
	if err != nil {
		return api.Asset{}, err
	}
	_, _ = hash.Write(content) // never fails
	if moved, err := s.plan(ctx, p); err != nil {
		return api.Asset{}, err
	} else if moved {
		return s.repeatedLater(ctx, account, p)
	}
	putting, cancel := context.WithTimeout(ctx, putWithin)
	defer cancel()
	if err := s.Backend.Put(putting, p.object(), content); err != nil {
		return api.Asset{}, away("writing a part", err)
	}
	fault.Point("asset part written")
	return s.place(ctx, account, p, hash)
}

// fits holds a part against the bounds that keep the number of parts small.
func (p part) fits(a asset) error {
	left := a.size - p.start
	switch {
	case p.size > api.MaxAssetPart || p.size < 1:
		return errs.Invalidf("A part has 1 to %d bytes.", api.MaxAssetPart)
	case p.size > left:
		return errs.Invalidf("The part goes beyond the announced size: %d bytes are left.", left)
	case p.size < api.MinAssetPart && p.size < left:
		return errs.Invalidf("Only the last part may have fewer than %d bytes.", api.MinAssetPart)
	}
	return nil
}

// repeated tells a part that is there already from one for a place that is not the end.
func (s *Store) repeated(ctx context.Context, a asset, p part) (api.Asset, error) {
	state, err := readPartState(ctx, s.DB, p)
	if err != nil {
		return api.Asset{}, errs.Wrap("reading a part", err)
	}
	if state == partPlaced {
		return a.api(), nil
	}
	return api.Asset{}, errs.Conflictf("The upload goes on at %d.", a.received).WithDetails(a.api())
}

// repeatedLater is for a part that another request for the same place has overtaken.
func (s *Store) repeatedLater(ctx context.Context, account api.AccountID, p part) (api.Asset, error) {
	a, err := s.own(ctx, account, p.asset)
	if err != nil {
		return api.Asset{}, err
	}
	return s.repeated(ctx, a, p)
}

// plan stores that an object is about to be written. moved tells that the upload stands elsewhere by now.
func (s *Store) plan(ctx context.Context, p part) (moved bool, err error) {
	err = s.assetTx(ctx, p.asset, "plan part", func(tx *sqldb.Tx, a asset) error {
		if moved = a.received != p.start || a.state != stateOpen; moved {
			return nil
		}
		state, err := readPartState(ctx, tx, p)
		if err != nil {
			return err
		}
		if state == partGone {
			return away("planning a part", fmt.Errorf("an earlier try of %s is being removed", p.object()))
		}
		n, err := countUnplaced(ctx, tx, p)
		if err != nil {
			return err
		}
		if n >= maxPlanned {
			return errs.New(errs.Limited, api.CodeLimited,
				"Too many different parts were sent for one place. Delete the upload, or wait.").WithRetryAfter(settleAfter)
		}
		return planPart(ctx, tx, p, s.millis())
	})
	return moved, errs.Wrap("planning a part", err)
}

// place makes the part one of the asset and ends the upload with the last one. hash is that of everything up to the
// part's end; what was received before cannot have changed, because it only grows.
func (s *Store) place(ctx context.Context, account api.AccountID, p part, hash hash.Hash) (api.Asset, error) {
	state, err := marshal(hash)
	if err != nil {
		return api.Asset{}, err
	}
	var after asset
	moved, wrong := false, false
	err = s.assetTx(ctx, p.asset, "place part", func(tx *sqldb.Tx, a asset) error {
		if moved = a.received != p.start || a.state != stateOpen; moved {
			return nil
		}
		if placed, err := placePart(ctx, tx, p); err != nil || !placed {
			if err == nil {
				err = away("placing a part", fmt.Errorf("%s was removed meanwhile", p.object()))
			}
			return err
		}
		a.received, a.hash, a.changedAt = a.received+p.size, state, s.millis()
		wrong = false
		if a.received == a.size {
			a.state = stateStored
			if wrong = [32]byte(hash.Sum(nil)) != a.sum; wrong {
				a.state = stateGone
			}
		}
		after = a
		return updateAsset(ctx, tx, a)
	})
	switch {
	case err != nil:
		return api.Asset{}, errs.Wrap("placing a part", err)
	case moved:
		return s.repeatedLater(ctx, account, p)
	case wrong:
		s.removeNow(ctx, p.asset)
		return api.Asset{}, errs.New(errs.Invalid, api.CodeAssetHash,
			"What was uploaded does not have the announced SHA-256. The upload was dropped; begin again.")
	}
	return after.api(), nil
}

// Publish stores an asset of the server that everybody may read, unless it is there, and returns its name. Several
// processes may publish the same at once.
func (s *Store) Publish(ctx context.Context, typ string, content []byte) (sum [32]byte, err error) {
	sum = sha256.Sum256(content)
	if err := checkPublic(typ); err != nil {
		return sum, err
	}
	if len(content) < 1 || len(content) > api.MaxAssetSize {
		return sum, fmt.Errorf("a public asset has 1 to %d bytes, this one %d", api.MaxAssetSize, len(content))
	}
	free := func(context.Context, *sqldb.Tx, asset) error { return nil }
	row, err := s.begin(ctx, asset{sum: sum, size: int64(len(content)), typ: typ}, free)
	a := row.api()
	// Each round moves on or finds that another process did.
	for err == nil && a.Received < a.Size {
		next := content[a.Received:min(a.Received+api.MaxAssetPart, a.Size)]
		a, err = s.Append(ctx, api.AccountID{}, row.id, a.Received, next)
		if errs.Is(err, api.CodeConflict) {
			a, err = s.Upload(ctx, api.AccountID{}, row.id)
		}
	}
	return sum, errs.Wrap("publishing", err)
}

func marshal(h hash.Hash) ([]byte, error) {
	b, err := h.(encoding.BinaryMarshaler).MarshalBinary()
	return b, errs.Wrap("keeping the state of SHA-256", err)
}

func unmarshal(state []byte) (hash.Hash, error) {
	h := sha256.New()
	err := h.(encoding.BinaryUnmarshaler).UnmarshalBinary(state)
	return h, errs.Wrap("taking up the state of SHA-256", err)
}
