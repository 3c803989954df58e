-- Content-addressed blobs: an avatar, an attachment, an image in mails. Times are milliseconds since 1970 UTC.

-- The row that a transaction locks before it looks at what the account uses. Accounts belong to the user service: an id
-- here refers to nothing. The zero id is the server itself.
CREATE TABLE asset_account (
	account $blob NOT NULL PRIMARY KEY CHECK (length(account) = 16)
) $strict;

-- An asset from the start of its upload to the deletion of its last object. Its size counts for the account all that time.
CREATE TABLE asset (
	id         $blob NOT NULL PRIMARY KEY CHECK (length(id) = 16),
	account    $blob NOT NULL REFERENCES asset_account (account),
	-- As announced; of an asset that is stored it is true.
	sha256     $blob NOT NULL CHECK (length(sha256) = 32),
	size       $int NOT NULL CHECK (size >= 1),
	-- Empty for what is sealed. The others are for everybody.
	type       TEXT NOT NULL CHECK (type IN ('', 'image/png', 'image/jpeg', 'image/gif', 'image/webp')),
	state      TEXT NOT NULL CHECK (state IN ('open', 'stored', 'gone')),
	received   $int NOT NULL DEFAULT 0 CHECK (received BETWEEN 0 AND size),
	-- The state of SHA-256 over what was received.
	hash       $blob NOT NULL CHECK (length(hash) BETWEEN 1 AND 256),
	changed_at $int NOT NULL CHECK (changed_at > 0),
	CHECK (state <> 'stored' OR received = size)
) $strict;
CREATE UNIQUE INDEX asset_one ON asset (account, sha256) WHERE state <> 'gone';
CREATE INDEX asset_of_account ON asset (account);
CREATE INDEX asset_stored ON asset (sha256) WHERE state = 'stored';
CREATE INDEX asset_open ON asset (changed_at) WHERE state = 'open';
CREATE INDEX asset_gone ON asset (id) WHERE state = 'gone';

-- What an asset consists of. A row is planned before its object is written, so that no object is ever without a row.
CREATE TABLE asset_part (
	asset      $blob NOT NULL REFERENCES asset (id),
	start      $int NOT NULL CHECK (start >= 0),
	sha256     $blob NOT NULL CHECK (length(sha256) = 32),
	size       $int NOT NULL CHECK (size BETWEEN 1 AND 1048576),
	state      TEXT NOT NULL CHECK (state IN ('planned', 'placed', 'gone')),
	planned_at $int NOT NULL CHECK (planned_at > 0),
	PRIMARY KEY (asset, start, sha256)
) $strict;
CREATE UNIQUE INDEX asset_part_placed ON asset_part (asset, start) WHERE state = 'placed';
CREATE INDEX asset_part_planned ON asset_part (planned_at) WHERE state = 'planned';
CREATE INDEX asset_part_gone ON asset_part (asset, start, sha256) WHERE state = 'gone';
