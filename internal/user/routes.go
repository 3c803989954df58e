package user

import (
	"net/http"
	"time"

	"sotto/api"
	"sotto/internal/httpx"
	"sotto/internal/limit"
)

// Limits that this service counts. Those of public routes are per address, the others per account unless stated.
const (
	limitRegister     limit.Name = "register"
	limitLoginStart   limit.Name = "login start"
	limitLoginFinish  limit.Name = "login finish"
	limitLoginAccount limit.Name = "login by account" // per name tried, known or not
	limitRenew        limit.Name = "renew"
	limitLookup       limit.Name = "lookup"
	limitFind         limit.Name = "find"
	limitLists        limit.Name = "lists"
	limitAddDevice    limit.Name = "add device"
	limitUpload       limit.Name = "prekey upload"
	limitClaim        limit.Name = "prekey claim" // per asking account and account asked for
	limitBundle       limit.Name = "bundle"

	limitRecoveryStart   limit.Name = "recovery start"
	limitRecoveryFinish  limit.Name = "recovery finish"
	limitRecoveryAccount limit.Name = "recovery by account" // per name tried, known or not
	limitPassword        limit.Name = "password"            // per address; guesses count as those of a login do
	limitDevice          limit.Name = "device"
	limitEmail           limit.Name = "email"
	limitEmailChange     limit.Name = "email change"
	limitReset           limit.Name = "reset"
	limitResetMail       limit.Name = "reset mail"
	limitResetName       limit.Name = "reset mail by name" // per name or address tried, known or not
	limitRestored        limit.Name = "give back"          // after a restore of the server
)

// Rates are the limits of this service. Nobody is ever locked out for longer than it takes to get one more try.
func Rates() map[limit.Name]limit.Rate {
	return map[limit.Name]limit.Rate{
		limitRegister:     {Count: 60, Per: time.Hour, Burst: 60},
		limitLoginStart:   {Count: 300, Per: time.Hour, Burst: 100},
		limitLoginFinish:  {Count: 100, Per: time.Hour, Burst: 100},
		limitLoginAccount: {Count: 10, Per: time.Hour, Burst: 10},
		limitRenew:        {Count: 2000, Per: time.Hour, Burst: 500, Open: true},
		limitLookup:       {Count: 120, Per: time.Hour, Burst: 60, Open: true},
		limitFind:         {Count: 600, Per: time.Hour, Burst: 60, Open: true},
		limitLists:        {Count: 3600, Per: time.Hour, Burst: 300, Open: true},
		limitAddDevice:    {Count: 20, Per: time.Hour, Burst: 20},
		limitUpload:       {Count: 60, Per: time.Hour, Burst: 20, Open: true},
		limitClaim:        {Count: 60, Per: time.Hour, Burst: 60, Open: true},
		limitBundle:       {Count: 120, Per: time.Hour, Burst: 60, Open: true},

		limitRecoveryStart:   {Count: 100, Per: time.Hour, Burst: 50},
		limitRecoveryFinish:  {Count: 60, Per: time.Hour, Burst: 30},
		limitRecoveryAccount: {Count: 10, Per: time.Hour, Burst: 10},
		limitPassword:        {Count: 60, Per: time.Hour, Burst: 30},
		limitDevice:          {Count: 60, Per: time.Hour, Burst: 30},
		limitEmail:           {Count: 20, Per: time.Hour, Burst: 20}, // each sends a mail to whatever address is named
		limitEmailChange:     {Count: 80, Per: time.Hour, Burst: 40},
		limitReset:           {Count: 60, Per: time.Hour, Burst: 30},
		limitResetMail:       {Count: 20, Per: time.Hour, Burst: 10},
		limitResetName:       {Count: 6, Per: 24 * time.Hour, Burst: 3}, // mails that nobody may have asked for
		limitRestored:        {Count: 1200, Per: time.Hour, Burst: 300, Open: true},
	}
}

// Routes is the service's table.
func (s *Service) Routes() []httpx.Route {
	const get, post, put, patch = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch
	const large = api.MaxRegistrationBody
	const public, signedIn, withDevice = httpx.Public, httpx.SignedIn, httpx.WithDevice
	return []httpx.Route{
		{Method: get, Pattern: "/api/info", Role: public, Handle: httpx.NoBody(s.Info)},
		{
			Method: post, Pattern: "/api/user/register", Role: public, Limit: limitRegister, MaxBody: large,
			Handle: s.handleRegister,
		},
		{
			Method: post, Pattern: "/api/user/login/start", Role: public, Limit: limitLoginStart,
			Handle: httpx.JSON(s.LoginStart),
		},
		{
			Method: post, Pattern: "/api/user/login/finish", Role: public, Limit: limitLoginFinish,
			Handle: s.handleLoginFinish,
		},
		{Method: post, Pattern: "/api/user/login/renew", Role: public, Limit: limitRenew, Handle: s.handleLoginRenew},
		{
			Method: post, Pattern: "/api/user/recovery/start", Role: public, Limit: limitRecoveryStart,
			Handle: httpx.JSON(s.RecoveryStart),
		},
		{
			Method: post, Pattern: "/api/user/recovery/finish", Role: public, Limit: limitRecoveryFinish,
			Handle: s.handleRecoveryFinish,
		},
		{
			Method: put, Pattern: "/api/user/password", Role: public, Limit: limitPassword,
			Handle: s.handlePutPassword,
		},
		{
			Method: post, Pattern: "/api/user/email/start", Role: withDevice, Limit: limitEmail,
			Handle: s.handleStartEmail,
		},
		{Method: put, Pattern: "/api/user/email", Role: withDevice, Limit: limitEmailChange, Handle: s.handlePutEmail},
		{
			Method: post, Pattern: "/api/user/email/remove", Role: withDevice, Limit: limitEmailChange,
			Handle: s.handleRemoveEmail,
		},
		{
			Method: post, Pattern: "/api/user/reset/start", Role: public, Limit: limitReset,
			Handle: httpx.JSON(s.ResetStart),
		},
		{
			Method: post, Pattern: "/api/user/reset/mail", Role: public, Limit: limitResetMail,
			Handle: httpx.JSON(s.MailReset),
		},
		{
			Method: post, Pattern: "/api/user/reset", Role: public, Limit: limitReset, MaxBody: large,
			Handle: s.handleReset,
		},
		{Method: post, Pattern: "/api/user/logout", Role: signedIn, Handle: s.handleLogout},
		{Method: get, Pattern: "/api/user/me", Role: signedIn, Handle: httpx.NoBody(s.Me)},
		{Method: post, Pattern: "/api/user/lookup", Role: withDevice, Limit: limitLookup, Handle: httpx.JSON(s.Lookup)},
		{Method: post, Pattern: "/api/user/find", Role: withDevice, Limit: limitFind, Handle: httpx.JSON(s.Find)},
		{Method: post, Pattern: "/api/user/lists", Role: withDevice, Limit: limitLists, Handle: httpx.JSON(s.Lists)},
		{Method: get, Pattern: "/api/user/devices", Role: signedIn, Handle: httpx.NoBody(s.Devices)},
		{
			Method: post, Pattern: "/api/user/devices", Role: signedIn, Limit: limitAddDevice, MaxBody: large,
			Handle: s.handleAddDevice,
		},
		{
			Method: patch, Pattern: "/api/user/devices/{id}", Role: signedIn, Limit: limitDevice,
			Handle: s.handleRenameDevice,
		},
		{
			Method: post, Pattern: "/api/user/devices/{id}/remove", Role: signedIn, Limit: limitDevice,
			Handle: s.handleRemoveDevice,
		},
		{Method: get, Pattern: "/api/user/prekeys", Role: withDevice, Handle: httpx.NoBody(s.CountPreKeys)},
		{
			Method: post, Pattern: "/api/user/prekeys", Role: withDevice, Limit: limitUpload, MaxBody: large,
			Handle: httpx.JSON(s.UploadPreKeys),
		},
		{
			Method: post, Pattern: "/api/user/prekeys/claim", Role: withDevice,
			Handle: httpx.JSON(s.ClaimPreKeys),
		},
		{
			Method: post, Pattern: "/api/user/restored/start", Role: public, Limit: limitRestored,
			Handle: httpx.JSON(s.RestoreStart),
		},
		{
			Method: post, Pattern: "/api/user/restored/device", Role: public, Limit: limitRestored, MaxBody: large,
			Handle: s.handleRestoreDevice,
		},
		{
			Method: post, Pattern: "/api/user/restored/lists", Role: withDevice, Limit: limitRestored, MaxBody: large,
			Handle: httpx.JSON(s.RestoreLists),
		},
		{
			Method: put, Pattern: "/api/user/restored/bundle", Role: withDevice, Limit: limitRestored,
			Handle: s.handleRestoreBundle,
		},
		{Method: get, Pattern: "/api/user/bundle", Role: signedIn, Handle: httpx.NoBody(s.Bundle)},
		{Method: put, Pattern: "/api/user/bundle", Role: withDevice, Limit: limitBundle, Handle: s.handlePutBundle},
	}
}
