ALTER TABLE templates ADD COLUMN public INTEGER NOT NULL DEFAULT 0;

ALTER TABLE builds ADD COLUMN kind TEXT NOT NULL DEFAULT 'agent' CHECK (kind IN ('agent', 'steps', 'builtin', 'snapshot'));
-- What was asked for (JSON); NULL for agents, and as long as nobody has ordered the build.
ALTER TABLE builds ADD COLUMN recipe TEXT;
-- How a sandbox of it starts (JSON).
ALTER TABLE builds ADD COLUMN system TEXT NOT NULL DEFAULT '{}';

ALTER TABLE builds ADD COLUMN failed_step TEXT NOT NULL DEFAULT '';

ALTER TABLE tags ADD COLUMN created_at REAL NOT NULL DEFAULT 0;
