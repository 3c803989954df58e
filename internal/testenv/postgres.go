package testenv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// PostgresOwner is the login that owns the databases of NewDatabase: no superuser, but it may create roles.
const PostgresOwner = "sotto"

// Postgres is a private PostgreSQL on a folder and port of its own, which dies with this process. The machine's own
// server, if any, is never touched.
type Postgres struct {
	Process
	Port int

	dir      string
	binaries string
}

// StartPostgres makes a cluster and starts it. Settings are lines of postgresql.conf, such as "fsync=off"; without that
// one the cluster keeps what it promises, which only tests of durability need.
func StartPostgres(ctx context.Context, settings ...string) (*Postgres, error) {
	p := &Postgres{}
	p.Name = "postgres"
	var err error
	if p.binaries, err = postgresBinaries(); err != nil {
		return nil, err
	}
	if p.Credential, err = unprivileged("postgres"); err != nil {
		return nil, err
	}
	// Not below the folder of a test, which only its owner may enter.
	if p.dir, err = os.MkdirTemp("", "sotto-postgres-"); err != nil {
		return nil, fmt.Errorf("making the folder of PostgreSQL: %w", err)
	}
	if err = p.make(ctx, settings); err == nil {
		err = p.Up(ctx)
	}
	if err == nil {
		err = p.run(ctx, "psql", "postgres", "-c", "CREATE ROLE "+PostgresOwner+" LOGIN CREATEROLE")
	}
	if err != nil {
		return nil, errors.Join(err, p.Remove())
	}
	return p, nil
}

func postgresBinaries() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(found) == 0 {
		return "", errors.New("PostgreSQL is missing; run script/tools, or apt-get install postgresql")
	}
	return slices.MaxFunc(found, func(a, b string) int { return postgresVersion(a) - postgresVersion(b) }), nil
}

func postgresVersion(dir string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir))) // 0 for what is no version
	return n
}

// unprivileged is the account of that name for a process of root's, and nil for everybody else.
func unprivileged(name string) (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	account, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("root may not run it, and there is no account to run it as: %w", err)
	}
	uid, uidErr := strconv.ParseUint(account.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(account.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, errors.Join(uidErr, gidErr)
}

func (p *Postgres) make(ctx context.Context, settings []string) (err error) {
	if p.Credential != nil {
		if err := os.Chown(p.dir, int(p.Credential.Uid), int(p.Credential.Gid)); err != nil {
			return fmt.Errorf("giving the folder of PostgreSQL away: %w", err)
		}
	}
	data := filepath.Join(p.dir, "data")
	cmd := exec.CommandContext(ctx, filepath.Join(p.binaries, "initdb"),
		"--pgdata="+data, "--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C")
	cmd.Dir = p.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.Credential}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("making a PostgreSQL cluster: %w\n%s", err, out)
	}
	if p.Port, err = FreePort(); err != nil {
		return fmt.Errorf("finding a free port: %w", err)
	}
	p.Path = filepath.Join(p.binaries, "postgres")
	p.Args = []string{"-D", data, "-p", strconv.Itoa(p.Port), "-h", "127.0.0.1", "-k", "", "-c", "max_connections=300"}
	for _, s := range settings {
		p.Args = append(p.Args, "-c", s)
	}
	return nil
}

// Up starts the server and waits until it answers. After Kill9 it first recovers.
func (p *Postgres) Up(ctx context.Context) error {
	if err := p.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		if p.run(ctx, "pg_isready", "postgres", "-q") == nil {
			return nil
		}
		select {
		case <-p.exitedChannel():
			return fmt.Errorf("PostgreSQL ended before it was ready:\n%s", p.Log())
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL was not ready within %v:\n%s", readyTimeout, p.Log())
		case <-time.After(pollEvery):
		}
	}
}

// Restart kills the server as kill -9 does and brings it back on the same folder and port.
func (p *Postgres) Restart(ctx context.Context) error {
	if err := p.Kill9(); err != nil {
		return err
	}
	return p.Up(ctx)
}

// URL is how the owner of a database reaches it.
func (p *Postgres) URL(database string) string { return p.URLFor(PostgresOwner, database) }

// URLFor is URL for another login. "postgres" is the superuser.
func (p *Postgres) URLFor(login, database string) string {
	return (&url.URL{
		Scheme: "postgres", User: url.User(login), Host: "127.0.0.1:" + strconv.Itoa(p.Port), Path: "/" + database,
		RawQuery: "sslmode=disable",
	}).String()
}

// NewDatabase makes a database that belongs to PostgresOwner and returns its URL. A template, unless empty, is the name
// of a database whose contents it starts with and that nobody is connected to.
func (p *Postgres) NewDatabase(ctx context.Context, name, template string) (string, error) {
	statement := "CREATE DATABASE " + name + " OWNER " + PostgresOwner
	if template != "" {
		statement += " TEMPLATE " + template
	}
	return p.URL(name), p.run(ctx, "psql", "postgres", "-c", statement)
}

// SQL runs statements as the superuser.
func (p *Postgres) SQL(ctx context.Context, database, statements string) error {
	return p.run(ctx, "psql", database, "-v", "ON_ERROR_STOP=1", "-c", statements)
}

func (p *Postgres) run(ctx context.Context, program, database string, args ...string) error {
	args = append([]string{"-h", "127.0.0.1", "-p", strconv.Itoa(p.Port), "-U", "postgres", "-d", database}, args...)
	cmd := exec.CommandContext(ctx, filepath.Join(p.binaries, program), args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "PGCONNECT_TIMEOUT=10"}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return nil
}

// Remove ends the server and deletes its folder.
func (p *Postgres) Remove() error { return errors.Join(p.Kill9(), os.RemoveAll(p.dir)) }

// CleanUp removes the server when the test ends, and shows its log if the test failed.
func (p *Postgres) CleanUp(t testing.TB) {
	t.Cleanup(func() {
		if err := p.Remove(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("log of %s:\n%s", p.Name, tail(p.Log(), 2<<10))
		}
	})
}
