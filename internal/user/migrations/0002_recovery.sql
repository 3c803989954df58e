-- Recovery, change of password, removal of devices and reset of accounts; the server's epoch.

-- Keyed hash of the newest change of password: a retry is known by it.
ALTER TABLE account ADD COLUMN password_request $blob CHECK (length(password_request) = 32);

-- Counts changes of what the server says of listed devices (signed out or not), which a list version does not order.
ALTER TABLE account ADD COLUMN status_version $int NOT NULL DEFAULT 0 CHECK (status_version >= 0);

-- NULL is a login for everything. One made with the recovery code is good only for setting a new password, and then
-- becomes one for everything.
ALTER TABLE login ADD COLUMN purpose TEXT CHECK (purpose IN ('recovery'));
CREATE INDEX login_account ON login (account_id) WHERE ended_at IS NULL;

-- One-time codes by which the operator lets somebody reset an account that nobody can open any more.
CREATE TABLE reset_code (
	hash       $blob NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
	account_id $blob NOT NULL UNIQUE REFERENCES account (id),
	expires_at $int NOT NULL CHECK (expires_at > 0),
	used_at    $int CHECK (used_at > 0)
) $strict;

-- Key bundles from before a reset, in case the recovery code is found.
CREATE TABLE old_bundle (
	account_id $blob NOT NULL REFERENCES account (id),
	version    $int NOT NULL CHECK (version >= 1),
	sealed     $blob NOT NULL CHECK (length(sealed) BETWEEN 1 AND 65536),
	until      $int NOT NULL CHECK (until > 0),
	PRIMARY KEY (account_id, version)
) $strict;

-- One row. Every restore raises the epoch.
CREATE TABLE server (
	one   $int NOT NULL PRIMARY KEY CHECK (one = 1),
	epoch $int NOT NULL CHECK (epoch >= 1)
) $strict;
INSERT INTO server (one, epoch) VALUES (1, 1);
