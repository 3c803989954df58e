// Package history decides whether a run kept what Sotto promises. Every client of a run notes facts in a journal of its
// own; when everything has come to rest, [Check] holds all journals against each other.
//
// What it decides: nothing acknowledged is lost, on any living device of any member, with its very content; nothing is
// shown twice; the order is the same everywhere; positions are dense or have a reason; nothing stays undecryptable; and
// what somebody verified or was warned of is still known.
package history

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"sotto/api"
	"sotto/client"
)

// Kind says what a fact is about, and which fields it has besides Device.
type Kind string

// Kinds. Facts of one journal are in the order in which they happened; nothing is said about the order of journals.
const (
	Member     Kind = "member"     // User is in Conversation from its beginning. Noted by the harness
	Joined     Kind = "joined"     // Device is one of User's from now on
	Removed    Kind = "removed"    // Device is gone for ever and owes nothing any more
	Intend     Kind = "intend"     // User is about to send Content, which no other message of the run has, to Conversation
	Acked      Kind = "acked"      // the server has User's Message with Content at Position
	Shown      Kind = "shown"      // Message was announced to whoever looks at Device
	Listing    Kind = "listing"    // Device tells its history anew: what it has seen before counts no more
	Seen       Kind = "seen"       // User's Message with Content at Position is next in the history of Conversation
	Unreadable Kind = "unreadable" // Message could not be read; it may become readable later
	Excused    Kind = "excused"    // the seq of Position holds no message for Device, because Reason
	Vouched    Kind = "vouched"    // User has verified Peer under Safety, and every device of User has to know
	Changed    Kind = "changed"    // the identity of Peer changed: User has to be warned, and nothing verified before counts
	Contact    Kind = "contact"    // Device shows Peer under Safety, as verified or not, as warned of or not
	Anew       Kind = "anew"       // the account of User was reset: what it had verified or was warned of counts no more
	Shut       Kind = "shut"       // User's devices owe Message no more, nor anything else at Position: a reset shut the archive
	Happened   Kind = "happened"   // Event happened: what a run has to have seen at least once
)

// Fact is one line of a journal.
type Fact struct {
	Kind         Kind               `json:"kind"`
	Device       string             `json:"device,omitempty"` // name of a device within the run, used once
	User         string             `json:"user,omitempty"`
	Conversation api.ConversationID `json:"conversation,omitzero"`
	Message      api.MessageID      `json:"message,omitzero"`
	Position     client.Position    `json:"position,omitzero"`
	Content      string             `json:"content,omitempty"`
	Reason       string             `json:"reason,omitempty"`
	Peer         string             `json:"peer,omitempty"`
	Safety       string             `json:"safety,omitempty"`
	Verified     bool               `json:"verified,omitempty"`
	Warned       bool               `json:"warned,omitempty"`
	Event        string             `json:"event,omitempty"`
}

// Journal is the file of one client. A line that Note returned for is there also after the process was killed.
type Journal struct {
	mu   sync.Mutex
	file *os.File
}

const suffix = ".journal"

// Open continues the journal of that name in a folder, or begins it.
func Open(folder, name string) (*Journal, error) {
	f, err := os.OpenFile(filepath.Join(folder, name+suffix), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening a journal: %w", err)
	}
	return &Journal{file: f}, nil
}

// Note appends a fact.
func (j *Journal) Note(f Fact) error {
	line, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("noting a fact: %w", err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, err := j.file.Write(append(line, '\n')); err != nil { // one write: a line is whole or missing
		return fmt.Errorf("noting a fact: %w", err)
	}
	return nil
}

// Close ends the journal.
func (j *Journal) Close() error { return j.file.Close() }

// Read returns the facts of every journal in a folder, one journal after the other.
func Read(folder string) ([]Fact, error) {
	names, err := filepath.Glob(filepath.Join(folder, "*"+suffix))
	if err != nil {
		return nil, err
	}
	var all []Fact
	for _, name := range names {
		facts, err := readJournal(name)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", filepath.Base(name), err)
		}
		all = append(all, facts...)
	}
	return all, nil
}

const maxLine = 1 << 20 // bytes; contents of tests are short

func readJournal(name string) ([]Fact, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // opened for reading only
	var facts []Fact
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var f Fact
		if err := json.Unmarshal(lines.Bytes(), &f); err != nil {
			return nil, fmt.Errorf("line %d: %w", len(facts)+1, err)
		}
		facts = append(facts, f)
	}
	return facts, lines.Err()
}
