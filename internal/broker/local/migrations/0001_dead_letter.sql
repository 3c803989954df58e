CREATE TABLE dead_letter (
	position $serial,
	queue TEXT NOT NULL CHECK (length(queue) > 0),
	id $blob NOT NULL CHECK (length(id) = 16),
	type TEXT NOT NULL,
	account $blob NOT NULL CHECK (length(account) = 16),
	at $int NOT NULL,
	body TEXT NOT NULL,
	reason TEXT NOT NULL,
	refused_at $int NOT NULL,
	UNIQUE (queue, id)
) $strict;
CREATE INDEX dead_letter_queue ON dead_letter (queue, position);
