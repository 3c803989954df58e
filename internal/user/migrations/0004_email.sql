-- An address that an account wants to use, until the code that was sent there is brought back.
CREATE TABLE email_request (
	account_id $blob NOT NULL PRIMARY KEY REFERENCES account (id),
	address    TEXT NOT NULL CHECK (length(address) BETWEEN 3 AND 254),
	expires_at $int NOT NULL CHECK (expires_at > 0),
	tries      $int NOT NULL DEFAULT 0 CHECK (tries BETWEEN 0 AND 5)
) $strict;
