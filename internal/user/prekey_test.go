package user_test

import (
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sotto/api"
	"sotto/e2ee"
	"sotto/internal/limit/local"
	"sotto/internal/user"
)

const (
	preKeysPath = "/api/user/prekeys"
	claimPath   = "/api/user/prekeys/claim"
)

func (w *world) claim(by *device, of *person) []api.PreKeyBundle {
	w.t.Helper()
	var res api.ClaimResponse
	w.must(http.MethodPost, claimPath, by.login.Token, api.ClaimRequest{AccountID: of.id}, &res)
	return res.Bundles
}

// checkBundle does what a client does before it starts a session.
func checkBundle(t *testing.T, d *device, b api.PreKeyBundle) {
	t.Helper()
	statement, err := e2ee.SignedStatement(b.Statement).Open(d.keys.Public)
	if err != nil {
		t.Fatal(err)
	}
	bundle := e2ee.PreKeyBundle{
		Address: e2ee.Address{Account: d.owner.id, Device: uint32(b.DeviceID)}, RegistrationID: b.RegistrationID,
		IdentityKey: d.keys.Public, SignedPreKeyID: b.SignedPreKey.ID, SignedPreKey: e2ee.PublicKey(b.SignedPreKey.Key),
		KyberPreKeyID: b.KyberPreKey.ID, KyberPreKey: b.KyberPreKey.Key,
		SignedPreKeySignature: e2ee.Signature(b.SignedPreKey.Signature), KyberPreKeySignature: e2ee.Signature(b.KyberPreKey.Signature),
	}
	if err := statement.Check(bundle, start); err != nil {
		t.Error(err)
	}
	local := e2ee.Local{Address: e2ee.Address{Account: [16]byte{1}, Device: 1}, Identity: d.keys, RegistrationID: 1}
	if err := e2ee.NewSession().Initiate(newSeeded(9), local, bundle, start); err != nil {
		t.Error(err)
	}
	if statement.LastResortID != b.LastResort.ID || statement.LastResortHash != e2ee.PreKeyHash(b.LastResort.Key) {
		t.Error("the last-resort prekey is not the one of the statement")
	}
}

func TestClaimsRunOutAndFallBackToTheLastResort(t *testing.T) {
	w, alice, bob := newWorld(t)
	seen := map[uint32]bool{}
	for n := range oneTime + 1 {
		bundles := w.claim(alice.devices[0], bob)
		if len(bundles) != 1 {
			t.Fatalf("%d bundles", len(bundles))
		}
		b := bundles[0]
		checkBundle(t, bob.devices[0], b)
		if n < oneTime {
			if b.OneTimePreKey == nil || seen[b.OneTimePreKey.ID] || seen[b.KyberPreKey.ID] {
				t.Errorf("claim %d got %+v again", n, b.OneTimePreKey)
				continue
			}
			seen[b.OneTimePreKey.ID], seen[b.KyberPreKey.ID] = true, true
		} else if diff := cmp.Diff(b.LastResort, b.KyberPreKey); b.OneTimePreKey != nil || diff != "" {
			t.Errorf("after the last one-time prekey: %+v", b)
		}
	}
	var count api.PreKeyCount
	w.must(http.MethodGet, preKeysPath, bob.devices[0].login.Token, nil, &count)
	if count != (api.PreKeyCount{}) {
		t.Errorf("%+v", count)
	}
}

func TestClaimTakesFromCurrentDevicesOfTheAccount(t *testing.T) {
	w, alice, bob := newWorld(t)
	second := w.addDevice(bob, 1)
	ids := func(bundles []api.PreKeyBundle) (out []api.WireDeviceID) {
		for _, b := range bundles {
			out = append(out, b.DeviceID)
		}
		return out
	}
	claim := func(by *device, devices ...api.WireDeviceID) []api.WireDeviceID {
		var res api.ClaimResponse
		w.must(http.MethodPost, claimPath, by.login.Token, api.ClaimRequest{AccountID: bob.id, DeviceIDs: devices}, &res)
		if diff := cmp.Diff([]api.SignedList{api.SignedList(bob.signed)}, res.Lists.Lists); diff != "" {
			t.Error(diff)
		}
		return ids(res.Bundles)
	}
	a := alice.devices[0]
	if got := claim(a); !slices.Equal(got, []api.WireDeviceID{1, 2}) {
		t.Errorf("all: %v", got)
	}
	if got := claim(a, 2, 77); !slices.Equal(got, []api.WireDeviceID{2}) {
		t.Errorf("named: %v", got)
	}
	if got := claim(second); !slices.Equal(got, []api.WireDeviceID{1}) {
		t.Errorf("own account: %v", got)
	}
	w.must(http.MethodPost, logoutPath, second.login.Token, nil, nil)
	if got := claim(a); !slices.Equal(got, []api.WireDeviceID{1}) {
		t.Errorf("after one signed out: %v", got)
	}
	for _, devices := range [][]api.WireDeviceID{{0}, {128}, {1, 1}, make([]api.WireDeviceID, api.MaxDevices+1)} {
		w.refused(api.CodeInvalid, http.MethodPost, claimPath, a.login.Token, api.ClaimRequest{AccountID: bob.id, DeviceIDs: devices})
	}
	w.refused(api.CodeNotFound, http.MethodPost, claimPath, a.login.Token, api.ClaimRequest{AccountID: api.AccountID{5}})
}

func TestClaimsAreLimitedByPair(t *testing.T) {
	w, alice, bob := newWorld(t)
	rates := user.Rates()
	limiter, err := local.New(w.clock.Now, rates)
	if err != nil {
		t.Fatal(err)
	}
	w.service.Allow = limiter.Allow
	a, b := alice.devices[0], bob.devices[0]
	burst := rates["prekey claim"].Burst
	for range burst {
		w.claim(a, bob)
	}
	p := w.refused(api.CodeLimited, http.MethodPost, claimPath, a.login.Token, api.ClaimRequest{AccountID: bob.id})
	if p.RetryAfter == 0 {
		t.Errorf("%+v", p)
	}
	w.claim(b, alice) // another pair
	w.claim(a, alice)
	w.clock.advance(time.Minute)
	w.claim(a, bob)
}

// TestPreKeysAreHandedOutOnce drives claims at the same time, uploads, and uploads of ids that were used before, in
// random order. No id of either sort may ever come out twice.
func TestPreKeysAreHandedOutOnce(t *testing.T) {
	w, alice, bob := newWorld(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	d := bob.devices[0]
	handedOut := map[string]map[uint32]bool{"ec": {}, "kyber": {}}
	hand := func(sort string, id uint32) {
		if handedOut[sort][id] {
			t.Fatalf("%s prekey %d came out twice", sort, id)
		}
		handedOut[sort][id] = true
	}
	var earlier []api.PreKeyUpload
	for range 120 {
		if random.IntN(3) == 0 {
			fresh := d.upload(random.IntN(4))
			up := fresh
			if len(earlier) > 0 { // some ids again, which wait or were handed out
				old := earlier[random.IntN(len(earlier))]
				up.OneTimePreKeys = slices.Concat(fresh.OneTimePreKeys, old.OneTimePreKeys)
				up.KyberPreKeys = slices.Concat(fresh.KyberPreKeys, old.KyberPreKeys)
			}
			earlier = append(earlier, fresh)
			w.must(http.MethodPost, preKeysPath, d.login.Token, up, &api.PreKeyCount{})
			continue
		}
		bodies := make([][]byte, 1+random.IntN(4))
		var wg sync.WaitGroup
		for i := range bodies {
			wg.Go(func() {
				bodies[i] = w.send(http.MethodPost, claimPath, alice.devices[0].login.Token, marshal(t, api.ClaimRequest{AccountID: bob.id})).Body.Bytes()
			})
		}
		wg.Wait()
		for _, body := range bodies {
			var res api.ClaimResponse
			unmarshal(t, body, &res)
			b := res.Bundles[0]
			if b.OneTimePreKey != nil {
				hand("ec", b.OneTimePreKey.ID)
			}
			if b.KyberPreKey.ID != b.LastResort.ID {
				hand("kyber", b.KyberPreKey.ID)
			}
		}
	}
	if len(handedOut["ec"]) <= oneTime || len(handedOut["kyber"]) <= oneTime {
		t.Errorf("only %d prekeys came out", len(handedOut["ec"]))
	}
	if w.count("SELECT count(*) FROM prekey WHERE claimed_at IS NOT NULL AND public_key IS NULL") == 0 {
		t.Error("no upload dropped the keys that were handed out")
	}
}

func TestUploadReplacesAndAdds(t *testing.T) {
	w, alice, bob := newWorld(t)
	d := bob.devices[0]
	up := d.upload(2)
	var count api.PreKeyCount
	for range 2 { // the same upload again changes nothing
		w.must(http.MethodPost, preKeysPath, d.login.Token, up, &count)
		if want := (api.PreKeyCount{OneTimePreKeys: oneTime + 2, KyberPreKeys: oneTime + 2}); count != want {
			t.Errorf("%+v, want %+v", count, want)
		}
	}
	b := w.claim(alice.devices[0], bob)[0]
	checkBundle(t, d, b)
	if diff := cmp.Diff(up.SignedPreKey, b.SignedPreKey) + cmp.Diff(up.LastResort, b.LastResort) + cmp.Diff(up.Statement, b.Statement); diff != "" {
		t.Error(diff)
	}
	// A used id with another key is ignored, not replaced.
	again := d.upload(0)
	again.OneTimePreKeys = []api.OneTimeKey{{ID: b.OneTimePreKey.ID, Key: d.upload(1).OneTimePreKeys[0].Key}}
	again.Statement = d.state(again)
	w.must(http.MethodPost, preKeysPath, d.login.Token, again, &count)
	if want := (api.PreKeyCount{OneTimePreKeys: oneTime + 1, KyberPreKeys: oneTime + 1}); count != want {
		t.Errorf("%+v, want %+v", count, want)
	}
}

func TestBadUploadsChangeNothing(t *testing.T) {
	w, alice, bob := newWorld(t)
	d, stranger := bob.devices[0], alice.devices[0]
	good := d.upload(2)
	restate := func(change func(u *api.PreKeyUpload)) func(u *api.PreKeyUpload) {
		return func(u *api.PreKeyUpload) { change(u); u.Statement = d.state(*u) }
	}
	dated := func(at time.Time) func(u *api.PreKeyUpload) {
		return func(u *api.PreKeyUpload) {
			seen := d.seen
			d.seen = at.UnixMilli()
			u.Statement = d.state(*u)
			d.seen = seen
		}
	}
	for name, bad := range map[string]struct {
		code   string
		change func(u *api.PreKeyUpload)
	}{
		"signed prekey signature":  {api.CodeSignature, func(u *api.PreKeyUpload) { u.SignedPreKey.Signature = flip(u.SignedPreKey.Signature) }},
		"no signature":             {api.CodeSignature, func(u *api.PreKeyUpload) { u.SignedPreKey.Signature = nil }},
		"signed prekey length":     {api.CodeInvalid, func(u *api.PreKeyUpload) { u.SignedPreKey.Key = u.SignedPreKey.Key[1:] }},
		"signed prekey type":       {api.CodeInvalid, func(u *api.PreKeyUpload) { u.SignedPreKey.Key = append([]byte{6}, u.SignedPreKey.Key[1:]...) }},
		"signed prekey replaced":   {api.CodeInvalid, func(u *api.PreKeyUpload) { u.SignedPreKey = d.upload(0).SignedPreKey }},
		"signed prekey id":         {api.CodeInvalid, func(u *api.PreKeyUpload) { u.SignedPreKey.ID++ }},
		"last resort signature":    {api.CodeSignature, func(u *api.PreKeyUpload) { u.LastResort.Signature = flip(u.LastResort.Signature) }},
		"last resort length":       {api.CodeInvalid, func(u *api.PreKeyUpload) { u.LastResort.Key = u.LastResort.Key[1:] }},
		"last resort id":           {api.CodeInvalid, func(u *api.PreKeyUpload) { u.LastResort.ID++ }},
		"last resort replaced":     {api.CodeInvalid, func(u *api.PreKeyUpload) { id := u.LastResort.ID; u.LastResort = d.kyber(); u.LastResort.ID = id }},
		"last resort is one-time":  {api.CodeInvalid, restate(func(u *api.PreKeyUpload) { u.LastResort = u.KyberPreKeys[0] })},
		"last resort was one-time": {api.CodeConflict, restate(func(u *api.PreKeyUpload) { u.LastResort.ID = 4 })},
		"statement signature":      {api.CodeSignature, func(u *api.PreKeyUpload) { u.Statement.Signature = flip(u.Statement.Signature) }},
		"statement of another":     {api.CodeSignature, func(u *api.PreKeyUpload) { u.Statement = stranger.state(*u) }},
		"no statement":             {api.CodeInvalid, func(u *api.PreKeyUpload) { u.Statement = api.SignedStatement{} }},
		"statement too old":        {api.CodeInvalid, dated(start.Add(-31 * 24 * time.Hour))},
		"statement goes back":      {api.CodeConflict, dated(start.Add(-time.Hour))},
		"statement of tomorrow":    {api.CodeInvalid, dated(start.Add(25 * time.Hour))},
		"one-time id 0":            {api.CodeInvalid, func(u *api.PreKeyUpload) { u.OneTimePreKeys[0].ID = 0 }},
		"one-time id of 25 bits":   {api.CodeInvalid, func(u *api.PreKeyUpload) { u.OneTimePreKeys[0].ID = 1 << 24 }},
		"one-time id twice":        {api.CodeInvalid, func(u *api.PreKeyUpload) { u.OneTimePreKeys[0].ID = u.OneTimePreKeys[1].ID }},
		"one-time key length":      {api.CodeInvalid, func(u *api.PreKeyUpload) { u.OneTimePreKeys[1].Key = u.OneTimePreKeys[1].Key[1:] }},
		"kyber id twice":           {api.CodeInvalid, func(u *api.PreKeyUpload) { u.KyberPreKeys[0] = u.KyberPreKeys[1] }},
		"kyber signature":          {api.CodeSignature, func(u *api.PreKeyUpload) { u.KyberPreKeys[1].Signature = flip(u.KyberPreKeys[1].Signature) }},
		"kyber length":             {api.CodeInvalid, func(u *api.PreKeyUpload) { u.KyberPreKeys[1].Key = nil }},
		"101 prekeys": {api.CodeInvalid, func(u *api.PreKeyUpload) {
			u.OneTimePreKeys = slices.Repeat(u.OneTimePreKeys[:1], api.MaxOneTimePreKeys+1)
		}},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			w := *w
			w.t = t
			var up api.PreKeyUpload
			unmarshal(t, marshal(t, good), &up)
			bad.change(&up)
			w.refused(bad.code, http.MethodPost, preKeysPath, d.login.Token, up)
		})
	}
	w.must(http.MethodPost, preKeysPath, d.login.Token, good, &api.PreKeyCount{})
}

func TestWaitingPreKeysAreBounded(t *testing.T) {
	w, _, bob := newWorld(t)
	d := bob.devices[0]
	fresh := func(n int) api.PreKeyUpload {
		up := d.upload(0)
		key := bob.devices[0].upload(1).OneTimePreKeys[0].Key
		for range n {
			up.OneTimePreKeys = append(up.OneTimePreKeys, api.OneTimeKey{ID: d.take(), Key: key})
		}
		up.Statement = d.state(up)
		return up
	}
	w.must(http.MethodPost, preKeysPath, d.login.Token, fresh(api.MaxOneTimePreKeys), &api.PreKeyCount{})
	w.refused(api.CodeTooLarge, http.MethodPost, preKeysPath, d.login.Token, fresh(api.MaxOneTimePreKeys-oneTime+1))
	var count api.PreKeyCount
	w.must(http.MethodPost, preKeysPath, d.login.Token, fresh(api.MaxOneTimePreKeys-oneTime), &count)
	if count.OneTimePreKeys != api.MaxStoredPreKeys {
		t.Errorf("%+v", count)
	}
}
