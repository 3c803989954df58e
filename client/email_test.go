package client_test

import (
	"bytes"
	"errors"
	"io"
	"mime/quotedprintable"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"sotto/api"
	"sotto/client"
	"sotto/internal/config"
	"sotto/internal/notification/notificationtest"
)

// mailed is a world whose server has a mail server.
func mailed(t *testing.T) (*world, *notificationtest.MailServer) {
	t.Helper()
	w := newWorld(t)
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	mails := notificationtest.NewMailServer(t, notificationtest.MailOptions{})
	w.start(func(c *config.Config) {
		c.SMTPHost, c.SMTPPort, c.SMTPTLS, c.SMTPFrom = mails.Host, mails.Port, "none", "sotto@example.org"
	})
	return w, mails
}

// code waits for the mail after so many others, and returns the code in it.
func code(t *testing.T, mails *notificationtest.MailServer, after int) string {
	t.Helper()
	return regexp.MustCompile(`\b[0-9]{8}\b`).FindString(mailText(t, mails, after))
}

// mailText waits for the mail after so many others.
func mailText(t *testing.T, mails *notificationtest.MailServer, after int) string {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if all := mails.Mails(); len(all) > after {
			body, err := io.ReadAll(quotedprintable.NewReader(all[after].Body))
			if err != nil {
				t.Fatal(err)
			}
			return string(body)
		}
	}
	t.Fatal("no mail came")
	return ""
}

// TestEmail: the address signs in with the same password; every change of the bundle keeps its slot; a change of
// password covers it; taken away, it opens nothing.
func TestEmail(t *testing.T) {
	w, mails := mailed(t)
	ada := w.person("ada")
	const address = "ada@example.org"
	if err := ada.StartEmail(t.Context(), address, "not the password at all"); !errors.Is(err, client.ErrWrongLogin) {
		t.Errorf("with a wrong password: %v", err)
	}
	if err := ada.StartEmail(t.Context(), "nonsense", password); client.CodeOf(err) != api.CodeInvalid {
		t.Errorf("a bad address: %v", err)
	}
	if err := ada.StartEmail(t.Context(), address, password); err != nil {
		t.Fatal(err)
	}
	right := code(t, mails, 0)
	if err := ada.ConfirmEmail(t.Context(), "00000000", password); !errors.Is(err, client.ErrWrongLogin) {
		t.Errorf("with a wrong code: %v", err)
	}
	if err := ada.ConfirmEmail(t.Context(), " "+right+"\n", password); err != nil {
		t.Fatal(err)
	}
	if got, err := ada.Email(t.Context()); err != nil || got != address {
		t.Errorf("%q, %v", got, err)
	}
	byEmail := func(store, password string) (*person, error) {
		p := w.person(store)
		return p, p.Login(t.Context(), client.LoginOptions{Username: "Ada@Example.org", Password: password, DeviceName: store})
	}
	second, err := byEmail("second", password)
	if err != nil {
		t.Fatal(err)
	}
	account, _ := second.Account()
	if account.Username != "ada" {
		t.Errorf("signed in as %q", account.Username)
	}
	// That device added itself, and so has written the bundle; by name the account opens as before.
	third := w.device("third", "ada")
	removed, _ := second.Account()
	if _, err := third.RemoveDevice(t.Context(), removed.WireDevice, password); err != nil {
		t.Fatal(err)
	}
	if _, err := third.ChangePassword(t.Context(), client.PasswordOptions{Password: password, NewPassword: newPassword}); err != nil {
		t.Fatal(err)
	}
	if _, err := byEmail("fourth", password); !errors.Is(err, client.ErrWrongLogin) {
		t.Errorf("with the password of before: %v", err)
	}
	if _, err := byEmail("fifth", newPassword); err != nil {
		t.Errorf("with the new password: %v", err)
	}
	if err := third.RemoveEmail(t.Context(), newPassword); err != nil {
		t.Fatal(err)
	}
	if _, err := byEmail("sixth", newPassword); !errors.Is(err, client.ErrWrongLogin) {
		t.Errorf("after it was taken away: %v", err)
	}
	if got, err := third.Email(t.Context()); err != nil || got != "" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestEmailSurvivesRecovery: the recovery code opens a bundle with an e-mail slot, and the new password covers it.
func TestEmailSurvivesRecovery(t *testing.T) {
	w, mails := mailed(t)
	ada := w.person("ada")
	next := ada.newCode()
	if _, err := ada.ChangePassword(t.Context(), client.PasswordOptions{Password: password, NewPassword: password, RecoveryCode: next}); err != nil {
		t.Fatal(err)
	}
	if err := ada.StartEmail(t.Context(), "ada@example.org", password); err != nil {
		t.Fatal(err)
	}
	if err := ada.ConfirmEmail(t.Context(), code(t, mails, 0), password); err != nil {
		t.Fatal(err)
	}
	lost := w.person("lost")
	if err := lost.Recover(t.Context(), recovery("ada", next, lost.newCode())); err != nil {
		t.Fatal(err)
	}
	p := w.person("another")
	if err := p.Login(t.Context(), client.LoginOptions{Username: "ada@example.org", Password: newPassword, DeviceName: "x"}); err != nil {
		t.Errorf("by address with the new password: %v", err)
	}
}

// TestResetByMail: who has lost everything but the mailbox gets the account back, with another identity. The code is in
// the mail alone.
func TestResetByMail(t *testing.T) {
	w, mails := mailed(t)
	ada, bob := w.person("ada"), w.person("bob")
	if err := ada.StartEmail(t.Context(), "ada@example.org", password); err != nil {
		t.Fatal(err)
	}
	if err := ada.ConfirmEmail(t.Context(), code(t, mails, 0), password); err != nil {
		t.Fatal(err)
	}
	mailText(t, mails, 1) // that the address was changed
	bob.talk("ada")
	before, err := bob.Safety(t.Context(), "ada")
	if err != nil {
		t.Fatal(err)
	}
	fresh := w.person("fresh")
	for _, name := range []string{"nobody", "bob", " Ada@example.org"} {
		if err := fresh.MailReset(t.Context(), name); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
	}
	reset := regexp.MustCompile(`/restore#(reset-[\w-]{22})\b`).FindStringSubmatch(mailText(t, mails, 2))
	if reset == nil {
		t.Fatalf("no link in %s", mailText(t, mails, 2))
	}
	files, err := filepath.Glob(filepath.Join(w.dir, "data", "*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		if b, err := os.ReadFile(name); err == nil && bytes.Contains(b, []byte(reset[1])) {
			t.Errorf("%s holds the code", filepath.Base(name))
		}
	}
	o := client.ResetOptions{Code: reset[1], NewPassword: newPassword, NewCode: fresh.newCode(), DeviceName: "fresh"}
	if name, err := fresh.Reset(t.Context(), o); err != nil || name != "ada" {
		t.Fatalf("%q, %v", name, err)
	}
	bob.connect()
	bob.until("the other identity", func() bool {
		now, err := bob.Safety(t.Context(), "ada")
		return err == nil && now.Digits != before.Digits && len(now.Changes) == 1
	})
	if _, err := w.person("again").Reset(t.Context(), o); !errors.Is(err, client.ErrWrongLogin) {
		t.Errorf("the same code again: %v", err)
	}
	if n := len(mails.Mails()); n > 4 { // the last says that it happened; the address went with the password
		t.Errorf("%d mails", n)
	}
}
