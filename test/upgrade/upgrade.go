// Package upgrade keeps what builds of the past left behind: a data directory and the states of two clients, which every
// later build has to open, migrate and verify. Each tagged build adds one folder, named by its version, with
// `make upgrade-data`; nothing in a folder is ever changed.
package upgrade

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sotto/client"
	"sotto/client/sqlitestore"
	"sotto/e2ee"
)

// Names of what a folder holds.
const (
	Archive = "state.tar.gz"
	Past    = "past.json"
)

const maxUnpacked = 64 << 20 // bytes

// History is what the build did, for later ones to find.
type History struct {
	Version  string   `json:"version"`
	Password string   `json:"password"` // of everybody
	Said     []string `json:"said"`     // between alice and bob, each as "name: text", in the order of positions
}

// Data is the data directory within an archive; State is the state of a person's client.
const Data = "data"

// State is the file of a person's client within an archive.
func State(name string) string { return name + ".db" }

// Open opens the client of a person in an unpacked archive.
func Open(dir, server, name string) (*client.Client, error) {
	store, err := sqlitestore.Open(filepath.Join(dir, State(name)))
	if err != nil {
		return nil, err
	}
	return client.Open(client.Options{Server: server, Store: store})
}

// Texts are the messages of a conversation, at most client.MaxHistory, as "name: text". me is whose client it is.
func Texts(c *client.Client, v client.Conversation, me, other string) ([]string, error) {
	page, err := c.Messages(v.ID, client.Position{}, client.MaxHistory)
	texts := make([]string, len(page))
	for i, m := range page {
		who := other
		if m.Own {
			who = me
		}
		texts[i] = who + ": " + m.Text()
	}
	return texts, err
}

// Pack writes a folder of the past.
func Pack(dir, into string, h History) (err error) {
	if err := os.MkdirAll(into, 0o750); err != nil {
		return err
	}
	b, err := json.MarshalIndent(h, "", "  ") //nolint:gosec // the password of invented people
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(into, Past), append(b, '\n'), 0o600); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(into, Archive))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	zip, err := gzip.NewWriterLevel(f, gzip.BestCompression)
	if err != nil {
		return err
	}
	t := tar.NewWriter(zip)
	return errors.Join(t.AddFS(os.DirFS(dir)), t.Close(), zip.Close())
}

// Unpack reads a folder of the past into an empty one.
func Unpack(from, dir string) (h History, err error) {
	b, err := os.ReadFile(filepath.Join(from, Past))
	if err != nil {
		return h, err
	}
	if err := json.Unmarshal(b, &h); err != nil {
		return h, err
	}
	f, err := os.Open(filepath.Join(from, Archive))
	if err != nil {
		return h, err
	}
	defer f.Close() //nolint:errcheck // opened for reading only
	zip, err := gzip.NewReader(f)
	if err != nil {
		return h, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return h, err
	}
	defer root.Close() //nolint:errcheck // nothing is written through it
	for t := tar.NewReader(io.LimitReader(zip, maxUnpacked)); ; {
		entry, err := t.Next()
		if err == io.EOF {
			return h, nil
		}
		if err != nil {
			return h, err
		}
		if err := unpackOne(root, entry, t); err != nil {
			return h, fmt.Errorf("unpacking %s: %w", entry.Name, err)
		}
	}
}

func unpackOne(root *os.Root, entry *tar.Header, content io.Reader) (err error) {
	name := strings.TrimSuffix(entry.Name, "/")
	if entry.Typeflag == tar.TypeDir {
		return root.Mkdir(name, 0o700)
	}
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Close())
}

// Say sends a text and waits until the server has stored it.
func Say(ctx context.Context, c *client.Client, v client.Conversation, text string) error {
	id, err := c.Send(ctx, v.ID, e2ee.TextBody(text))
	if err != nil {
		return err
	}
	_, err = c.WaitSent(ctx, id)
	return err
}

// See waits until the newest message of the conversation is text.
func See(ctx context.Context, c *client.Client, v client.Conversation, text string) error {
	events := c.Events()
	defer events.Close()
	for {
		page, err := c.Messages(v.ID, client.Position{}, 1)
		if err != nil || len(page) == 1 && page[0].Text() == text {
			return err
		}
		select {
		case <-events.C:
		case <-time.After(time.Second): // in case an event was lost
		case <-ctx.Done():
			return fmt.Errorf("%q did not arrive: %w", text, ctx.Err())
		}
	}
}

// Online keeps a client connected until the returned function is called, which closes it.
func Online(c *client.Client) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	return func() error {
		cancel()
		return errors.Join(<-ended, c.Close())
	}
}
