-- Accounts, logins, devices, device lists, prekeys and key bundles. Times are milliseconds since 1970 UTC.

CREATE TABLE account (
	id                $blob NOT NULL PRIMARY KEY CHECK (length(id) = 16),
	account_key       $blob NOT NULL CHECK (length(account_key) = 33),
	role              TEXT NOT NULL CHECK (role IN ('member', 'moderator', 'operator')),
	-- SHA-256 of the recovery auth. The second factor is reserved: NULL stands for none.
	recovery_verifier $blob NOT NULL CHECK (length(recovery_verifier) = 32),
	second_factor     $blob CHECK (length(second_factor) BETWEEN 1 AND 1024),
	-- The newest row of device_list.
	list_version      $int NOT NULL CHECK (list_version >= 1),
	-- Keyed hash of the request that made the account: a retry is known by it.
	request_hash      $blob NOT NULL CHECK (length(request_hash) = 32),
	created_at        $int NOT NULL CHECK (created_at > 0)
) $strict;

-- A name that somebody may sign in with. Each has its own salt and verifier, so that comparing answers never links an
-- address to a username. Names are folded to lower case.
CREATE TABLE login_name (
	kind       TEXT NOT NULL CHECK (kind IN ('username', 'email')),
	name       TEXT NOT NULL CHECK (length(name) BETWEEN 3 AND 254),
	account_id $blob NOT NULL REFERENCES account (id),
	method     TEXT NOT NULL CHECK (method IN ('split-pbkdf2-v1', 'opaque-v1', 'passkey-prf-v1')),
	salt       $blob CHECK (length(salt) = 16),
	iterations $int CHECK (iterations BETWEEN 600000 AND 10000000),
	-- Of split-pbkdf2-v1: 'v1$' and a bcrypt hash, 63 bytes.
	verifier   $blob NOT NULL CHECK (length(verifier) BETWEEN 1 AND 4096),
	changed_at $int NOT NULL CHECK (changed_at > 0),
	PRIMARY KEY (kind, name),
	UNIQUE (account_id, kind),
	CHECK (kind <> 'username' OR length(name) <= 32),
	CHECK (method <> 'split-pbkdf2-v1' OR (salt IS NOT NULL AND iterations IS NOT NULL AND length(verifier) = 63))
) $strict;

-- The whole chain of signed lists, as they were signed.
CREATE TABLE device_list (
	account_id $blob NOT NULL REFERENCES account (id),
	version    $int NOT NULL CHECK (version >= 1),
	hash       $blob NOT NULL CHECK (length(hash) = 32),
	list       $blob NOT NULL CHECK (length(list) BETWEEN 1 AND 4096),
	signature  $blob NOT NULL CHECK (length(signature) = 64),
	stored_at  $int NOT NULL CHECK (stored_at > 0),
	PRIMARY KEY (account_id, version)
) $strict;

-- A device with its current signed prekey, last-resort Kyber prekey and the statement that names both.
CREATE TABLE device (
	id                     $blob NOT NULL PRIMARY KEY CHECK (length(id) = 16),
	account_id             $blob NOT NULL REFERENCES account (id),
	wire_id                $int NOT NULL CHECK (wire_id BETWEEN 1 AND 127),
	registration_id        $int NOT NULL CHECK (registration_id BETWEEN 1 AND 16383),
	identity_key           $blob NOT NULL CHECK (length(identity_key) = 33),
	name                   TEXT NOT NULL CHECK (length(name) <= 64),
	state                  TEXT NOT NULL CHECK (state IN ('active', 'signed_out', 'removed')),
	signed_prekey_id       $int NOT NULL CHECK (signed_prekey_id BETWEEN 1 AND 16777215),
	signed_prekey          $blob NOT NULL CHECK (length(signed_prekey) = 33),
	signed_prekey_sig      $blob NOT NULL CHECK (length(signed_prekey_sig) = 64),
	last_resort_id         $int NOT NULL CHECK (last_resort_id BETWEEN 1 AND 16777215),
	last_resort            $blob NOT NULL CHECK (length(last_resort) = 1569),
	last_resort_sig        $blob NOT NULL CHECK (length(last_resort_sig) = 64),
	statement              $blob NOT NULL CHECK (length(statement) BETWEEN 1 AND 256),
	statement_sig          $blob NOT NULL CHECK (length(statement_sig) = 64),
	statement_at           $int NOT NULL CHECK (statement_at > 0),
	-- Keyed hash of the request that added the device: a retry is known by it.
	request_hash           $blob NOT NULL CHECK (length(request_hash) = 32),
	list_version           $int NOT NULL CHECK (list_version >= 1),
	added_at               $int NOT NULL CHECK (added_at > 0),
	seen_at                $int NOT NULL CHECK (seen_at > 0),
	removed_at             $int CHECK (removed_at > 0),
	FOREIGN KEY (account_id, list_version) REFERENCES device_list (account_id, version),
	CHECK ((state = 'removed') = (removed_at IS NOT NULL))
) $strict;

-- A number is free again after its device was removed. Also the order of reading an account's devices.
CREATE UNIQUE INDEX device_wire ON device (account_id, wire_id) WHERE removed_at IS NULL;

-- One-time prekeys. A row stays for ever: claimed_at makes it a tombstone, so that an id is never handed out twice,
-- also when the device uploads it again. The key itself is dropped at the next upload after it was handed out.
CREATE TABLE prekey (
	device_id  $blob NOT NULL REFERENCES device (id),
	sort       TEXT NOT NULL CHECK (sort IN ('ec', 'kyber')),
	id         $int NOT NULL CHECK (id BETWEEN 1 AND 16777215),
	public_key $blob,
	signature  $blob,
	claimed_at $int CHECK (claimed_at > 0),
	PRIMARY KEY (device_id, sort, id),
	CHECK (claimed_at IS NOT NULL OR public_key IS NOT NULL),
	CHECK (public_key IS NULL OR (sort = 'ec' AND length(public_key) = 33 AND signature IS NULL)
		OR (sort = 'kyber' AND length(public_key) = 1569 AND signature IS NOT NULL AND length(signature) = 64))
) $strict;

CREATE INDEX prekey_waiting ON prekey (device_id, sort, id) WHERE claimed_at IS NULL;
CREATE INDEX prekey_handed_out ON prekey (device_id) WHERE claimed_at IS NOT NULL AND public_key IS NOT NULL;

CREATE TABLE bundle (
	account_id $blob NOT NULL PRIMARY KEY REFERENCES account (id),
	version    $int NOT NULL CHECK (version >= 1),
	sealed     $blob NOT NULL CHECK (length(sealed) BETWEEN 1 AND 65536),
	changed_at $int NOT NULL CHECK (changed_at > 0)
) $strict;

CREATE TABLE login (
	id           $blob NOT NULL PRIMARY KEY CHECK (length(id) = 16),
	account_id   $blob NOT NULL REFERENCES account (id),
	-- NULL until the login has added or proven its device.
	device_id    $blob REFERENCES device (id),
	renewal_hash $blob NOT NULL CHECK (length(renewal_hash) = 32),
	created_at   $int NOT NULL CHECK (created_at > 0),
	-- Rounded down to the hour.
	renewed_at   $int NOT NULL CHECK (renewed_at > 0),
	ended_at     $int CHECK (ended_at > 0),
	end_reason   TEXT CHECK (end_reason IN ('logout', 'replaced', 'password', 'device')),
	CHECK ((ended_at IS NULL) = (end_reason IS NULL))
) $strict;

CREATE INDEX login_without_device ON login (account_id, created_at) WHERE ended_at IS NULL AND device_id IS NULL;
CREATE INDEX login_ended ON login (account_id, ended_at) WHERE ended_at IS NOT NULL;
CREATE UNIQUE INDEX login_device ON login (device_id) WHERE ended_at IS NULL;
CREATE INDEX login_of_device ON login (device_id); -- for the foreign key, which counts ended logins too
