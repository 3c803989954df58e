package client

import (
	"context"
	"slices"

	"sotto/api"
	"sotto/e2ee"
)

// Device is one device of the own account.
type Device struct {
	ID         api.DeviceID     // as the server names it
	WireDevice api.WireDeviceID // as the signed list and envelopes name it
	Name       string           // the owner's; kept by the server
	AddedAt    int64            // milliseconds, signed
	SeenAt     int64            // milliseconds, rounded down to the hour; the server's word
	State      string           // api.DeviceActive, api.DeviceSignedOut or api.DeviceDormant; the server's word
	Current    bool             // this one
}

// Devices lists the devices that the account's signed list vouches for, in the order of their numbers. What the server
// adds to it, a name and when the device was last seen, is for people. Errors: the list codes.
func (c *Client) Devices(ctx context.Context) ([]Device, error) {
	me, err := c.me()
	if err != nil {
		return nil, err
	}
	var named api.Devices
	if err := c.call(ctx, "GET", "/api/user/devices", nil, &named); err != nil {
		return nil, err
	}
	status, err := c.refreshLists(ctx, me.Account)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	p, err := c.pin(me.Account)
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	list, err := p.open()
	if err != nil {
		return nil, err
	}
	out := make([]Device, 0, len(list.Devices))
	for _, listed := range list.Devices {
		id := api.WireDeviceID(listed.ID)
		d := Device{WireDevice: id, AddedAt: listed.AddedAt, State: api.DeviceActive, Current: id == me.WireDevice}
		for _, n := range named.Devices {
			if n.WireDeviceID == id {
				d.ID, d.Name, d.SeenAt = n.DeviceID, n.Name, n.SeenAt
			}
		}
		for _, s := range status {
			if s.DeviceID == id {
				d.State = s.State
			}
		}
		out = append(out, d)
	}
	return out, nil
}

// find is the device of that number.
func (c *Client) find(ctx context.Context, id api.WireDeviceID) (Device, error) {
	all, err := c.Devices(ctx)
	if err != nil {
		return Device{}, err
	}
	i := slices.IndexFunc(all, func(d Device) bool { return d.WireDevice == id && !d.ID.IsZero() })
	if i < 0 {
		return Device{}, fail(api.CodeNotFound, "The account has no device with the number %d.", id)
	}
	return all[i], nil
}

// RenameDevice gives one of the account's devices another name, for its owner. Errors: api.CodeNotFound, api.CodeInvalid.
func (c *Client) RenameDevice(ctx context.Context, id api.WireDeviceID, name string) error {
	d, err := c.find(ctx, id)
	if err != nil {
		return err
	}
	return c.call(ctx, "PATCH", devicePath(d), api.RenameDeviceRequest{Name: name}, nil)
}

func devicePath(d Device) string { return "/api/user/devices/" + d.ID.String() }

// RemoveDevice takes a device out of the account: the next signed list lacks it, and a new archive epoch begins, whose
// key it never gets. It may be this one, which is of no more use then. pending tells that the chat service has not
// recorded the removal yet and will do so by itself; the device can do nothing any more either way.
//
// Errors: [ErrWrongLogin], api.CodeNotFound, CodeBundle, the list codes.
func (c *Client) RemoveDevice(ctx context.Context, id api.WireDeviceID, password string) (pending bool, err error) {
	d, err := c.find(ctx, id)
	if err != nil {
		return false, err
	}
	res, err := c.amend(ctx, password, func(o *opened, auth string) (amendment, error) {
		gone := func(listed e2ee.ListedDevice) bool { return listed.ID == uint32(id) }
		if !slices.ContainsFunc(o.list.Devices, gone) {
			return amendment{}, fail(api.CodeNotFound, "The account has no device with the number %d any more.", id)
		}
		o.list.Devices = slices.DeleteFunc(o.list.Devices, gone)
		list, err := o.sign(c)
		if err != nil {
			return amendment{}, err
		}
		if err := o.beginEpoch(c); err != nil {
			return amendment{}, err
		}
		v, err := o.seal(c)
		return amendment{
			proposal: proposal{Vault: v, List: &list}, method: "POST", path: devicePath(d) + "/remove",
			request: api.RemoveDeviceRequest{Proof: auth, List: list, Bundle: v.bundle()},
		}, err
	})
	if err == nil && d.Current {
		err = c.stopped(ErrDeviceGone)
	}
	return res.Pending, err
}
