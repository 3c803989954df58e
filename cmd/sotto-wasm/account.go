//go:build js

package main

import (
	"context"

	"sotto/api"
	"sotto/client"
)

type deviceJSON struct {
	ID         api.DeviceID     `json:"device_id"`
	WireDevice api.WireDeviceID `json:"wire_device_id"`
	Name       string           `json:"name"`
	AddedAt    int64            `json:"added_at"`
	SeenAt     int64            `json:"seen_at"`
	State      string           `json:"state"`
	Current    bool             `json:"current"`
}

type devicesResult struct {
	Devices []deviceJSON `json:"devices"`
}

type renameArgs struct {
	WireDevice api.WireDeviceID `json:"wire_device_id"`
	Name       string           `json:"name"`
}

type removeArgs struct {
	WireDevice api.WireDeviceID `json:"wire_device_id"`
	Password   string           `json:"password"`
}

type pendingResult struct {
	Pending bool `json:"pending"`
}

type passwordArgs struct {
	Password      string `json:"password"`
	NewPassword   string `json:"new_password"`
	RecoveryCode  string `json:"recovery_code"`
	SignOutOthers bool   `json:"sign_out_others"`
}

type confirmArgs struct {
	RecoveryCode string         `json:"recovery_code"`
	Groups       map[int]string `json:"groups"`
}

type recoveryStateResult struct {
	State client.RecoveryState `json:"state"`
}

type recoverArgs struct {
	Username     string `json:"username"`
	RecoveryCode string `json:"recovery_code"`
	NewPassword  string `json:"new_password"`
	NewCode      string `json:"new_recovery_code"`
	DeviceName   string `json:"device_name"`
}

type resetArgs struct {
	Code        string `json:"code"`
	NewPassword string `json:"new_password"`
	NewCode     string `json:"new_recovery_code"`
	DeviceName  string `json:"device_name"`
}

type mailResetArgs struct {
	Name string `json:"name"`
}

func devices(ctx context.Context, c *client.Client, _ none) (devicesResult, error) {
	all, err := c.Devices(ctx)
	out := make([]deviceJSON, 0, len(all))
	for _, d := range all {
		out = append(out, deviceJSON(d))
	}
	return devicesResult{out}, err
}

func renameDevice(ctx context.Context, c *client.Client, a renameArgs) (none, error) {
	return none{}, c.RenameDevice(ctx, a.WireDevice, a.Name)
}

func removeDevice(ctx context.Context, c *client.Client, a removeArgs) (pendingResult, error) {
	pending, err := c.RemoveDevice(ctx, a.WireDevice, a.Password)
	return pendingResult{pending}, err
}

func changePassword(ctx context.Context, c *client.Client, a passwordArgs) (pendingResult, error) {
	pending, err := c.ChangePassword(ctx, client.PasswordOptions(a))
	return pendingResult{pending}, err
}

func newRecoveryCode(_ context.Context, c *client.Client, _ none) (registerResult, error) {
	code, err := c.NewRecoveryCode()
	return registerResult{RecoveryCode: code}, err
}

func confirmRecoveryCode(_ context.Context, c *client.Client, a confirmArgs) (none, error) {
	return none{}, c.ConfirmRecoveryCode(a.RecoveryCode, a.Groups)
}

func recoveryState(_ context.Context, c *client.Client, _ none) (recoveryStateResult, error) {
	s, err := c.RecoveryState()
	return recoveryStateResult{s}, err
}

func recoverAccount(ctx context.Context, c *client.Client, a recoverArgs) (accountResult, error) {
	if err := c.Recover(ctx, client.RecoverOptions(a)); err != nil {
		return accountResult{}, err
	}
	return accountOf(c), nil
}

func mailReset(ctx context.Context, c *client.Client, a mailResetArgs) (none, error) {
	return none{}, c.MailReset(ctx, a.Name)
}

func reset(ctx context.Context, c *client.Client, a resetArgs) (accountResult, error) {
	if _, err := c.Reset(ctx, client.ResetOptions(a)); err != nil {
		return accountResult{}, err
	}
	return accountOf(c), nil
}
