package sqldb

import (
	"context"
	"database/sql"
	"sync"
)

// maxPrepared bounds the statements kept prepared of each pool. A service has about a hundred constants; the rest are
// lists of different lengths. Statements beyond the bound are parsed each time.
const maxPrepared = 1024

// statements keeps statements parsed between uses: parsing is most of what a short statement costs. Nil keeps none, where
// the driver does it.
type statements struct {
	pool *sql.DB

	mu  sync.RWMutex
	all map[string]*sql.Stmt
}

func newStatements(pool *sql.DB) *statements {
	return &statements{pool: pool, all: map[string]*sql.Stmt{}}
}

// get returns the statement if it is prepared already, else nil.
func (s *statements) get(text string) *sql.Stmt {
	if s == nil {
		return nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.all[text]
}

// prepare remembers a statement for the next time. An error is nobody's: whoever runs the statement meets it again. The
// lock is not held while it waits for a connection, whose holder may be waiting in get.
func (s *statements) prepare(ctx context.Context, text string) *sql.Stmt {
	if s == nil {
		return nil
	}
	s.mu.RLock()
	full := len(s.all) >= maxPrepared
	s.mu.RUnlock()
	if full {
		return nil
	}
	wait, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	stmt, err := s.pool.PrepareContext(wait, text)
	if err != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if earlier := s.all[text]; earlier != nil {
		_ = stmt.Close() // nobody has used it
		return earlier
	}
	s.all[text] = stmt
	return stmt
}

func (s *statements) close() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, stmt := range s.all {
		_ = stmt.Close() // its pool is closed next and reports what matters
	}
	clear(s.all)
}
