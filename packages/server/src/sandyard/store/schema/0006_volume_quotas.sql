-- What a volume may hold; NULL: what the disk holds.
ALTER TABLE volumes ADD COLUMN size_bytes INTEGER;
ALTER TABLE volumes ADD COLUMN inodes INTEGER;

-- As sandboxes_have_volumes, for sandboxes that are given a volume later.
CREATE TRIGGER sandboxes_are_given_volumes BEFORE UPDATE OF volumes ON sandboxes
WHEN EXISTS (
    SELECT 1 FROM json_each(NEW.volumes) AS mount
    WHERE NOT EXISTS (SELECT 1 FROM volumes WHERE volumes.id = json_extract(mount.value, '$.volume_id'))
) BEGIN
    SELECT RAISE(ABORT, 'a volume of the sandbox is there no more');
END;
