package devices_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the chat database, while its server is stopped
	_ "modernc.org/sqlite"

	"sotto/api"
	"sotto/client"
	"sotto/internal/testenv"
)

// Events of the server.
const (
	eventDormant = "dormant"
	eventBackup  = "backup"
	eventRaised  = "epoch raised"
	eventAsked   = "password asked for"
)

var worlds atomic.Int64 // numbers the databases

// serveCopy prepares a server of the shape under test on a copy of the template.
func (w *world) serveCopy() (err error) {
	if !shape.Postgres {
		w.serve, err = testenv.NewServe(binaries, filepath.Join(w.dir, "data"))
		if err == nil {
			w.serve.CleanUp(w.t)
			w.server, w.url = w.serve, w.serve.URL
		}
		return err
	}
	w.database = fmt.Sprintf("world_%d", worlds.Add(1))
	s, err := services.NewServer(w.t.Context(), shape, binaries, filepath.Join(w.dir, "data"), w.database, filepath.Base(template))
	if err == nil {
		s.CleanUp(w.t)
		w.server, w.url = s, s.URL
	}
	return err
}

// killServer ends the server as a power cut would, and starts it again.
func (w *world) killServer(ctx context.Context) error {
	w.say("the server is killed")
	w.happened(eventKilled)
	return w.server.Restart(ctx)
}

// backup copies the server's data while everybody goes on.
func (w *world) backup(ctx context.Context) error {
	if w.serve == nil {
		return errNotNow
	}
	w.moves++
	to := filepath.Join(w.dir, fmt.Sprintf("backup-%d", w.moves))
	if err := w.serve.Backup(ctx, to); err != nil {
		return err
	}
	w.say("backup %d", len(w.backups)+1)
	w.backups = append(w.backups, backup{to, w.moves})
	w.happened(eventBackup)
	return nil
}

// restore destroys the server and brings a backup back, not always the newest one.
func (w *world) restore(ctx context.Context) error {
	if len(w.backups) == 0 {
		return errNotNow
	}
	if !w.healed { // two restores without meeting everybody in between are one restore of the older backup
		if err := w.settle(ctx); err != nil {
			return err
		}
	}
	n := w.rand.IntN(len(w.backups))
	w.say("the server is lost; backup %d of %d is restored", n+1, len(w.backups))
	if err := w.serve.Kill9(); err != nil {
		return err
	}
	w.moves++
	if err := w.serve.RestoreTo(ctx, w.backups[n].folder, filepath.Join(w.dir, fmt.Sprintf("data-%d", w.moves))); err != nil {
		return err
	}
	for _, d := range w.devices() {
		d.forgotten = d.forgotten || d.login >= w.backups[n].number
	}
	w.backups = w.backups[:n+1] // nobody has later ones
	w.healed = false
	w.happened(eventRaised)
	return w.server.Up(ctx)
}

const sqlSleep = `UPDATE device SET seen_at = seen_at - $1 WHERE account = $2 AND wire_id = $3 AND state = 'active'`

// dormant lets a device that is offline pass the bound of days without contact: the server is stopped, its memory of the
// last contact is put back, and its own upkeep does the rest when it starts.
func (w *world) dormant(ctx context.Context) error {
	d, err := w.some(func(d *device) bool { return !d.isOnline() })
	if err != nil {
		return err
	}
	me, ok := d.c.Account()
	if !ok {
		return errNotNow
	}
	w.say("%s was not seen for %d days", d.name, api.MailboxIdleDays+1)
	if err := w.server.Stop(); err != nil {
		return err
	}
	db, err := w.chatDatabase()
	if err != nil {
		return err
	}
	days := (api.MailboxIdleDays + 1) * 24 * time.Hour
	res, err := db.ExecContext(ctx, sqlSleep, days.Milliseconds(), me.ID[:], int(me.WireDevice))
	if err := errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("putting back the last contact: %w", err)
	}
	if n, err := res.RowsAffected(); err != nil || n > 1 {
		return fmt.Errorf("%d devices fell asleep: %w", n, err)
	}
	w.happened(eventDormant)
	return w.server.Up(ctx)
}

func (w *world) chatDatabase() (*sql.DB, error) {
	if w.serve != nil {
		return sql.Open("sqlite", filepath.Join(w.serve.DataDir, "chat.db"))
	}
	return sql.Open("pgx", services.Postgres.URL(w.database)+"&search_path=sotto_chat")
}

// giveBack is what a person does when a restored server needs the current password once.
func (d *device) giveBack(ctx context.Context) error {
	if !d.isOnline() {
		return nil
	}
	if needed, err := d.c.PasswordRequired(); err != nil || !needed {
		return err
	}
	d.w.say("%s is asked for the password", d.name)
	if err := d.c.GiveBack(ctx, d.user.password); err != nil {
		d.w.say("%s could not give back: %v", d.name, err)
		if client.CodeOf(err) == client.CodeNetwork {
			return nil // later
		}
		return fmt.Errorf("giving back: %w", err)
	}
	d.w.happened(eventAsked)
	return nil
}
