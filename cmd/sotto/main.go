// Command sotto is the Sotto client for terminals, scripts and bots. Each profile is one device of one account; its
// keys and messages are in one file that only its owner can read.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/alecthomas/kong"

	"sotto/api"
	"sotto/client"
	"sotto/client/sqlitestore"
)

type commands struct {
	Server   string `env:"SOTTO_SERVER" placeholder:"URL" help:"The server. Needed once, at register or login. Remembered. Default: http://127.0.0.1:8080."`
	Profile  string `env:"SOTTO_PROFILE" default:"default" help:"Which device on this computer (${default})."`
	State    string `env:"SOTTO_STATE" placeholder:"FILE" help:"Keep this device's state in FILE instead of the profile's place."`
	Identity string `env:"SOTTO_IDENTITY" enum:"verified,always,notice" default:"verified" help:"When somebody's changed identity stops what you send: of verified contacts, always, or never (notice)."`
	Verbose  bool   `short:"v" help:"Log what happens to standard error."`

	Register registerCmd `cmd:"" help:"Make an account with this as its first device, and show its recovery code."`
	Login    loginCmd    `cmd:"" help:"Sign in to an existing account: adds this as a further device."`
	Chat     chatCmd     `cmd:"" help:"Chat with someone; history above, what you write below."`
	Send     sendCmd     `cmd:"" help:"Send one message and wait until the server has stored it."`
	Listen   listenCmd   `cmd:"" help:"Print messages as they arrive, one a line, until interrupted."`
	History  historyCmd  `cmd:"" help:"Show or choose how much history the account keeps."`
	Show     profileCmd  `cmd:"" name:"profile" help:"Show or change how you show yourself to the people you write with."`
	Devices  devicesCmd  `cmd:"" help:"List, rename and remove the devices of your account."`
	Safety   safetyCmd   `cmd:"" help:"Show the safety number to compare with someone, and record that you did."`
	Logout   logoutCmd   `cmd:"" help:"Sign out this device and wipe what it holds."`

	Password     passwordCmd     `cmd:"" help:"Change your password, and the recovery code if somebody may know it."`
	Email        emailCmd        `cmd:"" help:"Show, add, confirm or take away the e-mail address that you may sign in with."`
	RecoveryCode recoveryCodeCmd `cmd:"" help:"Show whether your recovery code is confirmed, confirm it, or make a new one."`
	Recover      recoverCmd      `cmd:"" help:"Password forgotten: set a new one with your recovery code, and sign in here."`
	Reset        resetCmd        `cmd:"" help:"Password and recovery code lost: begin anew with a code by the server's operator."`

	Doctor   doctorCmd   `cmd:"" help:"Tell on one page whether your history is safe and this device is well, and what to do if not."`
	GiveBack giveBackCmd `cmd:"" help:"After the server was restored from a backup: give it your password once, if it asks for it."`

	Version versionCmd `cmd:"" help:"Print the version."`
}

// Exit statuses, for scripts.
const (
	exitFailure  = 1
	exitUsage    = 2
	exitIdentity = 3 // somebody's keys are not the ones known here: nothing was sent, a person must decide
	exitLogin    = 4 // not signed in, signed out, removed, or wrong name, password or recovery code
	exitNetwork  = 5 // the server cannot be reached; trying again may help
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var cli commands
	hostname, err := os.Hostname()
	if err != nil {
		hostname = "terminal"
	}
	command := kong.Parse(&cli, kong.Vars{"hostname": hostname}, kong.Name("sotto"), kong.UsageOnError(),
		kong.Description("End-to-end encrypted chat. Start with: sotto register NAME"),
		kong.Exit(func(code int) { os.Exit(min(code, exitUsage)) }), // kong's own status for a mistake is 80
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(&cli))
	if err := command.Run(); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "sotto:", err)
		os.Exit(status(err))
	}
}

func status(err error) int {
	switch client.CodeOf(err) {
	case client.CodeIdentity, client.CodeListBack, client.CodeListFork, client.CodeListForged, client.CodeListMissing, client.CodePreKeys,
		client.CodeBundle:
		return exitIdentity
	case client.CodeNotSignedIn, client.CodeLoginEnded, api.CodeWrongLogin, api.CodeUnauthenticated, api.CodeDeviceCloned, api.CodeDeviceGone,
		api.CodePasswordRequired,
		client.CodeRecoveryTypo, client.CodeRecoveryOther:
		return exitLogin
	case client.CodeNetwork, api.CodeUnavailable:
		return exitNetwork
	}
	return exitFailure
}

// with opens the client, runs one command with it and closes it.
func (c *commands) with(run func(*client.Client) error) error {
	cl, err := c.open()
	if err != nil {
		return err
	}
	return errors.Join(run(cl), cl.Close())
}

const defaultServer = "http://127.0.0.1:8080"

// keyServer is where the command keeps the server's address in the profile's state; the client leaves keys that begin
// with x to the application.
var keyServer = []byte("xserver")

// open opens the profile's state. The caller closes the client, which closes the store.
func (c *commands) open() (*client.Client, error) {
	path, err := c.statePath()
	if err != nil {
		return nil, err
	}
	store, err := sqlitestore.Open(path)
	if err != nil {
		return nil, err
	}
	server, err := c.chooseServer(store)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	logs := io.Discard
	if c.Verbose {
		logs = os.Stderr
	}
	cl, err := client.Open(client.Options{
		Server: server, Store: store, Identity: client.IdentityPolicy(c.Identity),
		Logger: slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return cl, nil
}

// chooseServer takes the flag and remembers it, or else what was remembered.
func (c *commands) chooseServer(store client.Store) (string, error) {
	if c.Server != "" {
		return c.Server, store.Apply(client.Batch{Put: []client.Item{{Key: keyServer, Value: []byte(c.Server)}}})
	}
	remembered, err := store.Get(keyServer)
	if errors.Is(err, client.ErrNotFound) {
		return defaultServer, nil
	}
	return string(remembered), err
}

func (c *commands) statePath() (string, error) {
	if c.State != "" {
		return c.State, nil
	}
	if c.Profile == "" || c.Profile != filepath.Base(c.Profile) || c.Profile[0] == '.' {
		return "", fmt.Errorf("the profile name %q is not usable; take a simple word", c.Profile)
	}
	dir := os.Getenv("XDG_DATA_HOME")
	if !filepath.IsAbs(dir) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("finding a place for the state: %w; use --state FILE", err)
		}
		dir = filepath.Join(home, ".local", "share")
	}
	dir = filepath.Join(dir, "sotto")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("making a place for the state: %w; use --state FILE", err)
	}
	return filepath.Join(dir, c.Profile+".db"), nil
}
