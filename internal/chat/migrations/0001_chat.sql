-- Conversations, messages, mailboxes, the archive and chat's own copy of the device lists. Times are milliseconds since
-- 1970 UTC.

-- An account as this service knows it. Its row is what sends and changes of its devices agree by: both read it in their
-- transaction and the latter writes it.
CREATE TABLE account (
	id             $blob NOT NULL PRIMARY KEY CHECK (length(id) = 16),
	account_key    $blob NOT NULL CHECK (length(account_key) = 33),
	-- The newest signed list that was handed over.
	list_version   $int NOT NULL CHECK (list_version >= 1),
	list_hash      $blob NOT NULL CHECK (length(list_hash) = 32),
	list           $blob NOT NULL CHECK (length(list) BETWEEN 1 AND 4096),
	list_signature $blob NOT NULL CHECK (length(list_signature) = 64),
	-- 0 when the user keeps no archive; archive_days 0 stands for everything.
	keeps_archive  $int NOT NULL DEFAULT 1 CHECK (keeps_archive IN (0, 1)),
	archive_days   $int NOT NULL DEFAULT 0 CHECK (archive_days >= 0),
	-- Records under an older archive key are refused.
	archive_epoch  $int NOT NULL DEFAULT 1 CHECK (archive_epoch >= 1)
) $strict;

-- A device that is or was in a list. Its number here is never used again, unlike its wire id.
CREATE TABLE device (
	id              $serial,
	account         $blob NOT NULL REFERENCES account (id),
	wire_id         $int NOT NULL CHECK (wire_id BETWEEN 1 AND 127),
	registration_id $int NOT NULL CHECK (registration_id BETWEEN 1 AND 16383),
	identity_key    $blob NOT NULL CHECK (length(identity_key) = 33),
	-- The id in tokens, learned when the device connects for the first time.
	token_device    $blob CHECK (length(token_device) = 16),
	state           TEXT NOT NULL CHECK (state IN ('active', 'signed_out', 'dormant', 'removed')),
	generation      $int NOT NULL DEFAULT 0 CHECK (generation >= 0),
	-- What its mailbox holds.
	entries         $int NOT NULL DEFAULT 0 CHECK (entries >= 0),
	bytes           $int NOT NULL DEFAULT 0 CHECK (bytes >= 0),
	seen_at         $int NOT NULL CHECK (seen_at > 0)
) $strict;
CREATE UNIQUE INDEX device_wire ON device (account, wire_id) WHERE state <> 'removed';
CREATE INDEX device_idle ON device (seen_at) WHERE state IN ('active', 'signed_out');

-- Devices that left their list, for as long as a replica may still hold a socket of one.
CREATE TABLE device_removed (
	device $int NOT NULL PRIMARY KEY REFERENCES device (id),
	until  $int NOT NULL
) $strict;
CREATE INDEX device_removed_until ON device_removed (until);

-- Logins that ended, until their last token has expired by itself.
CREATE TABLE ended_login (
	login   $blob NOT NULL PRIMARY KEY CHECK (length(login) = 16),
	account $blob NOT NULL CHECK (length(account) = 16),
	until   $int NOT NULL
) $strict;
CREATE INDEX ended_login_until ON ended_login (until);

CREATE TABLE conversation (
	id         $blob NOT NULL PRIMARY KEY CHECK (length(id) = 16),
	kind       TEXT NOT NULL CHECK (kind IN ('direct', 'self', 'group')),
	last_seq   $int NOT NULL DEFAULT 0 CHECK (last_seq >= 0),
	created_at $int NOT NULL CHECK (created_at > 0)
) $strict;

CREATE TABLE member (
	conversation $blob NOT NULL REFERENCES conversation (id),
	account      $blob NOT NULL REFERENCES account (id),
	state        TEXT NOT NULL CHECK (state IN ('requested', 'accepted', 'blocked')),
	-- First seq that is this member's to see.
	from_seq     $int NOT NULL DEFAULT 1 CHECK (from_seq >= 1),
	changed_at   $int NOT NULL CHECK (changed_at > 0),
	PRIMARY KEY (conversation, account)
) $strict;
CREATE INDEX member_account ON member (account, conversation);

-- The first seq that a device is in the device set for. Without a row it is 1.
CREATE TABLE device_start (
	device       $int NOT NULL REFERENCES device (id),
	conversation $blob NOT NULL REFERENCES conversation (id),
	seq          $int NOT NULL CHECK (seq >= 1),
	PRIMARY KEY (device, conversation)
) $strict;

-- A stored send. Class 1 is message, 2 is silent; ephemeral is never stored. The sender columns are NULL for a sealed
-- sender, which is reserved.
CREATE TABLE message (
	id            $serial,
	conversation  $blob NOT NULL REFERENCES conversation (id),
	message_id    $blob NOT NULL CHECK (length(message_id) = 16),
	class         $int NOT NULL CHECK (class IN (1, 2)),
	epoch         $int NOT NULL CHECK (epoch >= 1),
	seq           $int CHECK (seq >= 1),
	server_time   $int NOT NULL CHECK (server_time > 0),
	sender        $blob CHECK (length(sender) = 16),
	sender_device $int CHECK (sender_device BETWEEN 1 AND 127),
	commitment    $blob NOT NULL CHECK (length(commitment) = 32),
	tag           $blob NOT NULL CHECK (length(tag) = 36),
	-- Ciphertext for all devices, stored once.
	shared        $blob CHECK (length(shared) BETWEEN 1 AND 256000),
	-- The devices that have an envelope: per account 16 bytes, a count, and per device wire id (1) and registration id (2).
	devices       $blob NOT NULL,
	-- Full hours. What is erased keeps its row, so that its seq has a reason.
	erase_after   $int CHECK (erase_after > 0 AND erase_after % 3600000 = 0),
	erased        TEXT CHECK (erased IN ('expired', 'deleted')),
	UNIQUE (message_id, conversation),
	UNIQUE (conversation, seq),
	CHECK ((class = 1) = (seq IS NOT NULL)),
	CHECK ((sender IS NULL) = (sender_device IS NULL))
) $strict;
CREATE INDEX message_erase ON message (erase_after) WHERE erase_after IS NOT NULL AND erased IS NULL;
CREATE INDEX message_silent ON message (server_time) WHERE class = 2;

-- What waits for a device. bytes is NULL when the device needs only the shared ciphertext.
CREATE TABLE mailbox (
	id           $serial,
	device       $int NOT NULL REFERENCES device (id),
	message      $int NOT NULL REFERENCES message (id),
	-- Wire id of the device, of the sender's account, that made the envelope: another one for a supplement.
	maker_device $int NOT NULL CHECK (maker_device BETWEEN 1 AND 127),
	type         $int NOT NULL CHECK (type IN (0, 2, 3, 6, 7, 8)),
	bytes        $blob CHECK (length(bytes) BETWEEN 1 AND 256000),
	size         $int NOT NULL CHECK (size >= 0),
	UNIQUE (message, device),
	CHECK ((type = 0) = (bytes IS NULL))
) $strict;
CREATE INDEX mailbox_device ON mailbox (device, id);

-- The first acknowledgement of a message by a device of an account.
CREATE TABLE delivered (
	message $int NOT NULL REFERENCES message (id),
	account $blob NOT NULL CHECK (length(account) = 16),
	at      $int NOT NULL,
	PRIMARY KEY (message, account)
) $strict;

-- Messages that were answered and dropped, because the account had blocked the sender's conversation.
CREATE TABLE withheld (
	message $int NOT NULL REFERENCES message (id),
	account $blob NOT NULL CHECK (length(account) = 16),
	PRIMARY KEY (message, account)
) $strict;

-- Messages whose last envelope for an account disappeared before any of its devices acknowledged one. The sender's
-- account is asked to supplement them.
CREATE TABLE owed (
	message $int NOT NULL REFERENCES message (id),
	account $blob NOT NULL CHECK (length(account) = 16),
	sender  $blob NOT NULL CHECK (length(sender) = 16),
	since   $int NOT NULL,
	PRIMARY KEY (message, account)
) $strict;
CREATE INDEX owed_sender ON owed (sender, since);
CREATE INDEX owed_account ON owed (account, message);

-- History: one sealed record per message and account. revision is for compare-and-swap.
CREATE TABLE archive (
	id           $serial,
	account      $blob NOT NULL REFERENCES account (id),
	conversation $blob NOT NULL CHECK (length(conversation) = 16),
	message_id   $blob NOT NULL CHECK (length(message_id) = 16),
	key_epoch    $int NOT NULL CHECK (key_epoch >= 1),
	revision     $int NOT NULL DEFAULT 1 CHECK (revision >= 1),
	sealed       $blob NOT NULL CHECK (length(sealed) BETWEEN 1 AND 98304),
	erase_after  $int CHECK (erase_after > 0 AND erase_after % 3600000 = 0),
	stored_at    $int NOT NULL CHECK (stored_at > 0),
	UNIQUE (message_id, account, conversation)
) $strict;
CREATE INDEX archive_erase ON archive (erase_after) WHERE erase_after IS NOT NULL;

-- Sealed account state (pins, verified marks, read positions, settings), versioned per key.
CREATE TABLE account_state (
	account    $blob NOT NULL REFERENCES account (id),
	name       $blob NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
	version    $int NOT NULL CHECK (version >= 1),
	key_epoch  $int NOT NULL CHECK (key_epoch >= 1),
	sealed     $blob NOT NULL CHECK (length(sealed) BETWEEN 1 AND 98304),
	changed_at $int NOT NULL CHECK (changed_at > 0),
	PRIMARY KEY (account, name)
) $strict;
