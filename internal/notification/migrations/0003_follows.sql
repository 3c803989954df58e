-- A conversation may use the account's channels and be muted all the same. Its own ones then stand for nothing; the program
-- of before, which knows no other, sends through all of them.
ALTER TABLE conversation_setting ADD COLUMN follows $int NOT NULL DEFAULT 0 CHECK (follows IN (0, 1));
