package security_test

import (
	"net/http"
	"strings"

	"sotto/api"
	"sotto/test/contract/rest"
)

// moreRows are the operations of recovery, removal, reset, archive and account state.
func (c *cast) moreRows() []row {
	call := func(method, path string, body any) func(*role) rest.Request {
		return func(as *role) rest.Request {
			r := rest.Request{Method: method, Path: path, Generation: as.device.Generation}
			if body != nil {
				r.Body = rest.JSON(c.t, body)
			}
			return r
		}
	}
	get := func(path string) func(*role) rest.Request { return call(http.MethodGet, path, nil) }
	password := func(*role) rest.Request {
		return call(http.MethodPut, "/api/user/password", c.newcomer.Owner.Copy().NewPassword(c.t, c.newcomer.Owner.Auth))(c.roles["owner"])
	}
	rows := []row{
		{"archive", "", get("/api/chat/archive"), withDevice(ok, ok, ok)},
		{"states", "", get("/api/chat/state"), withDevice(ok, ok, ok)},
		{"owed", "", get("/api/chat/owed"), withDevice(ok, ok, ok)},
		{"presence", "", get("/api/chat/presence"), withDevice(ok, ok, ok)},
		{"find", "", call(http.MethodPost, "/api/user/find", api.FindRequest{Prefix: "roles-"}), withDevice(ok, ok, ok)},
		{"delivered", "foreign", call(http.MethodPost, "/api/chat/delivered",
			api.DeliveredRequest{ConversationID: c.theirs, MessageIDs: []api.MessageID{c.theirMessage}}), withDevice(notFound, notFound, notFound)},
		{"delivered", "random", call(http.MethodPost, "/api/chat/delivered", api.DeliveredRequest{
			ConversationID: rest.Random[api.ConversationID](c.t), MessageIDs: []api.MessageID{c.theirMessage},
		}), withDevice(notFound, notFound, notFound)},
		{"settings", "", get("/api/chat/settings"), withDevice(ok, ok, ok)},
		{"putSettings", "", call(http.MethodPut, "/api/chat/settings", api.ChatSettings{Archive: api.ArchiveEverything}), withDevice(ok, ok, ok)},
		{"putState", "", call(http.MethodPut, "/api/chat/state", stateOf(1)), withDevice(done, done, done)},
		{"recoveryStart", "known", call(http.MethodPost, "/api/user/recovery/start", api.RecoveryStartRequest{Name: "roles-carol"}), everyone(ok)},
		{"recoveryStart", "unknown", call(http.MethodPost, "/api/user/recovery/start", api.RecoveryStartRequest{Name: "roles-nobody"}), everyone(ok)},
		{"recoveryFinish", "made-up attempt", call(http.MethodPost, "/api/user/recovery/finish",
			api.RecoveryFinishRequest{Attempt: "x", RecoveryAuth: make([]byte, 32), RenewalHash: make([]byte, 32)}), everyone(bad)},
		{"putPassword", "foreign", password, signedIn(bad, bad, bad, bad)},
		{"putPassword", "random", password, signedIn(bad, bad, bad, bad)},
		{"startEmail", "wrong proof", func(as *role) rest.Request {
			return call(http.MethodPost, "/api/user/email/start", api.EmailStartRequest{
				Address: "nobody@example.org", Proof: strings.Repeat("A", api.AuthLength),
			})(as)
		}, withDevice(wrongProof, wrongProof, wrongProof)},
		{"putEmail", "foreign", call(http.MethodPut, "/api/user/email", c.carol.Owner.Copy().Email(c.t, "12345678")), withDevice(bad, bad, bad)},
		{"putEmail", "random", call(http.MethodPut, "/api/user/email", c.newcomer.Owner.Copy().Email(c.t, "12345678")), withDevice(bad, bad, bad)},
		{"removeEmail", "foreign", call(http.MethodPost, "/api/user/email/remove", c.carol.Owner.Copy().EmailRemoval(c.t)), withDevice(bad, bad, bad)},
		{"removeEmail", "random", call(http.MethodPost, "/api/user/email/remove", c.newcomer.Owner.Copy().EmailRemoval(c.t)), withDevice(bad, bad, bad)},
		{"mailReset", "unknown", func(as *role) rest.Request {
			return call(http.MethodPost, "/api/user/reset/mail", api.MailResetRequest{Name: "roles-no-" + as.name})(as)
		}, everyone(ok)},
		{"resetStart", "made-up code", call(http.MethodPost, "/api/user/reset/start", api.ResetStartRequest{Code: "x"}), everyone(wrongCode)},
		{"restoredStart", "never restored", call(http.MethodPost, "/api/user/restored/start",
			api.RestoredStartRequest{AccountID: c.knownOther}), everyone(forbidden)},
		{"restoredDevice", "never restored", call(http.MethodPost, "/api/user/restored/device", c.newcomer.Restored(c.t)), everyone(forbidden)},
		{"restoredLists", "never restored", call(http.MethodPost, "/api/user/restored/lists", c.carol.Owner.Chain()),
			withDevice(forbidden, forbidden, forbidden)},
		{"restoredBundle", "foreign", call(http.MethodPut, "/api/user/restored/bundle",
			api.RestoredBundle{Bundle: c.carol.Owner.Seal(c.t, 2)}), withDevice(forbidden, forbidden, forbidden)},
		{"restoredBundle", "random", call(http.MethodPut, "/api/user/restored/bundle",
			api.RestoredBundle{Bundle: c.newcomer.Owner.Seal(c.t, 2)}), withDevice(forbidden, forbidden, forbidden)},
		{"reset", "made-up code", call(http.MethodPost, "/api/user/reset", c.resetOf("x")), everyone(wrongCode)},
	}
	for object, id := range map[string]api.DeviceID{"foreign": c.carol.ID, "random": rest.Random[api.DeviceID](c.t)} {
		path := "/api/user/devices/" + id.String()
		rows = append(rows,
			row{"renameDevice", object, call(http.MethodPatch, path, api.RenameDeviceRequest{Name: "mine now"}),
				signedIn(notFound, notFound, notFound, notFound)},
			row{"removeDevice", object, func(as *role) rest.Request {
				return call(http.MethodPost, path+"/remove", as.device.Owner.Copy().Removal(c.t, as.device))(as)
			}, signedIn(notFound, notFound, notFound, notFound)})
	}
	for object, message := range map[string]api.MessageID{"foreign": c.theirMessage, "random": rest.Random[api.MessageID](c.t)} {
		record := rest.RecordOf(c.theirs, message)
		rows = append(rows, row{"putRecord", object,
			call(http.MethodPut, "/api/chat/archive/"+c.theirs.String()+"/"+message.String(), api.RecordUpdate{Revision: 1, KeyEpoch: record.KeyEpoch, Sealed: record.Sealed}),
			withDevice(notFound, notFound, notFound)},
			row{"eraseRecord", object, // of nobody but oneself, so there is nothing to find out
				call(http.MethodDelete, "/api/chat/archive/"+c.theirs.String()+"/"+message.String()+"?for_all=true", nil),
				withDevice(done, done, done)})
	}
	return rows
}

// resetOf is a complete reset with a code that nobody was given.
func (c *cast) resetOf(code string) api.ResetRequest {
	r := c.newcomer.Owner.Registration(c.t)
	return api.ResetRequest{
		Code: code, Method: r.Method, Salt: r.Salt, Iterations: r.Iterations, Auth: r.Auth, RecoveryVerifier: r.RecoveryVerifier,
		RenewalHash: r.RenewalHash, AccountKey: r.AccountKey, List: r.List, Device: r.Device, Bundle: api.Bundle{Version: 2, Sealed: r.Bundle},
	}
}

// stateOf is a piece of account state; the server cannot tell what is sealed in it.
func stateOf(version uint64) api.State {
	return api.State{Name: "profile", Version: version, KeyEpoch: 1, Sealed: rest.RecordOf(api.ConversationID{1}, api.MessageID{1}).Sealed}
}

// moreValid are the requests with a body of the same operations; see valid.
func (w *target) moreValid(into map[string]rest.Request) {
	add := func(operation, method, path string, body any) {
		into[operation] = rest.Request{
			Method: method, Path: path, Token: w.mallory.Login.Token, Generation: w.mallory.Generation, Body: rest.JSON(w.t, body),
		}
	}
	own, record := "/api/user/devices/"+w.mallory.ID.String(), rest.RecordOf(w.shared, w.first.MessageID)
	fresh := &cast{t: w.t, newcomer: rest.NewPerson(w.t, "bad-reset").Devices[0]}
	add("recoveryStart", http.MethodPost, "/api/user/recovery/start", api.RecoveryStartRequest{Name: "bad-bob"})
	add("recoveryFinish", http.MethodPost, "/api/user/recovery/finish",
		api.RecoveryFinishRequest{Attempt: "x", RecoveryAuth: make([]byte, 32), RenewalHash: make([]byte, 32)})
	add("putPassword", http.MethodPut, "/api/user/password", w.mallory.Owner.Copy().NewPassword(w.t, w.mallory.Owner.Auth))
	add("startEmail", http.MethodPost, "/api/user/email/start", api.EmailStartRequest{Address: "a@example.org", Proof: w.mallory.Owner.Auth})
	add("putEmail", http.MethodPut, "/api/user/email", w.mallory.Owner.Copy().Email(w.t, "12345678"))
	add("removeEmail", http.MethodPost, "/api/user/email/remove", w.mallory.Owner.Copy().EmailRemoval(w.t))
	add("mailReset", http.MethodPost, "/api/user/reset/mail", api.MailResetRequest{Name: "bad-bob"})
	add("resetStart", http.MethodPost, "/api/user/reset/start", api.ResetStartRequest{Code: "x"})
	add("reset", http.MethodPost, "/api/user/reset", fresh.resetOf("x"))
	add("renameDevice", http.MethodPatch, own, api.RenameDeviceRequest{Name: "renamed"})
	add("removeDevice", http.MethodPost, own+"/remove", w.mallory.Owner.Copy().Removal(w.t, w.mallory))
	add("restoredStart", http.MethodPost, "/api/user/restored/start", api.RestoredStartRequest{AccountID: w.mallory.Owner.ID})
	add("restoredDevice", http.MethodPost, "/api/user/restored/device", w.mallory.Restored(w.t))
	add("restoredLists", http.MethodPost, "/api/user/restored/lists", w.mallory.Owner.Chain())
	add("restoredBundle", http.MethodPut, "/api/user/restored/bundle", api.RestoredBundle{Bundle: w.mallory.Owner.Seal(w.t, 2)})
	add("putSettings", http.MethodPut, "/api/chat/settings", api.ChatSettings{Archive: api.ArchiveNothing})
	add("putState", http.MethodPut, "/api/chat/state", stateOf(1))
	add("putRecord", http.MethodPut, "/api/chat/archive/"+w.shared.String()+"/"+w.first.MessageID.String(),
		api.RecordUpdate{Revision: 1, KeyEpoch: record.KeyEpoch, Sealed: record.Sealed})
}
