-- When the member first accepted the conversation. Until then nothing is told of the account: neither presence nor what
-- was delivered; and when it blocks the conversation later, it looks as if it had gone away.
ALTER TABLE member ADD COLUMN accepted_at $int CHECK (accepted_at > 0);
UPDATE member SET accepted_at = changed_at WHERE state = 'accepted';
