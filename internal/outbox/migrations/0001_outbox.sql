-- Events that were committed here and not yet confirmed by the broker. A row leaves when its event was confirmed.
CREATE TABLE outbox (
	position $serial,
	id $blob NOT NULL UNIQUE CHECK (length(id) = 16),
	type TEXT NOT NULL CHECK (length(type) > 0),
	account $blob NOT NULL CHECK (length(account) = 16),
	at $int NOT NULL,
	body TEXT NOT NULL
) $strict;

-- Events that a consumer of this service has handled.
CREATE TABLE inbox (
	consumer TEXT NOT NULL CHECK (length(consumer) > 0),
	event $blob NOT NULL CHECK (length(event) = 16),
	at $int NOT NULL,
	PRIMARY KEY (consumer, event)
) $strict;
CREATE INDEX inbox_at ON inbox (at);

-- Work that one process does at a time. The fence grows with each change of holder.
CREATE TABLE lease (
	name TEXT PRIMARY KEY,
	holder $blob NOT NULL CHECK (length(holder) = 16),
	fence $int NOT NULL CHECK (fence > 0),
	until $int NOT NULL
) $strict;
