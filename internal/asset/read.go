package asset

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"time"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/sqldb"
)

// Blob is a stored asset that can be read. Close it.
type Blob struct {
	Name string // SHA-256, hexadecimal
	Size int64
	Type string // of a public asset; empty for a sealed one

	ctx     context.Context //nolint:containedctx // io.Reader has no parameter for it; it is that of the request
	backend Backend
	logger  *slog.Logger
	parts   []part
	at      int64
	current io.ReadCloser // of the part at "at"; nil when none is open
	left    int64         // bytes of current
	cancel  context.CancelFunc
	watch   *time.Timer // cancels what the backend does when that takes too long
}

// readWithin bounds each wait for the backend: for an object, and for more of it.
const readWithin = 30 * time.Second

// ParseName reads the name of an asset from a path. A malformed one is not found, exactly as an unknown one.
func ParseName(name string) (sum [32]byte, err error) {
	b, err := hex.DecodeString(name)
	if err != nil || len(b) != len(sum) || hex.EncodeToString(b) != name {
		return sum, errNoAsset
	}
	return [32]byte(b), nil
}

const (
	sqlReadSealed = `SELECT id, size, type FROM asset WHERE sha256 = $1 AND state = 'stored' AND type = '' ORDER BY id LIMIT 1`
	sqlReadPublic = `SELECT id, size, type FROM asset WHERE sha256 = $1 AND state = 'stored' AND type <> '' ORDER BY id LIMIT 1`
)

// Sealed opens a sealed asset of whichever account has it: who knows the name, which is the hash of a ciphertext, was given
// it. ctx is that of all reading.
func (s *Store) Sealed(ctx context.Context, sum [32]byte) (*Blob, error) {
	return s.open(ctx, sqlReadSealed, sum)
}

// Public opens what was published.
func (s *Store) Public(ctx context.Context, sum [32]byte) (*Blob, error) {
	return s.open(ctx, sqlReadPublic, sum)
}

func (s *Store) open(ctx context.Context, statement string, sum [32]byte) (*Blob, error) {
	b := &Blob{Name: hex.EncodeToString(sum[:]), ctx: ctx, backend: s.Backend, logger: s.Logger}
	var id api.UploadID
	err := s.DB.QueryRow(ctx, statement, sum[:]).Scan(sqldb.Blob(id[:]), &b.Size, &b.Type)
	if errors.Is(err, sqldb.ErrNoRows) {
		return nil, errNoAsset
	}
	if err != nil {
		return nil, errs.Wrap("reading an asset", err)
	}
	if b.parts, err = readParts(ctx, s.DB, sqlReadPlaced, id); err != nil {
		return nil, err
	}
	end := int64(0)
	for _, p := range b.parts {
		if p.start != end {
			return nil, fmt.Errorf("the parts of asset %s have a gap at %d", b.Name, end)
		}
		end += p.size
	}
	if end != b.Size {
		// The rows were read one after the other: it was deleted in between.
		return nil, errNoAsset
	}
	return b, nil
}

const (
	sqlReadPlaced = `SELECT asset, start, sha256, size FROM asset_part WHERE asset = $1 AND state = 'placed' ORDER BY start`
	sqlReadParts  = `SELECT asset, start, sha256, size FROM asset_part WHERE asset = $1 ORDER BY start, sha256`
)

func readParts(ctx context.Context, q sqldb.Querier, statement string, args ...any) (parts []part, err error) {
	for i, arg := range args {
		if id, ok := arg.(api.UploadID); ok {
			args[i] = id[:]
		}
	}
	rows, err := q.Query(ctx, statement, args...)
	if err != nil {
		return nil, errs.Wrap("reading parts", err)
	}
	defer rows.Close()
	for rows.Next() {
		var p part
		if err := rows.Scan(sqldb.Blob(p.asset[:]), &p.start, sqldb.Blob(p.sum[:]), &p.size); err != nil {
			return nil, errs.Wrap("reading parts", err)
		}
		parts = append(parts, p)
	}
	return parts, errs.Wrap("reading parts", rows.Err())
}

// Seek is for http.ServeContent.
func (b *Blob) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += b.at
	case io.SeekEnd:
		offset += b.Size
	default:
		return 0, fmt.Errorf("seeking from %d", whence)
	}
	if offset < 0 || offset > math.MaxInt32 {
		return 0, fmt.Errorf("seeking to %d", offset)
	}
	if offset != b.at {
		if err := b.Close(); err != nil {
			return 0, err
		}
	}
	b.at = offset
	return offset, nil
}

// Read reads within one part at a time. A part that ends early is an error and never the end of the asset.
func (b *Blob) Read(into []byte) (int, error) {
	if b.at >= b.Size {
		return 0, io.EOF
	}
	if err := b.open(); err != nil {
		return 0, err
	}
	b.watch.Reset(readWithin)
	n, err := b.current.Read(into[:min(int64(len(into)), b.left)])
	b.watch.Stop()
	b.at += int64(n)
	b.left -= int64(n)
	if b.left == 0 {
		return n, b.Close()
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		b.failed(err)
	}
	return n, err
}

// open opens the part at "at" unless it is open.
func (b *Blob) open() error {
	if b.current != nil {
		return nil
	}
	i, found := slices.BinarySearchFunc(b.parts, b.at, func(p part, at int64) int {
		switch {
		case p.start+p.size <= at:
			return -1
		case p.start > at:
			return 1
		}
		return 0
	})
	if !found {
		return fmt.Errorf("asset %s has no part at %d", b.Name, b.at)
	}
	p := b.parts[i]
	skip := b.at - p.start
	b.left = p.size - skip
	ctx, cancel := context.WithCancel(b.ctx)
	b.watch = time.AfterFunc(readWithin, cancel)
	current, err := b.backend.Open(ctx, p.object(), skip, b.left)
	b.watch.Stop()
	if err != nil {
		cancel()
		b.failed(err)
		return away("opening a part", err)
	}
	b.current, b.cancel = current, cancel
	return nil
}

// failed tells the operator. A reader who has gone is no fault of the backend.
func (b *Blob) failed(err error) {
	if b.ctx.Err() == nil {
		b.logger.WarnContext(b.ctx, "the store of assets gave no object", slog.Any("err", err))
	}
}

// Close lets go of the part that is being read.
func (b *Blob) Close() error {
	if b.current == nil {
		return nil
	}
	err := b.current.Close()
	b.cancel()
	b.current = nil
	return errs.Wrap("closing a part", err)
}
