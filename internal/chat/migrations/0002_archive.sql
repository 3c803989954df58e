-- Reading the archive in the order of positions. Messages are numbered in the order of their positions, so the number of
-- a record's message orders the records of one conversation and, by the time of sending, of all of them. 0 stands for a
-- message that this server does not know: a restore forgot it. It is no reference, so that messages can be forgotten.
ALTER TABLE archive ADD COLUMN message $int NOT NULL DEFAULT 0;
UPDATE archive SET message = COALESCE((SELECT m.id FROM message m
	WHERE m.message_id = archive.message_id AND m.conversation = archive.conversation), 0);
CREATE INDEX archive_account ON archive (account, message, id);
CREATE INDEX archive_conversation ON archive (account, conversation, message, id);
