package client

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"time"

	"sotto/api"
	"sotto/e2ee"
)

// Slots of a new key bundle.
const (
	slotPassword = 1
	slotRecovery = 2
)

// RegisterOptions make an account.
type RegisterOptions struct {
	Username   string // [a-z0-9_.-]{3,32}, any case
	Password   string // see [CheckPassword]
	DeviceName string // for the owner's list of devices; the server sees it; at most 64 bytes
}

// Register makes an account with this device and signs in. The recovery code is returned this once and stored nowhere:
// whoever loses all devices and the password needs it. Errors: CodeSignedIn, CodePassword, CodeArgument,
// api.CodeExists.
//
// The device's keys are stored before the request leaves. When the answer is lost together with this process,
// [Client.Login] with the same username finds the device on the server and goes on with it.
func (c *Client) Register(ctx context.Context, o RegisterOptions) (code string, err error) {
	if err := CheckPassword(o.Username, o.Password); err != nil {
		return "", err
	}
	name := strings.ToLower(o.Username)
	if len(name) < api.MinUsername || len(name) > api.MaxUsername || len(o.DeviceName) > api.MaxDeviceName {
		return "", fail(CodeArgument, "A username has %d to %d characters, the name of a device at most %d bytes.",
			api.MinUsername, api.MaxUsername, api.MaxDeviceName)
	}
	if err := c.checkFree(); err != nil {
		return "", err
	}
	if code, err = c.NewRecoveryCode(); err != nil {
		return "", err
	}
	change, err := c.newPassword(ctx, o.Password, code)
	if err != nil {
		return "", err
	}
	id, err := c.uuid()
	if err != nil {
		return "", err
	}
	account, err := c.newAccount(id, change, 1)
	if err != nil {
		return "", err
	}
	n, err := c.newDevice(name, account)
	if err != nil {
		return "", err
	}
	n.recovery = RecoveryUnconfirmed
	renewal, renewalHash, err := c.newRenewal()
	if err != nil {
		return "", err
	}
	prekeys, err := c.begin(&n)
	if err != nil {
		return "", err
	}
	req := api.RegisterRequest{
		AccountID: n.device.Account, Username: name, Method: api.MethodSplitPBKDF2,
		Salt: change.request.Salt, Iterations: change.request.Iterations, Auth: change.request.Auth,
		RecoveryVerifier: change.request.RecoveryVerifier, RenewalHash: renewalHash, AccountKey: n.accountKey[:],
		List: n.list, Device: n.registration(o.DeviceName, prekeys), Bundle: n.vault.Sealed,
	}
	var res api.Login
	if err := c.insist(ctx, "POST", "/api/user/register", "", req, &res); err != nil {
		return "", err
	}
	if res.AccountID != n.device.Account {
		return "", serverError("registered account %s as %s", n.device.Account, res.AccountID)
	}
	return code, c.introduced(n, res, renewal)
}

// newcomer is a device on its way to the server. The account key's private half is in the sealed bundle only.
type newcomer struct {
	device     device
	accountKey e2ee.PublicKey
	list       api.SignedList // the first that has the device
	vault      vault          // that belongs to list
	pinned     pinned         // own lists up to list
	recovery   RecoveryState
}

func (n newcomer) registration(name string, prekeys api.PreKeyUpload) api.DeviceRegistration {
	return api.DeviceRegistration{
		DeviceID: n.device.Device, WireDeviceID: n.device.WireDevice, Name: name, PreKeys: prekeys,
	}
}

// recoverySlot carries the verifier that the server has of the code, so that a restored server gets it back with the
// bundle.
func recoverySlot(code e2ee.RecoveryCode) e2ee.Slot {
	return e2ee.Slot{ID: slotRecovery, Type: e2ee.SlotRecovery, Parameters: recoveryVerifier(code), Wrapping: code.Wrap()}
}

// recoveryVerifier is what the server stores of a recovery code.
func recoveryVerifier(code e2ee.RecoveryCode) []byte {
	auth := code.Auth()
	sum := sha256.Sum256(auth[:])
	return sum[:]
}

// newDevice makes a device with its keys, and the next list and bundle: those of o with the device added.
func (c *Client) newDevice(name string, o opened) (n newcomer, err error) {
	identity, err := e2ee.NewKeyPair(c.rand)
	if err != nil {
		return n, err
	}
	id, err := c.uuid()
	if err != nil {
		return n, err
	}
	var r [2]byte
	if err := c.random(r[:]); err != nil {
		return n, err
	}
	l := &o.list
	wire := l.FreeID()
	if wire == 0 {
		return n, fail(api.CodeLimited, "The account has %d devices already. Remove one first.", e2ee.MaxDevices)
	}
	n.device = device{
		Account: l.Account, Username: name, Device: id, WireDevice: api.WireDeviceID(wire),
		RegistrationID: uint32(binary.BigEndian.Uint16(r[:]))%e2ee.MaxRegistrationID + 1, Identity: identity.Private[:],
	}
	l.Devices = insertDevice(l.Devices, e2ee.ListedDevice{
		ID: wire, RegistrationID: n.device.RegistrationID, IdentityKey: identity.Public, AddedAt: c.millis(),
	})
	if n.list, err = o.sign(c); err != nil {
		return n, err
	}
	if n.vault, err = o.seal(c); err != nil {
		return n, err
	}
	n.accountKey = l.AccountKey
	n.pinned = pinned{Account: l.Account, Username: name, Key: l.AccountKey[:], Version: l.Version, List: n.list}
	return n, nil
}

// insertDevice keeps the order of ids.
func insertDevice(devices []e2ee.ListedDevice, d e2ee.ListedDevice) []e2ee.ListedDevice {
	var out []e2ee.ListedDevice
	for _, other := range devices {
		if other.ID > d.ID && (len(out) == 0 || out[len(out)-1].ID < d.ID) {
			out = append(out, d)
		}
		out = append(out, other)
	}
	if len(out) == 0 || out[len(out)-1].ID < d.ID {
		out = append(out, d)
	}
	return out
}

// begin empties the store of what an earlier account or device left, and stores the keys of a device that is about to
// be introduced.
func (c *Client) begin(n *newcomer) (api.PreKeyUpload, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old, found, err := get[device](c, keyDevice)
	if err == nil && found && old.Account == n.device.Account {
		err = c.carryOver(old)
	} else if err == nil {
		err = c.wipe()
	}
	if err != nil {
		return api.PreKeyUpload{}, err
	}
	var first [3]byte
	if err := c.random(first[:]); err != nil {
		return api.PreKeyUpload{}, err
	}
	b := &batch{}
	b.put(keyDevice, n.device)
	b.put(keyVault, n.vault)
	n.pinned.put(b)
	s := preKeyState{Next: e2ee.NextPreKeyID(uint32(first[0])<<16 | uint32(first[1])<<8 | uint32(first[2]))}
	up, err := c.mint(n.device, &s, s.due(api.PreKeyCount{}, c.now()), b)
	if err != nil {
		return api.PreKeyUpload{}, err
	}
	return up, c.commit(b)
}

// introduced records that the server has the device.
func (c *Client) introduced(n newcomer, res api.Login, renewal []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	n.device.Introduced, n.device.Ended = true, ""
	b := &batch{}
	b.put(keyDevice, n.device)
	b.put(keyLogin, login{ID: res.LoginID, Renewal: renewal, Token: res.Token, Expires: c.tokenEnd()})
	if n.vault.Version > 0 { // else the kept one is newer
		b.put(keyVault, n.vault)
	}
	if n.recovery != RecoveryUnknown {
		b.put(keyRecovery, n.recovery)
	}
	return c.commit(b)
}

// checkFree refuses to replace a device that is signed in.
func (c *Client) checkFree() error {
	d, err := c.me()
	if err == nil {
		return fail(CodeSignedIn, "%s is signed in here already. Log out first.", d.Username)
	}
	if CodeOf(err) == CodeNotSignedIn {
		return nil
	}
	return err
}

// derive stretches a password and splits the result.
func (c *Client) derive(ctx context.Context, password string, p e2ee.PasswordParameters) (auth string, kek [32]byte, err error) {
	normal, err := NormalizePassword(password)
	if err != nil {
		return "", kek, err
	}
	mk, err := stretch(ctx, normal, p.Salt[:], int(p.Iterations))
	if err != nil {
		return "", kek, err
	}
	auth, kek = e2ee.SplitPassword(mk)
	return auth, kek, nil
}

// newRenewal makes the secret that renews a login's token, and what the server gets to know of it.
func (c *Client) newRenewal() (secret, hash []byte, err error) {
	secret = make([]byte, api.VerifierSize)
	err = c.random(secret)
	sum := sha256.Sum256(secret)
	return secret, sum[:], err
}

// Repetition of a request whose answer was lost.
const (
	insistTries = 4
	insistPause = 500 * time.Millisecond // before the second try; doubles
)

// insist repeats a request whose outcome is unknown. It is for those to which a repetition of the same bytes gets the
// first answer.
func (c *Client) insist(ctx context.Context, method, path, token string, req, res any) error {
	pause := insistPause
	for try := 1; ; try++ {
		err := c.request(ctx, method, path, token, req, res)
		if CodeOf(err) != CodeNetwork || try == insistTries {
			return err
		}
		if err := sleep(ctx, pause); err != nil {
			return networkError(method+" "+path, err)
		}
		pause *= 2
	}
}

// sleep waits, or returns the error of ctx when that ends first.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
