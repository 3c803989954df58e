-- Devices that take push messages through Firebase Cloud Messaging. A device has a row here or in subscription. A token
-- belongs to the device that brought it last, and ends with the login that brought it. It may be longer than what
-- PostgreSQL can have in an index; the digest stands for it.
CREATE TABLE fcm_subscription (
	device  $blob NOT NULL PRIMARY KEY CHECK (length(device) = 16),
	login   $blob NOT NULL CHECK (length(login) = 16),
	account $blob NOT NULL CHECK (length(account) = 16),
	token   TEXT NOT NULL CHECK (length(token) BETWEEN 1 AND 4096),
	digest  $blob NOT NULL UNIQUE CHECK (length(digest) = 32),
	since   $int NOT NULL CHECK (since > 0)
) $strict;
CREATE INDEX fcm_subscription_account ON fcm_subscription (account);
CREATE INDEX fcm_subscription_login ON fcm_subscription (login);
