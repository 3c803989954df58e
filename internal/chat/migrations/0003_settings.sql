-- What upkeep erases: the accounts that do not keep everything.
CREATE INDEX account_erases ON account (id) WHERE keeps_archive = 0 OR archive_days > 0;

-- The archive epoch as of the last removal of a device. When another device is removed and no newer epoch has begun since,
-- the current one ends.
ALTER TABLE account ADD COLUMN removal_epoch $int NOT NULL DEFAULT 1;
