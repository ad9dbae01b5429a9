ALTER TABLE sandboxes ADD COLUMN timeout REAL NOT NULL DEFAULT 300;
ALTER TABLE sandboxes ADD COLUMN auto_resume INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sandboxes ADD COLUMN keep_memory INTEGER NOT NULL DEFAULT 1;
ALTER TABLE sandboxes ADD COLUMN network TEXT NOT NULL DEFAULT '{}';
ALTER TABLE sandboxes ADD COLUMN env TEXT NOT NULL DEFAULT '{}';
ALTER TABLE sandboxes ADD COLUMN restore TEXT NOT NULL DEFAULT '';
ALTER TABLE sandboxes ADD COLUMN saved INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sandboxes ADD COLUMN origin TEXT NOT NULL DEFAULT '';

-- No foreign key: what happened to a sandbox is told longer than its row is kept.
CREATE TABLE sandbox_events (
    id TEXT PRIMARY KEY,
    sandbox_id TEXT NOT NULL,
    owner TEXT NOT NULL,
    template_id TEXT NOT NULL,
    build_id TEXT NOT NULL,
    type TEXT NOT NULL,
    at REAL NOT NULL,
    data TEXT NOT NULL
);
CREATE INDEX sandbox_events_by_owner ON sandbox_events (owner, at);
CREATE INDEX sandbox_events_by_sandbox ON sandbox_events (sandbox_id, at);
CREATE INDEX sandbox_events_by_age ON sandbox_events (at);
