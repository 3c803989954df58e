// Command sottod is the Sotto server. `sottod serve` is everything in one process on SQLite with no other software and
// no configuration; `sottod backup`, `restore` and `verify` look after its data; `sottod config` prints the effective
// settings; `sottod version` says what this is.
//
// It logs to standard error, and prints to standard output only what a person asked for. It ends with status 0 after
// SIGTERM or SIGINT, 1 after a failure, 2 for a command line or setting that it does not understand.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"sotto/internal/app"
	"sotto/internal/config"
)

type commands struct {
	EnvFile string `name:"env-file" placeholder:"FILE" help:"Read settings from this file first. Default: /run/secrets/app_secrets when it is there."`
	config.Config

	Serve        serveCmd   `cmd:"" help:"Run everything in one process. Without any setting it makes its data directory and its secrets, and prints one URL."`
	User         serviceCmd `cmd:"" help:"Run only the user service, over PostgreSQL, RabbitMQ and Redis. Any number of processes."`
	Chat         serviceCmd `cmd:"" help:"Run only the chat service."`
	Notification serviceCmd `cmd:"" help:"Run only the notification service."`
	Gateway      gatewayCmd `cmd:"" help:"Run the reverse proxy in front of separate services, with the web client."`
	PurgeQueue   purgeCmd   `cmd:"" name:"purge-queue" help:"Show what a queue holds, and drop it after a question."`
	NotifyTest   notifyCmd  `cmd:"" name:"notify-test" help:"Send one notification to somebody through every configured channel, and print what happened."`
	Config_      configCmd  `cmd:"" name:"config" help:"Print the effective settings with their variable names, secrets hidden."`
	Backup       backupCmd  `cmd:"" help:"Copy everything into a new folder, while the server runs or is stopped."`
	Restore      restoreCmd `cmd:"" help:"Put a backup into an empty data directory. The server's epoch rises, so that clients give back what they have."`
	Admin        adminCmd   `cmd:"" help:"What only the operator may do."`
	Migrate      migrateCmd `cmd:"" help:"Bring the databases up to this program, as their owner. Servers do it by themselves where they may."`
	Move         moveCmd    `cmd:"" name:"migrate-store" help:"Move a stopped server from SQLite to PostgreSQL. It can be broken off and begun again."`
	Verify       verifyCmd  `cmd:"" help:"Read the data of a server, running or stopped, and print what is damaged."`
	Version      versionCmd `cmd:"" help:"Print the version."`
}

type backupCmd struct {
	To string `arg:"" name:"folder" help:"Where to write it. The folder must not exist." type:"path"`
}

func (b backupCmd) Run(ctx context.Context, c *config.Config) error {
	return app.Backup(ctx, *c, b.To, os.Stdout)
}

type restoreCmd struct {
	From string `arg:"" name:"folder" help:"What sottod backup wrote." type:"path"`
}

func (r restoreCmd) Run(ctx context.Context, c *config.Config) error {
	return app.Restore(ctx, *c, r.From, os.Stdout)
}

type adminCmd struct {
	Reset resetCmd `cmd:"" help:"Make a one-time code for somebody who has lost password, recovery code and devices. The account gets a new identity, and every contact is told."`
}

type resetCmd struct {
	Name string `arg:"" help:"The username."`
}

func (r resetCmd) Run(ctx context.Context, c *config.Config) error {
	return app.ResetCode(ctx, *c, r.Name, os.Stdout)
}

type migrateCmd struct {
	Service string `placeholder:"NAME" help:"Only this one: user, chat or notification."`
}

func (m migrateCmd) Run(ctx context.Context, c *config.Config) error {
	return app.Migrate(ctx, *c, m.Service, os.Stdout)
}

type moveCmd struct {
	From string `required:"" placeholder:"sqlite:DIR" help:"The data directory of the server."`
	To   string `required:"" placeholder:"postgres://…" help:"An empty database of PostgreSQL."`
}

func (m moveCmd) Run(ctx context.Context, c *config.Config) error {
	return app.MigrateStore(ctx, *c, m.From, m.To, os.Stdout)
}

type verifyCmd struct{}

func (verifyCmd) Run(ctx context.Context, c *config.Config) error {
	return app.Verify(ctx, *c, os.Stdout)
}

type serveCmd struct{}

func (serveCmd) Run(ctx context.Context, c *config.Config) error {
	return app.Serve(ctx, *c, os.Stdout, os.Stderr)
}

type serviceCmd struct{}

func (serviceCmd) Run(ctx context.Context, k *kong.Context, c *config.Config) error {
	run := map[string]func(context.Context, config.Config, io.Writer, io.Writer) error{
		"user": app.User, "chat": app.Chat, "notification": app.Notification,
	}
	return run[k.Command()](ctx, *c, os.Stdout, os.Stderr)
}

type gatewayCmd struct{}

func (gatewayCmd) Run(ctx context.Context, c *config.Config) error {
	return app.Gateway(ctx, *c, os.Stdout, os.Stderr)
}

type notifyCmd struct {
	Name string `arg:"" help:"The username."`
}

func (n notifyCmd) Run(ctx context.Context, c *config.Config) error {
	return app.NotifyTest(ctx, *c, n.Name, os.Stdout)
}

type purgeCmd struct {
	Name string `arg:"" help:"notifications for mail and push that wait to leave; chat or notification for events that wait, chat.dead or notification.dead for those that were refused."`
	Yes  bool   `help:"Do not ask."`
}

func (p purgeCmd) Run(ctx context.Context, c *config.Config) error {
	return app.PurgeQueue(ctx, *c, p.Name, p.Yes, os.Stdin, os.Stdout)
}

type configCmd struct{}

func (configCmd) Run(c *config.Config) error {
	for _, line := range c.Lines() {
		fmt.Println(line)
	}
	return nil
}

type versionCmd struct{}

func (versionCmd) Run() error {
	fmt.Println(app.Version())
	return nil
}

const (
	exitFailure = 1
	exitUsage   = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	env, err := config.LoadEnvironment(os.Environ(), envFileFlag(os.Args[1:]))
	exitOn(exitUsage, err)

	var cli commands
	parser := kong.Must(&cli, kong.Name("sottod"), kong.Description("The server of Sotto: end-to-end encrypted chat that you host yourself."),
		kong.UsageOnError(), kong.Resolvers(env.Resolver()), kong.ValueFormatter(config.Help),
		kong.Vars{"data_dir": config.DefaultDataDir()}, kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(&cli.Config))
	command, err := parser.Parse(os.Args[1:])
	parser.FatalIfErrorf(err)
	exitOn(exitUsage, cli.Validate())
	exitOn(exitFailure, command.Run())
}

// envFileFlag finds --env-file before the parser runs, because the parser needs what the file says.
func envFileFlag(args []string) string {
	for i, a := range args {
		if value, ok := strings.CutPrefix(a, "--env-file="); ok {
			return value
		}
		if a == "--env-file" && i+1 < len(args) {
			return args[i+1]
		}
	}
	return ""
}

func exitOn(status int, err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "sottod:", err)
		os.Exit(status)
	}
}
