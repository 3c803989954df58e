-- Owed messages by whose devices supplement them, and by age.
CREATE INDEX owed_messages ON owed (sender, message, account);
CREATE INDEX owed_since ON owed (since);
