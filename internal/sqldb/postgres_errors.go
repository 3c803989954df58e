package sqldb

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// SQLSTATEs that are asked for by name.
const (
	codeStarting     = "57P03"
	codeLockTimeout  = "55P03"
	codeNoPrivilege  = "42501"
	codeBadValue     = "22023"
	codeNoDatabase   = "3D000"
	codeNoSchema     = "3F000"
	codeNoTable      = "42P01"
	codeNoSetting    = "42704"
	codeBadPassword  = "28P01"
	codeNotLetIn     = "28000"
	codeFull         = "53300"
	codeReadOnly     = "25006"
	codeUnique       = "23505"
	codeForeignKey   = "23503"
	codeSerialize    = "40001"
	codeDeadlock     = "40P01"
	classUnreachable = "08"
	classNoResources = "53"
	classOperator    = "57"
)

func classifyPostgres(err error) errorClass {
	code := postgresCode(err)
	switch code {
	case "":
		return classifyConnection(err)
	case codeUnique:
		return classUnique
	case codeForeignKey:
		return classForeignKey
	case "23502", "23514", "22P02", "22003", "22021", "42804": // NOT NULL, CHECK, wrong text, range, encoding and type
		return classCheck
	case codeSerialize, codeDeadlock:
		return classBusy
	case codeLockTimeout, codeReadOnly:
		return classAway
	}
	switch code[:2] {
	case classUnreachable, classNoResources, classOperator:
		return classAway
	}
	return classOther
}

// classifyConnection is for what did not come from the server. A caller's own deadline is not the database's fault.
func classifyConnection(err error) errorClass {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return classOther
	}
	_, connecting := errors.AsType[*pgconn.ConnectError](err)
	_, network := errors.AsType[net.Error](err)
	if connecting || network || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		return classAway
	}
	return classOther
}

// postgresError says what to do about a database that cannot be opened. It names the place and the login, never the
// password.
func postgresError(err error, c *pgx.ConnConfig) error {
	code := postgresCode(err)
	_, connecting := errors.AsType[*pgconn.ConnectError](err)
	if code == "" && !connecting {
		return err
	}
	at := fmt.Sprintf("database %s on %s:%d as %s", c.Database, c.Host, c.Port, c.User)
	advice := "check host and port in its URL, and that PostgreSQL runs there"
	if known, ok := postgresAdvice[code]; ok {
		advice = known
	} else if code != "" {
		return fmt.Errorf("opening the %s: %w", at, err)
	}
	var cause string
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		cause = e.Message
	} else if op, ok := errors.AsType[*net.OpError](err); ok {
		cause = op.Err.Error()
	} else if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		cause, advice = e.Error(), "name the file of the server's authority with sslrootcert in the URL, and the host as its certificate does"
	} else {
		cause = "no connection"
	}
	return fmt.Errorf("opening the %s: %s; %s", at, cause, advice)
}

var postgresAdvice = map[string]string{
	codeBadPassword: "the login or its password in the URL is wrong",
	codeNotLetIn:    "create the login, or allow it in pg_hba.conf",
	codeNoDatabase:  "create it: CREATE DATABASE … OWNER …",
	codeNoSetting:   "an option after the question mark of the URL is misspelt",
	codeFull:        "raise max_connections of PostgreSQL, or lower SOTTO_DATABASE_CONNECTIONS",
	codeStarting:    "wait until it has started",
	codeNoPrivilege: "this login has not the rights for that: migrate with `sottod migrate` as the owner of the database",
	codeBadValue:    "its role is missing: run `sottod migrate` as the owner of the database",
	codeNoSchema:    "run `sottod migrate` as the owner of the database",
	codeNoTable:     "run `sottod migrate` as the owner of the database",
}

// explainPostgres adds advice to an error of a statement. The message of the server is part of it already.
func explainPostgres(err error) error {
	if advice, ok := postgresAdvice[postgresCode(err)]; ok {
		return fmt.Errorf("%w; %s", err, advice)
	}
	return err
}
