CREATE TABLE volumes (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at REAL NOT NULL,
    UNIQUE (owner, name)
);

CREATE TABLE sandbox_secrets (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    name TEXT NOT NULL COLLATE NOCASE,
    sealed TEXT NOT NULL,
    version INTEGER NOT NULL,
    metadata TEXT NOT NULL,
    hosts TEXT NOT NULL,
    description TEXT NOT NULL,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    UNIQUE (owner, name)
);

-- The owner's variables lay here as they are; no release has written any. From now on they are sealed.
ALTER TABLE sandboxes DROP COLUMN env;
ALTER TABLE sandboxes ADD COLUMN sealed_env TEXT NOT NULL DEFAULT '';

ALTER TABLE sandboxes ADD COLUMN volumes TEXT NOT NULL DEFAULT '[]';
-- A volume that is deleted while a sandbox is made with it: one of the two is first, and the other is refused.
CREATE TRIGGER sandboxes_have_volumes BEFORE INSERT ON sandboxes
WHEN EXISTS (
    SELECT 1 FROM json_each(NEW.volumes) AS mount
    WHERE NOT EXISTS (SELECT 1 FROM volumes WHERE volumes.id = json_extract(mount.value, '$.volume_id'))
) BEGIN
    SELECT RAISE(ABORT, 'a volume of the sandbox is there no more');
END;
