// Package asset keeps content-addressed blobs: sealed ones of accounts, such as avatars, of which the server sees
// ciphertext, and public ones of the server itself, such as images in mails.
//
// The rows say what there is, a Backend holds the bytes. An asset is a list of parts, each an object of its own, so that
// an upload goes on at any replica and nothing is copied at its end. A part is planned in a row, then its object is
// written, then it is placed and the upload moves on in one transaction. Crash windows: a planned part without an object,
// or with one that was never placed, is found by its row and removed by upkeep; the client repeats the part, which has
// the same name and is written once more.
//
// Removal goes the other way: the row is marked, the objects are deleted, the rows are deleted. Each step may be repeated.
// An object that is being written may appear after its deletion, so that removal waits until no part was planned lately.
// A process that is stopped for longer than that within a write can leave an object without a row; nothing else can.
package asset

import (
	"context"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"regexp"
	"slices"
	"time"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/sqldb"
)

// Series is the name of Migrations in sqldb.DB.Migrate.
const Series = "asset"

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations make the tables of this package in the database of a service.
func Migrations() fs.FS { return migrations }

// Backend holds objects by name. It is safe for concurrent use, also by several processes; assettest.Run says what it
// has to do. A name has the form that CheckName accepts. No error and no log line repeats credentials.
type Backend interface {
	// Put stores an object of at most api.MaxAssetPart bytes. When it returns nil the object outlasts a power cut; when it
	// fails there is the whole object or none. Repeating it is safe.
	Put(ctx context.Context, name string, content []byte) error
	// Open reads length bytes from offset, which lie within the object. An object that is not there is fs.ErrNotExist.
	Open(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error)
	// Delete removes an object. One that is not there is no error.
	Delete(ctx context.Context, name string) error
	// Check tells whether the backend answers and takes the credentials. It changes nothing.
	Check(ctx context.Context) error
}

var objectName = regexp.MustCompile(`^[0-9a-f]{32}/[0-9a-f]{72}$`)

// CheckName keeps everything out of paths and URLs but what objectOf makes.
func CheckName(name string) error {
	if !objectName.MatchString(name) {
		return fmt.Errorf("%q is not the name of an object", name)
	}
	return nil
}

// objectOf names a part by what is in it, so that writing it again changes nothing and two different parts for the same
// place do not meet.
func objectOf(id api.UploadID, start int64, sum [32]byte) string {
	return fmt.Sprintf("%s/%08x%s", hex.EncodeToString(id[:]), start, hex.EncodeToString(sum[:]))
}

const (
	putWithin   = 2 * time.Minute // one object
	settleAfter = 5 * time.Minute // after the last plan; a write that was begun has ended or failed by then
	idleUpload  = 24 * time.Hour  // without progress, then it is dropped
	maxPlanned  = 8               // parts of an upload that were planned and not placed
)

// Store holds the rules. Every field is required. It is safe for concurrent use.
type Store struct {
	DB      *sqldb.DB // migrated: Series
	Backend Backend
	Now     func() time.Time
	Rand    io.Reader // safe for concurrent use
	Logger  *slog.Logger
	Quota   int64 // bytes of one account, those of begun uploads and of what is not removed yet included
}

// types are those of public assets.
var types = []string{"image/png", "image/jpeg", "image/gif", "image/webp"}

// asset is a row.
type asset struct {
	id        api.UploadID
	account   api.AccountID
	sum       [32]byte
	size      int64
	typ       string
	state     string
	received  int64
	hash      []byte
	changedAt int64
}

const stateOpen, stateStored, stateGone = "open", "stored", "gone"

func (a asset) api() api.Asset {
	return api.Asset{UploadID: a.id, SHA256: a.sum[:], Size: a.size, Received: a.received, ChangedAt: a.changedAt}
}

var errNoAsset = errs.NotFoundf("There is no such asset here.")

const retryAfter = time.Second

// away is the answer while the backend does not do its work. Everything here may be repeated.
func away(doing string, err error) error {
	return errs.Wrap(doing, errs.New(errs.Unavailable, api.CodeUnavailable,
		"The server cannot reach its store of files now. Repeat the same request.").WithRetryAfter(retryAfter).Because(err))
}

// tx is sqldb.DB.Tx with the errors that a client can do something about.
func (s *Store) tx(ctx context.Context, name string, fn func(*sqldb.Tx) error) error {
	err := s.DB.Tx(ctx, name, fn)
	if errors.Is(err, sqldb.ErrCommitUnknown) || sqldb.IsBusy(err) {
		return errs.New(errs.Unavailable, api.CodeUnavailable,
			"The server could not store that for certain. Repeat the same request.").WithRetryAfter(retryAfter).Because(err)
	}
	return err
}

// assetTx is tx for what concerns one asset: transactions about it run one after the other, on every replica.
func (s *Store) assetTx(ctx context.Context, id api.UploadID, name string, fn func(*sqldb.Tx, asset) error) error {
	return s.tx(ctx, name, func(tx *sqldb.Tx) error {
		if err := lockAsset(ctx, tx, id); err != nil {
			return err
		}
		a, err := readAsset(ctx, tx, id)
		if err != nil {
			return err
		}
		return fn(tx, a)
	})
}

func (s *Store) millis() int64 { return s.Now().UnixMilli() }

// checkPublic keeps out what a browser would do more with than show it.
func checkPublic(typ string) error {
	if !slices.Contains(types, typ) {
		return fmt.Errorf("%q is not a type of public assets", typ)
	}
	return nil
}
