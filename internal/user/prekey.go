package user

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sotto/api"
	"sotto/e2ee"
	"sotto/internal/errs"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

// maxClockLead is how far ahead of ours a device's clock may be. A statement from the far future would shut out all
// that follow it.
const maxClockLead = 24 * time.Hour

func errSignature(what string) *errs.Error {
	return errs.New(errs.Invalid, api.CodeSignature, "The signature of the "+what+" does not verify.")
}

// checkPreKeys holds an upload against the device as the account lists it: every signature by the device identity key,
// and a statement that names the keys it comes with.
func checkPreKeys(
	up api.PreKeyUpload, account api.AccountID, listed e2ee.ListedDevice, now time.Time,
) (e2ee.PreKeyStatement, error) {
	statement, err := openStatement(up.Statement, listed.IdentityKey)
	if err != nil {
		return statement, err
	}
	bundle := e2ee.PreKeyBundle{
		Address:        e2ee.Address{Account: account, Device: listed.ID},
		RegistrationID: listed.RegistrationID, IdentityKey: listed.IdentityKey,
		SignedPreKeyID: up.SignedPreKey.ID, KyberPreKeyID: up.LastResort.ID,
	}
	if bundle.SignedPreKey, err = e2ee.ParsePublicKey(up.SignedPreKey.Key); err != nil {
		return statement, errs.Invalidf("The signed prekey is not an EC key of 33 bytes.").Because(err)
	}
	if !listed.IdentityKey.Verify(up.SignedPreKey.Key, up.SignedPreKey.Signature) {
		return statement, errSignature("signed prekey")
	}
	if bundle.KyberPreKey, err = checkKyber(up.LastResort, listed.IdentityKey, "last-resort prekey"); err != nil {
		return statement, err
	}
	if statement.LastResortID != up.LastResort.ID {
		return statement, errs.Invalidf("The prekey statement names another last-resort prekey.")
	}
	switch err := statement.Check(bundle, now); {
	case errors.Is(err, e2ee.ErrStatementStale):
		return statement, errs.Invalidf("The prekey statement is older than 30 days. Check the clock of this device.").
			Because(err)
	case err != nil:
		return statement, errs.Invalidf("The prekey statement does not name this device and these keys.").Because(err)
	}
	if statement.Time > now.Add(maxClockLead).UnixMilli() {
		return statement, errs.Invalidf("The prekey statement is from the future. Check the clock of this device.")
	}
	return statement, checkOneTime(up, listed.IdentityKey)
}

func openStatement(s api.SignedStatement, identity e2ee.PublicKey) (e2ee.PreKeyStatement, error) {
	statement, err := e2ee.SignedStatement(s).Open(identity)
	switch {
	case errors.Is(err, e2ee.ErrSignature):
		return statement, errSignature("prekey statement").Because(err)
	case err != nil:
		return statement, errs.Invalidf("The prekey statement is malformed.").Because(err)
	}
	return statement, nil
}

func checkKyber(k api.SignedKey, identity e2ee.PublicKey, what string) (e2ee.KEMPublicKey, error) {
	key, err := e2ee.ParseKEMPublicKey(k.Key)
	if err != nil {
		return nil, errs.Invalidf("A %s is not a Kyber-1024 key of 1569 bytes.", what).Because(err)
	}
	if !identity.Verify(k.Key, k.Signature) {
		return nil, errSignature(what)
	}
	return key, nil
}

const maxPreKeyID = 1<<24 - 1

func checkOneTime(up api.PreKeyUpload, identity e2ee.PublicKey) error {
	if len(up.OneTimePreKeys) > api.MaxOneTimePreKeys || len(up.KyberPreKeys) > api.MaxOneTimePreKeys {
		return errs.Invalidf("At most %d one-time prekeys of each sort go into one upload.", api.MaxOneTimePreKeys)
	}
	seen := make(map[uint32]bool, len(up.OneTimePreKeys))
	for _, k := range up.OneTimePreKeys {
		if k.ID == 0 || k.ID > maxPreKeyID || seen[k.ID] {
			return errs.Invalidf("Prekey id %d is given twice or not between 1 and %d.", k.ID, maxPreKeyID)
		}
		seen[k.ID] = true
		if _, err := e2ee.ParsePublicKey(k.Key); err != nil {
			return errs.Invalidf("One-time prekey %d is not an EC key of 33 bytes.", k.ID).Because(err)
		}
	}
	// A one-time Kyber prekey under the id of the last-resort one would not match the statement.
	seen = map[uint32]bool{up.LastResort.ID: true}
	for _, k := range up.KyberPreKeys {
		if k.ID == 0 || k.ID > maxPreKeyID || seen[k.ID] {
			return errs.Invalidf("Kyber prekey id %d is given twice or not between 1 and %d.", k.ID, maxPreKeyID)
		}
		seen[k.ID] = true
		if _, err := checkKyber(k, identity, "one-time Kyber prekey"); err != nil {
			return err
		}
	}
	return nil
}

// PreKeysLow counts the active devices that have run out of one-time prekeys of a sort, for the operator.
func (s *Service) PreKeysLow(ctx context.Context) (int, error) {
	n, err := countPreKeysLow(ctx, s.DB)
	return n, errs.Wrap("counting devices without prekeys", err)
}

// CountPreKeys counts the one-time prekeys of the actor's device that wait to be handed out.
func (s *Service) CountPreKeys(ctx context.Context, actor token.Actor) (api.PreKeyCount, error) {
	count, err := countPreKeys(ctx, s.DB, actor.Device)
	return count, errs.Wrap("counting prekeys", err)
}

// UploadPreKeys replaces the device's signed prekey, last-resort prekey and statement and adds one-time prekeys. The
// same upload again changes nothing. A statement older than the stored one is a conflict.
func (s *Service) UploadPreKeys(
	ctx context.Context, actor token.Actor, up api.PreKeyUpload,
) (count api.PreKeyCount, err error) {
	listed, err := readListed(ctx, s.DB, actor.Device)
	if err != nil {
		return count, errs.Wrap("reading the device", err)
	}
	statement, err := checkPreKeys(up, actor.Account, listed, s.Now())
	if err != nil {
		return count, err
	}
	err = s.accountTx(ctx, actor.Account, "upload prekeys", func(tx *sqldb.Tx) (err error) {
		if err := replacePreKeys(ctx, tx, actor.Device, up, statement.Time); err != nil {
			return err
		}
		if count, err = countPreKeys(ctx, tx, actor.Device); err != nil {
			return err
		}
		if count.OneTimePreKeys > api.MaxStoredPreKeys || count.KyberPreKeys > api.MaxStoredPreKeys {
			return errs.New(errs.TooLarge, api.CodeTooLarge,
				fmt.Sprintf("At most %d one-time prekeys of each sort may wait.", api.MaxStoredPreKeys))
		}
		return nil
	})
	return count, errs.Wrap("storing prekeys", err)
}

// ClaimPreKeys takes a prekey bundle for each named device, or for all current ones. Devices that are not current are
// left out: the newest list in the answer says why. Of the actor's own account, the asking device is left out.
func (s *Service) ClaimPreKeys(
	ctx context.Context, actor token.Actor, req api.ClaimRequest,
) (api.ClaimResponse, error) {
	if err := checkClaim(req); err != nil {
		return api.ClaimResponse{}, err
	}
	if err := s.allow(ctx, limitClaim, actor.Account.String()+" "+req.AccountID.String()); err != nil {
		return api.ClaimResponse{}, err
	}
	var res api.ClaimResponse
	err := s.accountTx(ctx, req.AccountID, "claim prekeys", func(tx *sqldb.Tx) (err error) {
		res = api.ClaimResponse{Bundles: []api.PreKeyBundle{}}
		if res.Lists, err = readNewestList(ctx, tx, req.AccountID); err != nil {
			return err
		}
		devices, err := readPreKeyBundles(ctx, tx, req.AccountID)
		if err != nil {
			return err
		}
		for _, d := range devices {
			named := len(req.DeviceIDs) == 0 || slices.Contains(req.DeviceIDs, d.bundle.DeviceID)
			if !named || d.id == actor.Device {
				continue
			}
			if err := claimOneTime(ctx, tx, &d, s.nowMillis()); err != nil {
				return err
			}
			res.Bundles = append(res.Bundles, d.bundle)
		}
		return nil
	})
	if errors.Is(err, sqldb.ErrNoRows) {
		return api.ClaimResponse{}, errs.NotFoundf("There is no such account.")
	}
	if err != nil {
		return api.ClaimResponse{}, errs.Wrap("claiming prekeys", err)
	}
	return res, nil
}

func checkClaim(req api.ClaimRequest) error {
	if len(req.DeviceIDs) > api.MaxDevices {
		return errs.Invalidf("An account has at most %d devices.", api.MaxDevices)
	}
	for i, id := range req.DeviceIDs {
		if id == 0 || id > api.MaxWireDeviceID || slices.Contains(req.DeviceIDs[:i], id) {
			return errs.Invalidf("Device id %d is given twice or not between 1 and %d.", id, api.MaxWireDeviceID)
		}
	}
	return nil
}
