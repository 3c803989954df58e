-- Notifications, preferences, push subscriptions and what is on its way out. Times are milliseconds since 1970 UTC.
-- Accounts belong to the user service: an id here refers to nothing.

-- What the account is told in the list. Of each conversation at most one is unread: it says how many messages wait now.
CREATE TABLE item (
	id           $serial,
	account      $blob NOT NULL CHECK (length(account) = 16),
	kind         TEXT NOT NULL CHECK (length(kind) BETWEEN 1 AND 32),
	conversation $blob CHECK (length(conversation) = 16),
	waiting      $int NOT NULL CHECK (waiting >= 1),
	at           $int NOT NULL CHECK (at > 0),
	seen         $int NOT NULL DEFAULT 0 CHECK (seen IN (0, 1)),
	CHECK ((kind = 'messages') = (conversation IS NOT NULL))
) $strict;
CREATE INDEX item_account ON item (account, id);
CREATE UNIQUE INDEX item_unread_conversation ON item (account, conversation) WHERE seen = 0 AND conversation IS NOT NULL;
CREATE INDEX item_unread ON item (account) WHERE seen = 0;

-- What an account chose. No row stands for the defaults.
CREATE TABLE setting (
	account      $blob NOT NULL PRIMARY KEY CHECK (length(account) = 16),
	app          $int NOT NULL CHECK (app IN (0, 1)),
	mail         $int NOT NULL CHECK (mail IN (0, 1)),
	push         $int NOT NULL CHECK (push IN (0, 1)),
	muted_until  $int NOT NULL CHECK (muted_until >= 0),
	time_zone    TEXT NOT NULL CHECK (length(time_zone) BETWEEN 1 AND 64),
	quiet_from   $int NOT NULL CHECK (quiet_from BETWEEN 0 AND 1439),
	quiet_to     $int NOT NULL CHECK (quiet_to BETWEEN 0 AND 1439),
	language     TEXT NOT NULL CHECK (length(language) BETWEEN 2 AND 8),
	mail_minutes $int NOT NULL CHECK (mail_minutes BETWEEN 5 AND 1440)
) $strict;

CREATE TABLE conversation_setting (
	account       $blob NOT NULL CHECK (length(account) = 16),
	conversation  $blob NOT NULL CHECK (length(conversation) = 16),
	app           $int NOT NULL CHECK (app IN (0, 1)),
	mail          $int NOT NULL CHECK (mail IN (0, 1)),
	push          $int NOT NULL CHECK (push IN (0, 1)),
	muted_until   $int NOT NULL CHECK (muted_until >= 0),
	mentions_only $int NOT NULL CHECK (mentions_only IN (0, 1)),
	PRIMARY KEY (account, conversation)
) $strict;

-- Where a device takes push messages. An endpoint belongs to the device that brought it last; a subscription ends with
-- the login that made it.
CREATE TABLE subscription (
	device   $blob NOT NULL PRIMARY KEY CHECK (length(device) = 16),
	login    $blob NOT NULL CHECK (length(login) = 16),
	account  $blob NOT NULL CHECK (length(account) = 16),
	endpoint TEXT NOT NULL UNIQUE CHECK (length(endpoint) BETWEEN 9 AND 2048),
	p256dh   $blob NOT NULL CHECK (length(p256dh) = 65),
	auth     $blob NOT NULL CHECK (length(auth) = 16),
	since    $int NOT NULL CHECK (since > 0)
) $strict;
CREATE INDEX subscription_account ON subscription (account);
CREATE INDEX subscription_login ON subscription (login);

-- What has to leave the server. Mail about messages has one job an account, push one a device and topic: what happens
-- before it is due joins it. A worker that takes a job raises "until"; when it dies, another takes it after that time.
CREATE TABLE job (
	id           $serial,
	channel      TEXT NOT NULL CHECK (channel IN ('mail', 'push')),
	account      $blob NOT NULL CHECK (length(account) = 16),
	device       $blob CHECK (length(device) = 16),
	topic        TEXT NOT NULL CHECK (length(topic) BETWEEN 1 AND 64),
	kind         TEXT NOT NULL CHECK (length(kind) BETWEEN 1 AND 32),
	conversation $blob CHECK (length(conversation) = 16),
	waiting      $int NOT NULL CHECK (waiting >= 1),
	at           $int NOT NULL CHECK (at > 0),
	due          $int NOT NULL CHECK (due > 0),
	tries        $int NOT NULL DEFAULT 0 CHECK (tries >= 0),
	until        $int NOT NULL DEFAULT 0 CHECK (until >= 0),
	failed       TEXT CHECK (length(failed) BETWEEN 1 AND 1000),
	CHECK ((channel = 'push') = (device IS NOT NULL))
) $strict;
CREATE UNIQUE INDEX job_mail ON job (account, topic) WHERE channel = 'mail' AND tries = 0 AND until = 0 AND failed IS NULL;
CREATE UNIQUE INDEX job_push ON job (device, topic) WHERE channel = 'push' AND tries = 0 AND until = 0 AND failed IS NULL;
CREATE INDEX job_due ON job (due) WHERE failed IS NULL;
CREATE INDEX job_failed ON job (id) WHERE failed IS NOT NULL;
CREATE INDEX job_account ON job (account);

-- When the last mail about messages left, so that ten messages make one mail.
CREATE TABLE mailed (
	account $blob NOT NULL PRIMARY KEY CHECK (length(account) = 16),
	at      $int NOT NULL CHECK (at > 0)
) $strict;

-- Logins that have ended while their tokens still verify.
CREATE TABLE ended_login (
	login $blob NOT NULL PRIMARY KEY CHECK (length(login) = 16),
	until $int NOT NULL
) $strict;
CREATE INDEX ended_login_until ON ended_login (until);
