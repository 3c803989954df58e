package client

import (
	"context"
	"errors"
	"strings"

	"sotto/api"
	"sotto/e2ee"
)

// LoginOptions sign in.
type LoginOptions struct {
	Username   string // or the verified e-mail address, where a device is added
	Password   string
	DeviceName string // when a device is added; at most 64 bytes
}

// maxRaces is how often signing in begins again because another device was added at the same moment.
const maxRaces = 5

// loginLabel goes before the attempt in what a listed device signs to sign in.
const loginLabel = "sotto login v1"

// Login signs in with the password. A device that the account lists already (its login was ended, or its introduction
// was cut short) goes on being that device; any other store becomes a new device of the account: its keys are made
// here, and the list and the bundle that the password opens get a new version. After [ErrDeviceCloned] and
// [ErrDeviceGone] the store becomes a new device, too: its history stays, and what waited to be sent goes out from there.
//
// Errors: [ErrWrongLogin], CodeSignedIn, CodeBundle, the list codes, api.CodeLimited.
func (c *Client) Login(ctx context.Context, o LoginOptions) error {
	if len(o.DeviceName) > api.MaxDeviceName {
		return fail(CodeArgument, "The name of a device has at most %d bytes.", api.MaxDeviceName)
	}
	for race := 1; ; race++ {
		err := c.loginOnce(ctx, o)
		if code := CodeOf(err); race == maxRaces || (code != api.CodeListVersion && code != api.CodeBundleVersion) {
			return err
		}
	}
}

func (c *Client) loginOnce(ctx context.Context, o LoginOptions) error {
	name := strings.ToLower(o.Username)
	known, err := c.knownDevice(name)
	if err != nil {
		return err
	}
	var start api.LoginStartResponse
	req := api.LoginStartRequest{Name: name, Methods: []string{api.MethodSplitPBKDF2}}
	if err := c.request(ctx, "POST", "/api/user/login/start", "", req, &start); err != nil {
		return err
	}
	parameters, err := loginParameters(start)
	if err != nil {
		return err
	}
	auth, kek, err := c.derive(ctx, o.Password, parameters)
	if err != nil {
		return err
	}
	renewal, renewalHash, err := c.newRenewal()
	if err != nil {
		return err
	}
	finish := api.LoginFinishRequest{Attempt: start.Attempt, Proof: auth, RenewalHash: renewalHash}
	if known != nil {
		if finish.Device, err = c.proof(*known, start.Attempt); err != nil {
			return err
		}
	}
	var res api.Login
	err = c.request(ctx, "POST", "/api/user/login/finish", "", finish, &res)
	if known != nil && (CodeOf(err) == api.CodeDeviceGone || CodeOf(err) == api.CodeNotFound) {
		// The account has removed the device, or the server never got to know it.
		if err := c.gone(); err != nil {
			return err
		}
		return c.loginOnce(ctx, o)
	}
	if err != nil {
		return err
	}
	if res.Lists == nil || res.Bundle == nil {
		return serverError("a login without list or bundle")
	}
	with := opener{slot: e2ee.SlotPassword, wrapping: kek, parameters: parameters.Marshal()}
	if strings.Contains(name, "@") {
		with.slot = e2ee.SlotEmail
	}
	opened, err := c.openLogin(ctx, res, with)
	if err != nil {
		return err
	}
	older := c.follows(opened, *res.Bundle)
	if older != nil {
		if err := c.explainLogin(ctx, res.AccountID, known != nil, older); err != nil {
			return err
		}
	}
	if known != nil {
		if res.AccountID != known.Account || res.DeviceID == nil || *res.DeviceID != known.Device {
			return serverError("signed in device %s as another one", known.Device)
		}
		n := newcomer{device: *known}
		if older == nil { // otherwise the newer bundle stays and is given back
			n.vault = opened.vault(*res.Bundle)
		}
		return c.introduced(n, res, renewal)
	}
	if err := c.complete(ctx, &opened, o.Password); err != nil {
		return err
	}
	n, err := c.newDevice(res.Username, opened)
	if err != nil {
		return err
	}
	return c.addDevice(ctx, n, o.DeviceName, res.Token, renewal)
}

// openLogin opens what a sign-in shows. On a restored server the list may be newer than the bundle.
func (c *Client) openLogin(ctx context.Context, res api.Login, with opener) (opened, error) {
	o, err := openAccount(res.AccountID, res.Lists.Lists, *res.Bundle, with)
	if !errors.Is(err, errOtherList) {
		return o, err
	}
	info, infoErr := c.Info(ctx)
	if infoErr != nil || info.Epoch < 2 {
		return o, errors.Join(err, infoErr)
	}
	with.restored = true
	return openAccount(res.AccountID, res.Lists.Lists, *res.Bundle, with)
}

// explainLogin is for an account that a server shows at sign-in as it was before. A device that the server knows keeps
// what it has and gives it back when it connects, if the server was restored.
func (c *Client) explainLogin(ctx context.Context, a api.AccountID, known bool, older error) error {
	if known && CodeOf(older) != CodeListFork {
		if raised, err := c.raised(ctx); raised || err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.alert(a, older)
	return older
}

// gone records that this store can only become a new device.
func (c *Client) gone() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	d, found, err := get[device](c, keyDevice)
	if err != nil || !found {
		return err
	}
	d.Ended = api.CodeDeviceGone
	b := &batch{}
	b.put(keyDevice, d)
	b.delete(keyLogin)
	return c.commit(b)
}

// forget empties the store.
func (c *Client) forget() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wipe()
}

// loginParameters enforces the bounds before the password is spent on them: a server that lowered the iterations could
// guess the password from the proof.
func loginParameters(start api.LoginStartResponse) (e2ee.PasswordParameters, error) {
	p := start.Parameters
	if start.Method != api.MethodSplitPBKDF2 || len(p.Salt) != api.SaltSize ||
		p.Iterations < api.MinIterations || p.Iterations > api.MaxIterations {
		return e2ee.PasswordParameters{}, serverError("password parameters out of bounds: method %q, salt of %d bytes, %d iterations",
			start.Method, len(p.Salt), p.Iterations)
	}
	return e2ee.PasswordParameters{
		KDF: e2ee.KDFSplitPBKDF2, Salt: [16]byte(p.Salt), Iterations: uint32(p.Iterations),
	}, nil
}

// knownDevice finds a device in the store that may sign in again under this name; nil when there is none.
func (c *Client) knownDevice(name string) (*device, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken != nil {
		return nil, c.broken
	}
	d, found, err := get[device](c, keyDevice)
	if err != nil || !found {
		return nil, err
	}
	_, signedIn, err := get[login](c, keyLogin)
	switch {
	case err != nil:
		return nil, err
	case d.Introduced && signedIn:
		return nil, fail(CodeSignedIn, "%s is signed in here already. Log out first.", d.Username)
	case d.Username != name && d.Introduced:
		return nil, fail(CodeSignedIn, "This is a device of %s. Log out first.", d.Username)
	case d.Username != name || d.replaced():
		return nil, nil
	}
	return &d, nil
}

// proof shows the server that this is a device that the account lists.
func (c *Client) proof(d device, attempt string) (*api.DeviceProof, error) {
	local, err := d.local()
	if err != nil {
		return nil, err
	}
	signature, err := local.Identity.Private.Sign(c.rand, []byte(loginLabel+attempt))
	if err != nil {
		return nil, err
	}
	return &api.DeviceProof{DeviceID: d.Device, Signature: signature[:]}, nil
}

// addDevice hands the new device to the server together with the list and the bundle that have it.
func (c *Client) addDevice(ctx context.Context, n newcomer, deviceName, token string, renewal []byte) error {
	prekeys, err := c.begin(&n)
	if err != nil {
		return err
	}
	req := api.AddDeviceRequest{
		List: n.list, Device: n.registration(deviceName, prekeys), Bundle: n.vault.bundle(),
	}
	var added api.Login
	if err := c.insist(ctx, "POST", "/api/user/devices", token, req, &added); err != nil {
		return err
	}
	if err := c.introduced(n, added, renewal); err != nil {
		return err
	}
	return c.recallLists(ctx, n.pinned)
}

// Logout ends the login on the server and empties the store, local history included. When the server cannot be reached
// nothing happens, unless the login has ended already. End [Client.Run] first.
func (c *Client) Logout(ctx context.Context) error {
	err := c.call(ctx, "POST", "/api/user/logout", nil, nil)
	switch CodeOf(err) {
	case CodeLoginEnded, api.CodeDeviceGone, api.CodeUnauthenticated: // ended already
	default:
		if err != nil {
			return err
		}
	}
	return c.forget()
}

// lookup finds an account by its exact name and pins its list at first contact.
func (c *Client) lookup(ctx context.Context, username string) (pinned, error) {
	var account api.Account
	if err := c.call(ctx, "POST", "/api/user/lookup", api.LookupRequest{Username: username}, &account); err != nil {
		return pinned{}, err
	}
	c.mu.Lock()
	before, err := c.pin(account.AccountID)
	c.mu.Unlock()
	if err != nil {
		return pinned{}, err
	}
	if account.Lists.AccountID != account.AccountID {
		return pinned{}, serverError("lists of another account")
	}
	if err := c.checkName(account); err != nil {
		return pinned{}, err
	}
	if err := c.accept(ctx, account.Lists, before.Version, account.Username); err != nil {
		return pinned{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pin(account.AccountID)
}

// checkName refuses a name that belonged to another account when it was last looked up: whoever writes to a name means
// the person they know under it.
func (c *Client) checkName(account api.Account) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var from []byte
	for {
		items, err := c.store.Scan([]byte{prefixList}, from, MaxScan)
		if err != nil {
			return storeError(err)
		}
		for _, it := range items {
			var p pinned
			if err := decode(it.Value, &p); err != nil {
				return err
			}
			if p.Username == account.Username && p.Account != account.AccountID {
				err := fail(CodeIdentity, "%s is another account than before. Ask the person before you write.", account.Username)
				c.alert(account.AccountID, err)
				return err
			}
		}
		if len(items) < MaxScan {
			return nil
		}
		from = append(items[len(items)-1].Key, 0)
	}
}
