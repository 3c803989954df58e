-- When the newest restore was; 0 for never. What an account changed since then is not replaced by what devices give back.
ALTER TABLE server ADD COLUMN restored_at $int NOT NULL DEFAULT 0 CHECK (restored_at >= 0);

-- Devices of the newest list that the server knows only from lists given back after a restore. They count as signed out
-- until they introduce themselves again.
CREATE TABLE forgotten_device (
	account_id $blob NOT NULL REFERENCES account (id),
	wire_id    $int NOT NULL CHECK (wire_id BETWEEN 1 AND 127),
	PRIMARY KEY (account_id, wire_id)
) $strict;
