-- The oldest entry of the device's mailbox when its account was told last that messages wait.
ALTER TABLE device ADD COLUMN announced $int NOT NULL DEFAULT 0 CHECK (announced >= 0);
-- The entry up to which mailboxes were looked through for what waits.
CREATE TABLE sweep (
	id       $int NOT NULL PRIMARY KEY CHECK (id = 1),
	position $int NOT NULL CHECK (position >= 0)
) $strict;
INSERT INTO sweep (id, position) VALUES (1, 0);
